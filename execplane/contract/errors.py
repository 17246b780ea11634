"""The one root of our errors: what happened to what, why, and what to do about it."""

from __future__ import annotations

import errno


class ExecplaneError(Exception):
    """The root of every error that execplane raises on purpose.

    `message` says what happened to what and why; `hint` says what to do. Both are fit for a user's screen, so
    neither ever holds a secret or a vendor's traceback.
    """

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.message} {self.hint}".strip()


class ConfigError(ExecplaneError):
    """A setting is unknown, malformed or contradicts another; the start is refused."""


class NotFound(ExecplaneError):
    """The named object does not exist (or its reader may not see it)."""


class Conflict(ExecplaneError):
    """The verb does not fit the object's present state; nothing was changed."""


class InvalidInput(ExecplaneError):
    """What the caller sent is not acceptable; nothing was changed."""


class PolicyViolation(InvalidInput):
    """It is well formed, and a policy of the operators forbids it."""


class Forbidden(ExecplaneError):
    """The actor lacks the permission; nothing was changed."""


class Unavailable(ExecplaneError):
    """A part we depend on (database, API server, log store) did not answer; trying again later may work."""


class NotYet(Unavailable):
    """It could not be tried now, for a reason that is not its own: it waits, and nothing is counted against it."""


class DagImportError(ExecplaneError):
    """A DAG file cannot be used: names file, line and what to write instead."""


def storage_error(what: str, where: object, error: OSError) -> Unavailable:
    """What a refused write or read on disk means to a user: the disk is read-only, full, or not ours."""
    reasons = {
        errno.EROFS: ("the file system is read-only", "Mount it writable, or set EXECPLANE_HOME to another."),
        errno.ENOSPC: ("the disk is full", "Free some space, or point EXECPLANE_HOME at a larger disk."),
        errno.EDQUOT: ("the disk quota is used up", "Free some space, or raise the quota."),
        errno.EACCES: ("permission is denied", "Let the user that execplane runs as use this folder."),
        errno.EPERM: ("permission is denied", "Let the user that execplane runs as use this folder."),
        errno.EMFILE: ("too many files are open", "Raise the limit of open files (ulimit -n)."),
    }
    reason, hint = reasons.get(error.errno or 0, (error.strerror or str(error), ""))
    return Unavailable(f"{what} failed at {where}: {reason}.", hint=hint)
