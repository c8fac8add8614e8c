"""The demo of scripts/demo: the real model, a real daemon process, a real broker, and two public-domain portraits."""

from __future__ import annotations

import json
import os
import queue
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageEnhance, ImageFilter

FPS = 10
SIZE = (640, 480)
# (person in view, frames): long enough in view to be reported, and long enough away for `gone`.
SCRIPT = (("eileen", 40), ("empty", 32), ("grace", 40), ("empty", 32))
EXPECTED = [("match", "eileen-collins"), ("gone", "eileen-collins"), ("unknown", None), ("gone", None)]


def portrait(package: str, *parts: str) -> Path:
    """A public-domain portrait from the files of an installed package."""
    spec = find_spec(package)
    assert spec is not None and spec.submodule_search_locations, f"{package} is not installed"
    return Path(spec.submodule_search_locations[0]).joinpath(*parts)


def show(picture: Image.Image | None, room: Image.Image, at: float, rng: np.random.Generator) -> Image.Image:
    """One frame: the person (or an empty room), with changing position, light, blur and noise."""
    frame = room.copy()
    if picture is not None:
        scale = 0.62 + 0.2 * np.sin(2.1 * at) + rng.uniform(-0.01, 0.01)
        person = picture.resize((round(picture.width * scale), round(picture.height * scale)), Image.Resampling.LANCZOS)
        person = person.rotate(4 * np.sin(3 * at), Image.Resampling.BICUBIC, fillcolor=(96, 98, 100))
        x = (SIZE[0] - person.width) / 2 + 110 * np.sin(at)
        y = (SIZE[1] - person.height) / 2 + 60 + 15 * np.cos(1.7 * at)
        frame.paste(person, (round(x), round(y)))
    frame = ImageEnhance.Brightness(frame).enhance(0.85 + 0.25 * np.sin(0.9 * at) + rng.uniform(-0.03, 0.03))
    frame = frame.filter(ImageFilter.GaussianBlur(rng.uniform(0.0, 1.1)))
    noisy = np.asarray(frame, dtype=np.float32) + rng.normal(0, rng.uniform(1, 6), (SIZE[1], SIZE[0], 3))
    return Image.fromarray(noisy.clip(0, 255).astype(np.uint8))


def film(folder: Path) -> int:
    """Write the frames of the camera as JPEG files. Returns their number."""
    rng = np.random.default_rng(1)
    gradient = np.linspace(70, 130, SIZE[0])[None, :, None] + np.linspace(0, 25, SIZE[1])[:, None, None]
    room = Image.fromarray(np.broadcast_to(gradient, (SIZE[1], SIZE[0], 3)).astype(np.uint8))
    people = {
        "eileen": Image.open(portrait("skimage", "data", "astronaut.png")).convert("RGB"),
        "grace": Image.open(portrait("matplotlib", "mpl-data", "sample_data", "grace_hopper.jpg")).convert("RGB"),
        "empty": None,
    }
    number = 0
    for who, frames in SCRIPT:
        for i in range(frames):
            picture = show(people[who], room, i / FPS, rng)
            picture.save(folder / f"{number:04}.jpg", quality=int(rng.integers(60, 95)))
            number += 1
    return number


