"""Runs inside the virtual machine of scripts/vm: one JSON line with a command in, one with its result out."""

import json
import subprocess
from pathlib import Path

with Path("/dev/virtio-ports/lab").open("r+b", buffering=0) as port:
    waiting = b""
    while True:
        received = port.read(4096)
        if not received:
            continue
        *lines, waiting = (waiting + received).split(b"\n")
        for line in lines:
            command = json.loads(line)
            try:
                done = subprocess.run(
                    command["run"], shell=True, capture_output=True, timeout=command["timeout"], check=False
                )
                code, out = done.returncode, (done.stdout + done.stderr).decode(errors="replace")
            except subprocess.TimeoutExpired:
                code, out = 124, "no end"
            answer = json.dumps({"number": command["number"], "code": code, "out": out[-20000:]}).encode() + b"\n"
            while answer:
                answer = answer[port.write(answer) :]
