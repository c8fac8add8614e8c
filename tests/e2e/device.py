"""A device for the tests: its configuration, its camera (a folder that a test fills), its daemon process, its commands."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterable
from pathlib import Path
from typing import Any, TypeVar

from pictures import Pixels
from PIL import Image
from waiting import wait_until

from edge_oneshot.control.client import ask
from edge_oneshot.control.codec import to_json
from edge_oneshot.control.requests import Request, Status

R = TypeVar("R")
COMMAND = [str(Path(sys.executable).with_name("edge-oneshot"))]


class NotifySocket:
    """Stands for systemd's socket. It reads in a thread, since the system's queue holds only ten messages."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.heard: list[str] = []  # every line so far, in order
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(str(path))
        self._thread = threading.Thread(target=self._listen, name="notify")
        self._thread.start()

    def _listen(self) -> None:
        while message := self._socket.recv(4096).decode():
            self.heard.extend(message.splitlines())

    def close(self) -> None:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as own:
            own.sendto(b"", str(self.path))
        self._thread.join()
        self._socket.close()


class Camera:
    """A folder of pictures, in the order in which they are shown. The same picture is stored once and linked."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._store = folder.with_name(folder.name + "-pictures")
        self._store.mkdir()
        folder.mkdir()
        self.count = 0
        self._known: dict[bytes, Path] = {}

    def show(self, pictures: Iterable[Pixels | Path]) -> None:
        seen: dict[int, tuple[Pixels | Path, Path]] = {}  # holds the pictures, so that no other gets the id of one
        for picture in pictures:
            if id(picture) not in seen:
                seen[id(picture)] = picture, picture if isinstance(picture, Path) else self._stored(picture)
            stored = seen[id(picture)][1]
            (self.folder / f"{self.count:06}{stored.suffix}").symlink_to(stored)
            self.count += 1

    def _stored(self, picture: Pixels) -> Path:
        digest = hashlib.blake2b(picture.tobytes(), digest_size=16).digest()
        known = digest in self._known
        stored = self._known.setdefault(digest, self._store / f"{len(self._known)}.jpg")
        if not known:
            Image.fromarray(picture).save(stored, quality=92)
        return stored


class Device:
    """Use as a context manager: on leaving, the daemon is killed if it still runs."""

    def __init__(
        self,
        folder: Path,
        port: int,
        *,
        instance: str = "front",
        fps: float = 10,
        pace: str = "fast",
        user: int | None = None,
        group: int | None = None,
        command: list[str] | None = None,
        environment: dict[str, str] | None = None,
        **sections: dict[str, Any],
    ) -> None:
        self.instance, self.folder = instance, folder
        self.command = [*(command or COMMAND), "-c", str(folder / f"{instance}.toml")]
        self.environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3", **(environment or {})}
        self.state = folder / "state"
        self.camera = Camera(folder / f"camera-{instance}")
        self.config = folder / f"{instance}.toml"
        self.log_path = folder / f"{instance}.log"
        self.notify = NotifySocket(folder / f"{instance}.notify")
        self._ids: dict[str, Any] = {} if user is None else {"user": user, "group": group, "extra_groups": []}
        settings: dict[str, dict[str, Any]] = {
            "device": {"slug": instance, "state_dir": str(self.state)},
            "camera": {"uri": f"folder:{self.camera.folder}", "fps": float(fps), "pace": pace},
            "model": {"threads": 1},
            "mqtt": {"host": "127.0.0.1", "port": port, "health_every_s": 1.0},
        }
        for section, keys in sections.items():
            settings.setdefault(section, {}).update(keys)
        self.config.write_text(
            "\n".join(
                f"[{section}]\n" + "".join(f"{k} = {json.dumps(v)}\n" for k, v in keys.items())
                for section, keys in settings.items()
            )
        )
        self.process: subprocess.Popen[bytes] | None = None

    def start(self, *, ready: bool = True) -> None:
        before = self.notify.heard.count("READY=1")
        with self.log_path.open("ab") as log:
            self.process = subprocess.Popen(
                [*self.command, "run"],
                stdout=log,
                stderr=log,
                env={**self.environment, "NOTIFY_SOCKET": str(self.notify.path)},
                **self._ids,
            )
        if ready:
            self.wait(lambda: self.notify.heard.count("READY=1") > before, "READY=1")

    def wait(self, condition: Any, what: str) -> Any:
        """Wait for a condition while the daemon runs."""

        def alive() -> Any:
            value = condition()
            assert value or self.process is None or self.process.poll() is None, (
                f"the daemon ended: {self.log()[-3000:]}"
            )
            return value

        return wait_until(alive, f"{what}; log: {self.log()[-2000:]}")

    def log(self) -> str:
        return self.log_path.read_text(errors="replace") if self.log_path.exists() else ""

    def ends(self) -> int:
        """Wait for the daemon to end by itself; its exit code."""
        assert self.process is not None
        code = self.process.wait(120)
        self.process = None
        return code

    def stop(self) -> int:
        assert self.process is not None
        self.process.terminate()
        return self.ends()

    def kill(self) -> None:
        assert self.process is not None
        self.process.send_signal(signal.SIGKILL)
        self.ends()

    def call(self, *arguments: str, expect: int = 0, **popen: Any) -> str:
        """Run a command with this device's configuration. Returns standard output; for an error also standard error."""
        done = subprocess.run(
            [*self.command, *arguments], capture_output=True, text=True, timeout=120, env=self.environment, **popen
        )
        assert done.returncode == expect, f"{arguments} ended with {done.returncode}: {done.stdout}{done.stderr}"
        return done.stdout if expect in (0, 3) else done.stdout + done.stderr

    def ask(self, request: Request[R]) -> R:
        """Send a request to the running daemon."""
        response = ask(self.state / f"{self.instance}.sock", request, print)
        assert response is not None, self.log()
        return response

    def status(self) -> dict[str, Any]:
        status: dict[str, Any] = to_json(self.ask(Status()))
        return status

    def enroll(self, name: str, picture: Path, *more: str) -> dict[str, Any]:
        enrolled: dict[str, Any] = json.loads(
            self.call("enroll", "--name", name, "--image", str(picture), "--json", *more)
        )
        return enrolled

    def __enter__(self) -> Device:
        return self

    def __exit__(self, *exc: object) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.wait(30)
        self.notify.close()
        shutil.rmtree(self.camera.folder, ignore_errors=True)
