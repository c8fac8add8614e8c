"""How many source files of edge_oneshot a path through the program enters, by tracing calls.

Two paths: one frame of the daemon that ends in a match event for the broker, and one enrollment from a picture file. Only the
loop's thread is traced: what the MQTT thread does with the event is a path of its own. Loading (models,
configuration, gallery) is not part of either; types/ is left out, since every file uses it. The number measures how much a
reader has to open to follow a path.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from types import FrameType
from typing import Any

import skimage.data
from PIL import Image

import edge_oneshot
from edge_oneshot.config import Config, DecisionConfig, DeviceConfig, ModelConfig, MqttConfig
from edge_oneshot.control.protocol import PendingRequest
from edge_oneshot.control.requests import Enroll
from edge_oneshot.events.journal import Journal
from edge_oneshot.recognition.recognizer import Recognizer
from edge_oneshot.service.compose import build_tracker, reporter
from edge_oneshot.service.daemon import Daemon
from edge_oneshot.service.records import Records
from edge_oneshot.types import Frame

PACKAGE = Path(edge_oneshot.__file__).parent


def entered(action: Callable[[], object]) -> list[str]:
    """The files of the package whose code ran while `action` was called, relative to it. Not their import."""
    files: set[str] = set()

    def trace(frame: FrameType, event: str, _: Any) -> None:
        code = frame.f_code
        if event == "call" and code.co_name != "<module>" and code.co_filename.startswith(str(PACKAGE)):
            files.add(str(Path(code.co_filename).relative_to(PACKAGE)))

    sys.setprofile(trace)
    try:
        action()
    finally:
        sys.setprofile(None)
    return sorted(f for f in files if not f.startswith("types"))


def paths(folder: Path) -> dict[str, list[str]]:
    picture = skimage.data.astronaut()
    file = folder / "collins.png"
    Image.fromarray(picture).save(file)
    config = Config(
        device=DeviceConfig(state_dir=str(folder)),
        model=ModelConfig(threads=1),
        decision=DecisionConfig(confirm_frames=1),
        mqtt=MqttConfig(port=1),  # no broker: events wait in the outbox
    )
    with Recognizer.open(config) as recognizer, reporter(config) as (report, _):
        journal = Journal(config.explain_path, config.decision)
        daemon = Daemon(config, recognizer, build_tracker(config, recognizer), report, Records(config, journal))
        request = PendingRequest(Enroll(name="Eileen", image=file.read_bytes()))
        enrollment = entered(lambda: daemon.requests.start(request))
        now_ns = time.monotonic_ns()
        frame = Frame(pixels=picture.copy(), seq=1, captured_ns=now_ns, captured_at=datetime.now(UTC), source="x")
        events: list[Any] = []
        match = entered(lambda: events.extend(daemon.step(frame, now_ns)))
        journal.close()
    if [e.event_type for e in events] != ["match"]:
        raise SystemExit(f"the frame: expected a match, got {[e.event_type for e in events]}")
    return {"a frame with a match": match, "an enrollment from a picture": enrollment}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--list", action="store_true", help="print the files as well")
    parser.add_argument(
        "--at-most", type=int, nargs=2, metavar=("MATCH", "ENROLLMENT"), help="exit 1 above these counts"
    )
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        found = paths(Path(folder))
    for name, files in found.items():
        print(f"{name}: {len(files)} files")
        if options.list:
            print("".join(f"  {f} ({len((PACKAGE / f).read_text().splitlines())} lines)\n" for f in files), end="")
    limits = options.at_most or [10_000] * 2
    return int(any(len(files) > limit for files, limit in zip(found.values(), limits, strict=True)))


if __name__ == "__main__":
    sys.exit(main())
