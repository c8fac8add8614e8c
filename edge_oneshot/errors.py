"""The errors that the package raises on purpose, and the exit codes of its commands.

    EdgeOneshotError              exit 1   message = what failed, where, expected and got; hint = the fix
    |-- ConfigError               exit 78  every fault of a file at once; systemd does not restart the service
    |-- ModelError                exit 1   a bundle that is not a model, is truncated or contradicts its card; `run`: 78
    |   `-- ModelUnchecked        exit 1   the check of a model was not completed; it may succeed later
    |-- CameraError               exit 1   a camera or picture that cannot be opened, or a camera that stalls or disappears
    |-- AcquisitionError          exit 6   no usable face in a probe, while a person waits for the answer
    |-- EnrollmentError           exit 4   the capture cannot become a template
    |-- GalleryError              exit 1   an unknown or colliding identity, or a damaged template
    |-- StorageError              exit 1   a disk that is full or read-only, or a file that permissions protect
    |   `-- UnusableFile          exit 78  the file is damaged, of a later release, or its key is missing
    |-- FleetError                exit 1   a change that this device may not make, or a code or key that is not of the fleet
    |-- ControlError              exit 1   a running daemon refused a request, or did not answer
    `-- BrokerError               exit 1
        |-- BrokerUnreachable              transient: retry with back-off
        `-- BrokerRefused                  permanent until the configuration changes: credentials, access list

In the live loop a frame without a face, a poor frame and a non-match are values, not errors.
"""

from __future__ import annotations

from collections.abc import Iterable

from edge_oneshot.shown import shown

EXIT_OK = 0
EXIT_ERROR = 1
EXIT_USAGE = 2
EXIT_NON_MATCH = 3
EXIT_NOT_ENROLLED = 4
EXIT_NOT_CERTIFIED = 5
EXIT_NOT_ACQUIRED = 6
EXIT_CONFIG = 78
EXIT_INTERRUPTED = 130

# Every exit code of `edge-oneshot` and `edge-oneshot-convert`, with its meaning. The documentation is generated from it.
EXIT_CODES: dict[int, str] = {
    EXIT_OK: "Success. `run`: ended by SIGTERM, SIGINT, or the end of a video or folder.",
    EXIT_ERROR: "An error at run time. `doctor`: at least one fault. `mqtt test`: the broker refuses a step. "
    "`verify-event`: the event must not be acted on.",
    EXIT_USAGE: "An unknown command or option, or a value that an option does not accept.",
    EXIT_NON_MATCH: "`verify`: non-match. `identify`: unknown; no enrolled person matches. Both: denied; the person is not "
    "allowed here now (`access`).",
    EXIT_NOT_ENROLLED: "Failure to enroll: nothing was stored.",
    EXIT_NOT_CERTIFIED: "`edge-oneshot-convert`: the certificate was refused (int8 loses more than is allowed, or the float model "
    "does not tell people apart), or the converted graph differs from its source.",
    EXIT_NOT_ACQUIRED: "Failure to acquire: the probe holds no usable face, so nothing was compared.",
    EXIT_CONFIG: "A faulty configuration, or a gallery that is damaged, not of this release, or without its key. "
    "`run`: a model that cannot be used. systemd does not restart the service.",
    EXIT_INTERRUPTED: "Interrupted from the keyboard.",
}


class EdgeOneshotError(Exception):
    """Base of every error that the package raises on purpose.

    message: what failed, where, expected and got, in one line. hint: how to fix it, in one line, or "". Passwords and
    control characters in them are replaced, so that an error may be logged, published and shown.
    """

    exit_code = EXIT_ERROR

    def __init__(self, message: str, hint: str = "") -> None:
        self.message, self.hint = shown(message), shown(hint)
        super().__init__(self.message)

    def __str__(self) -> str:
        return f"{self.message} ({self.hint})" if self.hint else self.message


class ConfigError(EdgeOneshotError):
    """The configuration has faults. `faults` lists all of them, so that one edit can fix the file."""

    exit_code = EXIT_CONFIG

    def __init__(self, message: str, hint: str = "", faults: tuple[str, ...] = ()) -> None:
        super().__init__(message, hint)
        self.faults = tuple(map(shown, faults))

    def __str__(self) -> str:
        return "\n  ".join([super().__str__(), *self.faults])


class ModelError(EdgeOneshotError):
    pass


class ModelUnchecked(ModelError):
    """The check of a model could not be completed; it may succeed later."""


class CameraError(EdgeOneshotError):
    pass


class AcquisitionError(EdgeOneshotError):
    """Failure to acquire (ISO/IEC 19795-1): the probe holds no usable sample, so nothing was compared."""

    exit_code = EXIT_NOT_ACQUIRED

    def __init__(self, message: str, hint: str = "", faults: tuple[str, ...] = ()) -> None:
        super().__init__(message, hint)
        self.faults = faults


class EnrollmentError(EdgeOneshotError):
    """Failure to enroll (ISO/IEC 19795-1). `faults` names the quality faults, if those were the reason."""

    exit_code = EXIT_NOT_ENROLLED

    def __init__(self, message: str, hint: str = "", faults: tuple[str, ...] = ()) -> None:
        super().__init__(message, hint)
        self.faults = faults


class GalleryError(EdgeOneshotError):
    pass


class StorageError(EdgeOneshotError):
    """disk: the disk is full, read-only or failing, and the file itself may be sound."""

    def __init__(self, message: str, hint: str = "", *, disk: bool = False) -> None:
        super().__init__(message, hint)
        self.disk = disk


class UnusableFile(StorageError):
    """No retry helps, so systemd does not restart.

    state: "damaged", "newer" (of a later release), "foreign", "sealed" (with another key), "plain" (although there is a key),
    or "key" (its key is missing or cannot be used).
    """

    exit_code = EXIT_CONFIG

    def __init__(self, message: str, hint: str = "", state: str = "damaged") -> None:
        super().__init__(message, hint)
        self.state = state


class FleetError(EdgeOneshotError):
    pass


class ControlError(EdgeOneshotError):
    """disk: the socket cannot be made because its disk is full or read-only."""

    disk = False


class BrokerError(EdgeOneshotError):
    pass


class BrokerUnreachable(BrokerError):
    pass


class BrokerRefused(BrokerError):
    pass


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """'; did you mean X?' for a word that resembles a known one, else ''. To append to a message."""
    import difflib

    close = difflib.get_close_matches(word, list(known), n=1)
    return f"; did you mean {close[0]}?" if close else ""
