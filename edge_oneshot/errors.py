"""The error tree.

    EdgeOneshotError              exit 1   message = what, where, expected, got; hint = the fix
    |-- ConfigError               exit 78  all faults of a file at once; systemd does not restart on it
    |-- ModelError                exit 1   a bundle that is no model, truncated, or contradicts its card
    |-- CameraError               exit 1   a camera that cannot be opened, stalls, or has disappeared
    |-- AcquisitionError          exit 6   no usable face in a probe, while a person waits for the answer
    |-- EnrollmentError           exit 4   the capture cannot become a template
    |-- GalleryError              exit 1   unknown or colliding identity, unreadable or too new database
    |-- StorageError              exit 1   a disk that is full or read-only, or a file that permissions protect
    |-- ControlError              exit 1   a running daemon refused a request, or did not answer
    `-- BrokerError               exit 1
        |-- BrokerUnreachable              transient: try again with back-off
        `-- BrokerRefused                  permanent until a person changes something: credentials, ACL

In the live loop a frame without a face, a poor frame and a non-match are values, not errors.
"""

from __future__ import annotations

EXIT_NON_MATCH = 3


class EdgeOneshotError(Exception):
    """Base of every error that the package raises on purpose.

    message: what, where, expected and got, in one line. hint: how to mend it, in one line, or "".
    """

    exit_code = 1

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.message} ({self.hint})" if self.hint else self.message


class ConfigError(EdgeOneshotError):
    """The configuration has faults; `faults` lists every one of them, so that one edit mends the file."""

    exit_code = 78

    def __init__(self, message: str, hint: str = "", faults: tuple[str, ...] = ()) -> None:
        super().__init__(message, hint)
        self.faults = faults

    def __str__(self) -> str:
        return "\n  ".join([super().__str__(), *self.faults])


class ModelError(EdgeOneshotError):
    pass


class CameraError(EdgeOneshotError):
    pass


class AcquisitionError(EdgeOneshotError):
    """Failure to acquire (ISO/IEC 19795-1): the probe holds no usable sample, so nothing was compared."""

    exit_code = 6

    def __init__(self, message: str, hint: str = "", faults: tuple[str, ...] = ()) -> None:
        super().__init__(message, hint)
        self.faults = faults


class EnrollmentError(EdgeOneshotError):
    """Failure to enroll (ISO/IEC 19795-1). `faults` names the quality faults, if those were the reason."""

    exit_code = 4

    def __init__(self, message: str, hint: str = "", faults: tuple[str, ...] = ()) -> None:
        super().__init__(message, hint)
        self.faults = faults


class GalleryError(EdgeOneshotError):
    pass


class StorageError(EdgeOneshotError):
    pass


class ControlError(EdgeOneshotError):
    pass


class BrokerError(EdgeOneshotError):
    pass


class BrokerUnreachable(BrokerError):
    pass


class BrokerRefused(BrokerError):
    pass
