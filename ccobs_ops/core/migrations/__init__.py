"""The ledger's schema, revision by revision (Alembic). `ccobs_ops.core.ledger_engine` runs these; no alembic.ini."""
