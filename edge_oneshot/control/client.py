"""The command line's side of the control socket."""

from __future__ import annotations

import contextlib
import json
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

from edge_oneshot import installation
from edge_oneshot.control.protocol import MAX_REQUEST_BYTES, Answer, Progress, read_answer, request_line, result_of
from edge_oneshot.control.requests import Request
from edge_oneshot.errors import ControlError

CONNECT_TIMEOUT_S = 5.0
SILENCE_S = 60.0
R = TypeVar("R")


def ask(
    path: Path, request: Request[R], on_progress: Callable[[str], None], timeout_s: float | None = None
) -> R | None:
    """Send one request to the daemon at `path` and wait for its response; None if no daemon is there.

    timeout_s: the longest silence. Raises the error that the daemon answered with; ControlError if it does not answer,
    or if this user may not use the socket.
    """
    with socket.socket(socket.AF_UNIX) as connection:
        if not _connect(connection, path):
            return None
        timeout_s = SILENCE_S + request.waits_s if timeout_s is None else timeout_s
        try:
            for answer in _exchange(connection, request, timeout_s):
                if not isinstance(answer, Progress):
                    return result_of(request, answer)
                on_progress(answer.text)
        except TimeoutError:
            raise ControlError(
                f"the daemon at {path} has not answered for {timeout_s:g} s", "read its log; restart it"
            ) from None
        except (OSError, ValueError, RecursionError) as e:
            raise ControlError(
                f"the connection to the daemon at {path} broke: {e}", "read its log; try again"
            ) from None
    raise ControlError(f"the daemon at {path} closed the connection without an answer", "read its log; try again")


def _connect(connection: socket.socket, path: Path) -> bool:
    connection.settimeout(CONNECT_TIMEOUT_S)
    try:
        connection.connect(str(path))
    except (FileNotFoundError, ConnectionRefusedError, NotADirectoryError):
        return False
    except PermissionError:
        raise ControlError(
            f"no permission to use the control socket {path}",
            installation.how_to_join_group() or "use sudo, or the user who runs the daemon",
        ) from None
    except OSError as e:
        if e.errno is None:
            return False  # the path is longer than a socket's may be, so no daemon listens there
        raise ControlError(f"cannot reach the daemon at {path}: {e.strerror or e}", "restart it") from None
    return True


def _exchange(connection: socket.socket, request: Request[R], timeout_s: float) -> Iterator[Answer]:
    line = request_line(request)
    if len(line) > MAX_REQUEST_BYTES:  # the daemon would close the connection in the middle of it
        raise ControlError(
            f"request: expected at most {MAX_REQUEST_BYTES} bytes, got {len(line)}", "use a smaller picture or file"
        )
    connection.settimeout(timeout_s)
    with contextlib.suppress(BrokenPipeError, ConnectionResetError):  # refused before its end: the answer says why
        connection.sendall(line)
    with connection.makefile("rb") as lines:
        for line in lines:
            yield read_answer(request, json.loads(line))
