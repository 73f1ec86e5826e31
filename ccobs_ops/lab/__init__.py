"""The lab: a small estate of real servers on this machine, with faults that can be injected.

It is made of wheels alone (extra `lab`), listens on 127.0.0.1 only, and leaves no process behind. Never part of a
production deployment: nothing outside `ccobs_ops.lab`, `ccobs_ops.cli.lab` and the tests imports it.
"""

from ccobs_ops.lab.lab import Lab, ServiceStatus

__all__ = ["Lab", "ServiceStatus"]
