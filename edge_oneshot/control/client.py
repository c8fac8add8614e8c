"""The command line's side of the local door."""

from __future__ import annotations

import json
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

from edge_oneshot.control.protocol import MAX_REQUEST_BYTES, raise_error
from edge_oneshot.errors import ControlError

CONNECT_TIMEOUT_S = 5.0


def ask(
    path: Path, verb: str, arguments: dict[str, Any], on_progress: Callable[[str], None], timeout_s: float = 60.0
) -> dict[str, Any] | None:
    """Send one request to the daemon at `path` and wait for its answer; None if no daemon is there.

    timeout_s: the longest silence. Raises the error that the daemon answered with; ControlError if it falls silent, or
    if it is there and this user may not speak to it.
    """
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(CONNECT_TIMEOUT_S)
        try:
            connection.connect(str(path))
        except (FileNotFoundError, ConnectionRefusedError, NotADirectoryError):
            return None
        except PermissionError:
            raise ControlError(
                f"a daemon may be running, but {path} is closed to you",
                "join its group (sudo usermod -aG edge-oneshot $USER, then log in again), or use sudo",
            ) from None
        except OSError as e:
            if e.errno is None:
                return None  # a path longer than a socket's may be: no daemon is there
            raise ControlError(f"cannot reach the daemon at {path}: {e.strerror or e}", "restart it") from None
        try:
            line = json.dumps({"verb": verb, "arguments": arguments}).encode() + b"\n"
            if len(line) > MAX_REQUEST_BYTES:  # the daemon would hang up in the middle of it
                raise ControlError(
                    f"request: expected at most {MAX_REQUEST_BYTES} bytes, got {len(line)}",
                    "use a smaller picture or file",
                )
            connection.sendall(line)
            connection.settimeout(timeout_s)
            with connection.makefile("rb") as lines:
                for line in lines:
                    answer = json.loads(line)
                    if "progress" in answer:
                        on_progress(str(answer["progress"]))
                    elif answer.get("status") == "ok":
                        data = answer["data"]
                        return data if isinstance(data, dict) else {}
                    else:
                        raise_error(answer)
        except TimeoutError:
            raise ControlError(
                f"the daemon at {path} fell silent for {timeout_s:g} s", "look at its log, restart it"
            ) from None
        except (OSError, ValueError) as e:
            raise ControlError(f"the daemon at {path} broke off: {e}", "look at its log, and try again") from None
    raise ControlError(f"the daemon at {path} hung up without an answer", "look at its log, and try again")