def start_broker(folder: Path) -> tuple[subprocess.Popen[bytes], int, str]:
    """Start a broker on a free loopback port: mosquitto, or else amqtt. Returns its process, port and name."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    log = (folder / "broker.log").open("wb")
    if mosquitto := shutil.which("mosquitto"):
        (folder / "mosquitto.conf").write_text(f"listener {port} 127.0.0.1\nallow_anonymous true\n")
        command, name = [mosquitto, "-c", str(folder / "mosquitto.conf")], "mosquitto"
    else:
        (folder / "amqtt.yaml").write_text(
            f"listeners:\n  default:\n    type: tcp\n    bind: 127.0.0.1:{port}\n"
            "plugins:\n  amqtt.plugins.authentication.AnonymousAuthPlugin:\n    allow_anonymous: true\n"
        )
        command, name = (
            [str(Path(sys.executable).with_name("amqtt")), "-c", str(folder / "amqtt.yaml")],
            "amqtt, embedded",
        )
    process = subprocess.Popen(command, stdout=log, stderr=log)
    for _ in range(100):
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
            return process, port, name
        except OSError:
            if process.poll() is not None:
                break
            time.sleep(0.1)
    sys.exit(f"the broker ({name}) did not start; its log:\n{(folder / 'broker.log').read_text()}")


class Demo:
    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.command = [str(Path(sys.executable).with_name("edge-oneshot")), "--config", str(folder / "demo.toml")]
        self.environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"}
        self.children: list[subprocess.Popen[Any]] = []

    def spawn(self, *arguments: str, log: str) -> subprocess.Popen[str]:
        child = subprocess.Popen(
            [*self.command, *arguments],
            env=self.environment,
            text=True,
            stdout=subprocess.PIPE,
            stderr=(self.folder / log).open("w"),
        )
        self.children.append(child)
        return child

    def call(self, *arguments: str) -> str:
        done = subprocess.run(
            [*self.command, *arguments], env=self.environment, text=True, capture_output=True, timeout=60
        )
        if done.returncode:
            raise RuntimeError(f"edge-oneshot {' '.join(arguments)} ended with {done.returncode}:\n{done.stderr}")
        return done.stdout

    def configure(self, port: int) -> None:
        self.folder.joinpath("demo.toml").write_text(
            f'[device]\nslug = "demo"\nstate_dir = "{self.folder}/state"\n'
            f'[camera]\nuri = "folder:{self.folder}/camera"\nfps = {FPS}\n'
            f'[mqtt]\nhost = "127.0.0.1"\nport = {port}\nhealth_every_s = 1\n'
        )

    def run(self) -> int:
        (self.folder / "camera").mkdir()
        print("making the frames of the camera: Eileen Collins, empty room, Grace Hopper, empty room …")
        frames = film(self.folder / "camera")
        broker, port, name = start_broker(self.folder)
        self.children.append(broker)
        print(f"broker: {name} on 127.0.0.1:{port}")
        self.configure(port)
        print("$ edge-oneshot enroll --name 'Eileen Collins' --image astronaut.png")
        eileen = portrait("skimage", "data", "astronaut.png")
        print(self.call("enroll", "--name", "Eileen Collins", "--image", str(eileen)), end="")

        listener = self.spawn("listen", "--json", log="listen.log")
        lines: queue.SimpleQueue[str] = queue.SimpleQueue()
        assert listener.stdout is not None
        threading.Thread(
            target=lambda out: [lines.put(line) for line in out], args=(listener.stdout,), daemon=True
        ).start()
        time.sleep(
            1.5
        )  # the subscription must exist before the first event: brokers do not store events for later subscribers
        print(f"$ edge-oneshot run        ({frames} frames, {frames / FPS:.0f} s)")
        daemon = self.spawn("run", log="daemon.log")
        seen, status = self.watch(daemon, lines)
        listener.send_signal(signal.SIGINT)
        return self.report(seen, status, daemon.returncode, frames)

    def watch(
        self, daemon: subprocess.Popen[str], lines: queue.SimpleQueue[str]
    ) -> tuple[list[dict[str, Any]], dict[str, Any]]:
        """Collect events until two seconds after the daemon has ended. Returns them, and the last status."""
        seen: list[dict[str, Any]] = []
        status: dict[str, Any] = {}
        quiet_until, deadline, next_status = 0.0, time.monotonic() + 120, time.monotonic() + 2
        while time.monotonic() < deadline:
            try:
                event = json.loads(lines.get(timeout=0.2))
                who = event.get("name") or ""
                score = (
                    f"score {event['score']:.2f}, threshold {event['threshold']:.2f}"
                    if event.get("score") is not None
                    else ""
                )
                print(f"   -> {event['event_type']:8} {who:16} {score}")
                seen.append(event)
            except queue.Empty:
                pass
            if daemon.poll() is None:
                if time.monotonic() >= next_status:
                    next_status = time.monotonic() + 1
                    try:
                        status = json.loads(self.call("status", "--json"))
                    except RuntimeError:
                        continue  # it has just ended, or has not started yet
            elif not quiet_until:
                quiet_until = time.monotonic() + 2
            elif time.monotonic() > quiet_until:
                return seen, status
        sys.exit("the daemon did not end within two minutes; its log:\n" + (self.folder / "daemon.log").read_text())

    def report(self, seen: list[dict[str, Any]], status: dict[str, Any], code: int | None, frames: int) -> int:
        print(f"\n{status.get('frames', 0)} of {frames} frames processed at the last status")
        for stage, ms in status.get("stages_ms", {}).items():
            print(f"  {stage:8} p50 {ms['p50']:6.2f} ms   p95 {ms['p95']:6.2f} ms")
        got = [(e["event_type"], e.get("identity")) for e in seen]
        if got != EXPECTED or code != 0:
            print(f"\nFAILED: expected {EXPECTED}, got {got}; the daemon ended with {code}. Its log:")
            print((self.folder / "daemon.log").read_text())
            return 1
        print("""
All expected events arrived, and no others. Each person was shown in views of one image only: this tests the path from
camera to broker, but not the recognition of faces. README.md has the measured error rates.

Next, with a camera of your own:
  edge-oneshot camera test --camera v4l2:/dev/video0 --out aim.jpg
  edge-oneshot enroll --name alice --camera v4l2:/dev/video0
  edge-oneshot run --camera v4l2:/dev/video0""")
        return 0

    def close(self) -> None:
        for child in self.children:
            if child.poll() is None:
                child.terminate()
                try:
                    child.wait(5)
                except subprocess.TimeoutExpired:
                    child.kill()


def main() -> int:
    with tempfile.TemporaryDirectory(prefix="edge-oneshot-demo-") as folder:
        demo = Demo(Path(folder))
        try:
            return demo.run()
        finally:
            demo.close()


if __name__ == "__main__":
    sys.exit(main())
