"""Errors for people: a lowercase sentence that says what was found, and a hint that says what to do."""

from __future__ import annotations


class OpsError(Exception):
    """Base of every error that an operator may see.

    `message` is a lowercase sentence without a final stop; `hint` is the next step. The command line
    prints both and never a traceback; `exit_status` is what it then exits with.
    """

    exit_status = 1

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.message}\nHINT: {self.hint}" if self.hint else self.message


class UsageError(OpsError):
    """Wrong usage or a wrong inventory: nothing was started."""

    exit_status = 2


class BusyError(OpsError):
    """Another process does the same thing at this moment: nothing was started, and nothing is known to be wrong."""


class UnknownError(OpsError):
    """Something could not be looked at (a server is down, a page is unreadable): the verdict is UNKNOWN.

    Raised where the claim is neither proven nor refuted; an exercise turns it into Verdict.UNKNOWN.
    """

    exit_status = 3


class RefusedError(OpsError):
    """A guard refused a destructive action; the message is the reason."""

    exit_status = 2


class DamagedError(OpsError):
    """Evidence that something is broken: a checksum differs, an object is missing, a server refuses to start.

    `code` is the finding's code and `subject` the exact object, segment or file.
    """

    def __init__(self, message: str, *, code: str, subject: str, hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.code = code
        self.subject = subject
