"""What a replicator says about itself, one small class a source: beside our own comparison, never instead.

A signal never makes a comparison pass. Its worth is the contradiction: a replicator that says "in sync" while objects are
missing is a replicator that will not bring them.
"""
