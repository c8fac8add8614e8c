"""A virtual machine without acceleration (qemu, TCG), whose power can be cut (scripts/vm)."""

from __future__ import annotations

import contextlib
import json
import shutil
import socket
import subprocess
import time
from pathlib import Path
from typing import Any

BOOT_S = 900.0  # without acceleration, on a shared machine


class Machine:
    """Boots at once. folder: has root.img, data.img, root/vmlinuz and root/initrd.img. Use as a context manager."""

    def __init__(self, folder: Path, memory_mb: int = 1536) -> None:
        self.folder = folder
        self._number = 0
        for name in ("qmp", "lab"):
            (folder / name).unlink(missing_ok=True)
        drives = [f"file={folder / name},format=raw,if=virtio,cache=writeback" for name in ("root.img", "data.img")]
        self._process = subprocess.Popen(
            [
                *("qemu-system-x86_64", "-accel", "tcg,thread=multi", "-cpu", "max", "-smp", "2", "-m", str(memory_mb)),
                *("-display", "none", "-no-reboot", "-nic", "none", "-serial", f"file:{folder / 'console.log'}"),
                *("-kernel", str(folder / "root/vmlinuz"), "-initrd", str(folder / "root/initrd.img")),
                *("-append", "root=/dev/vda rw console=ttyS0 quiet panic=-1"),
                *(word for drive in drives for word in ("-drive", drive)),
                *("-qmp", f"unix:{folder / 'qmp'},server=on,wait=off"),
                *("-device", "virtio-serial", "-chardev", f"socket,id=lab,path={folder / 'lab'},server=on,wait=off"),
                *("-device", "virtserialport,chardev=lab,name=lab"),
            ],
            stdin=subprocess.DEVNULL,
        )
        self._agent, self._qmp = self._connect("lab"), self._connect("qmp")
        self._received = b""
        self._qmp_file = self._qmp.makefile("rw")
        self._qmp_file.readline()
        self._control("qmp_capabilities")

    def _connect(self, name: str) -> socket.socket:
        end = time.monotonic() + 30
        while True:
            connection = socket.socket(socket.AF_UNIX)
            try:
                connection.connect(str(self.folder / name))
                return connection
            except OSError:
                connection.close()
                if time.monotonic() > end or self._process.poll() is not None:
                    raise
                time.sleep(0.1)

    def _control(self, command: str) -> Any:
        self._qmp_file.write(json.dumps({"execute": command}) + "\n")
        self._qmp_file.flush()
        while True:
            answer = json.loads(self._qmp_file.readline())
            if "return" in answer or "error" in answer:
                return answer

    def send(self, command: str, timeout_s: float = 300.0) -> None:
        """Start a command. Its result is what `answer` returns."""
        self._number += 1
        line = json.dumps({"number": self._number, "run": command, "timeout": timeout_s}) + "\n"
        self._agent.sendall(line.encode())

    def answer(self, wait_s: float) -> tuple[int, str] | None:
        """Exit code and output of the last command; None if it has not ended by then."""
        end = time.monotonic() + wait_s
        while True:
            while b"\n" in self._received:
                line, self._received = self._received.split(b"\n", 1)
                found = json.loads(line)
                if found["number"] == self._number:
                    return found["code"], found["out"]
            left = end - time.monotonic()
            if left <= 0:
                return None
            self._agent.settimeout(left)
            with contextlib.suppress(TimeoutError):
                received = self._agent.recv(65536)
                if not received:
                    raise ConnectionError("the virtual machine has ended")
                self._received += received

    def run(self, command: str, timeout_s: float = 600.0) -> str:
        """The output of a command. Raises RuntimeError if it fails."""
        self.send(command, timeout_s)
        found = self.answer(timeout_s + 60)
        if found is None or found[0]:
            self.send("journalctl -b --no-pager -n 40")
            log = self.answer(120) or (0, "no answer")
            raise RuntimeError(f"{command}: {'no answer' if found is None else found}\n{log[1]}")
        return found[1]

    def freeze(self, copy: Path) -> None:
        """Copy the disk with the state, as it is at this moment."""
        self._control("stop")
        shutil.copyfile(self.folder / "data.img", copy)
        self._control("cont")

    def cut(self) -> None:
        """Cut the power: SIGKILL."""
        self._process.kill()
        self._process.wait()
        self._agent.close()
        self._qmp.close()

    def shut_down(self) -> None:
        self.send("systemctl poweroff")
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(300)
        self.cut()

    def __enter__(self) -> Machine:
        return self

    def __exit__(self, *_: object) -> None:
        if self._process.poll() is None:
            self.cut()
