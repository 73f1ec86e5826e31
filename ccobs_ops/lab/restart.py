"""Start one service of a lab again: what `systemctl restart` is to a production host.

python -m ccobs_ops.lab.restart D SERVICE
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

from ccobs_ops.core.errors import OpsError
from ccobs_ops.lab import Lab


def main(argv: Sequence[str]) -> int:
    """The command line of this module; the error goes to stderr."""
    if len(argv) != 2:
        print("usage: python -m ccobs_ops.lab.restart D SERVICE", file=sys.stderr)
        return 2
    try:
        Lab.open(argv[0]).restart_service(argv[1])
    except OpsError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_status
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
