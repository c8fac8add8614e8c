"""Run the real daemon at full speed for an hour: does its memory or another resource grow?

A daemon process (`edge-oneshot run`) watches an endless video: an enrolled person comes and goes, then a stranger. A real
mosquitto broker receives the events. Each minute a person is enrolled and removed, a picture is identified, and the tracks are
explained. Every 10 s the process is measured from outside (/proc) and a row is written to a CSV; --resume appends a new
session. scripts/soak_report.py fits and plots the CSV.
"""

from __future__ import annotations

import argparse
import csv
import io
import os
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), *(str(ROOT / "tests" / name) for name in ("", "mqtt", "e2e"))]

import av  # noqa: E402
from device import Device  # noqa: E402
from mosquitto import Mosquitto  # noqa: E402
from pictures import Pixels, collins_pixels, empty_scene, hopper_pixels, view  # noqa: E402
from PIL import Image  # noqa: E402
from soak_report import report  # noqa: E402

from edge_oneshot.control.requests import Enroll, Explain, Forget, Identify  # noqa: E402

FPS = 60  # more than the loop can take, which then skips some
TRACKS = 50  # that the journal keeps: the file has its full size within the warm-up


def scenes() -> list[Pixels]:
    """Twelve seconds of pictures: an enrolled person, an empty room, a stranger, an empty room."""
    people = [[view(portrait, n) for n in range(180)] for portrait in (collins_pixels(), hopper_pixels())]
    empty = [empty_scene(seed=n) for n in range(60)] * 3
    return [*people[0], *empty, *people[1], *empty]


def transport_stream(pictures: list[Pixels]) -> bytes:
    """The pictures as MPEG-TS, which can be repeated by writing it again."""
    out = io.BytesIO()
    with av.open(out, "w", format="mpegts") as container:
        stream = container.add_stream("mpeg2video", rate=FPS, options={"g": "15", "bf": "0", "b": "12000000"})
        stream.height, stream.width = pictures[0].shape[:2]
        stream.pix_fmt = "yuv420p"
        for picture in pictures:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode())
    return out.getvalue()


def play(stream: bytes, fifo: Path) -> None:
    """Write the stream into a named pipe repeatedly, until the reader closes it."""
    with suppress(BrokenPipeError), fifo.open("wb", buffering=0) as pipe:
        while True:
            view = memoryview(stream)
            while view:
                view = view[pipe.write(view) :]


def flap(broker: Mosquitto, stop: threading.Event) -> None:
    """Stop the broker for 5 s every 30 s."""
    while not stop.wait(25):
        broker.stop()
        stop.wait(5)
        broker.start()


def measure(pid: int, state: Path) -> dict[str, float]:
    """What the process holds: bytes, threads, descriptors, child processes, bytes of its files, bytes written so far."""
    proc = Path(f"/proc/{pid}")

    def field(name: str, key: str) -> int:
        line = next(line for line in (proc / name).read_text().splitlines() if line.startswith(key + ":"))
        return int(line.split()[1])

    private = field("smaps_rollup", "Private_Clean") + field("smaps_rollup", "Private_Dirty")
    children = 0
    for task in (proc / "task").iterdir():
        with suppress(FileNotFoundError):  # a thread that has just ended
            children += len((task / "children").read_text().split())
    sizes = {p.name: p.stat().st_size for p in state.iterdir() if ".sqlite" in p.name}
    files = {kind: sum(s for name, s in sizes.items() if name.startswith(kind)) for kind in ("gallery", "outbox")}
    return {
        "rss_bytes": field("status", "VmRSS") * 1024,
        "anonymous_bytes": field("status", "RssAnon") * 1024,
        "pss_bytes": field("smaps_rollup", "Pss") * 1024,
        "private_bytes": private * 1024,
        "data_bytes": field("status", "VmData") * 1024,
        "threads": field("status", "Threads"),
        "descriptors": len(list((proc / "fd").iterdir())),
        "children": children,
        **{f"{kind}_bytes": size for kind, size in files.items()},
        "other_sqlite_bytes": sum(sizes.values()) - sum(files.values()),
        "written_bytes": field("io", "write_bytes"),
    }


def traffic(device: Device, portrait: Path) -> None:
    """Once a minute, the requests that a household makes in an hour."""
    picture = portrait.read_bytes()
    device.ask(Identify(image=picture))
    device.ask(Enroll(name="Guest", image=picture, replace=True))
    device.ask(Explain())
    device.ask(Forget(name="guest"))


def samples(device: Device, options: argparse.Namespace, portrait: Path) -> Iterator[dict[str, Any]]:
    """Write a row every 10 s until the time is over."""
    assert device.process is not None
    start = last_traffic = time.monotonic()
    number = 0
    while (elapsed := time.monotonic() - start) < options.minutes * 60:
        status = device.status()
        row = {"elapsed_s": round(elapsed, 2), **measure(device.process.pid, device.state)}
        yield row | {"frames": status["frames"], "events": status["events"], "outbox_depth": status["outbox"]["depth"]}
        if time.monotonic() - last_traffic >= 60:
            last_traffic = time.monotonic()
            traffic(device, portrait)
        number += 1
        time.sleep(max(0.0, start + number * options.every - time.monotonic()))


def session(options: argparse.Namespace, number: int) -> None:
    """One daemon, measured into the CSV."""
    with tempfile.TemporaryDirectory(prefix="soak-") as name:
        folder = Path(name)
        portraits = {}
        for who, pixels in (("collins", collins_pixels()), ("hopper", hopper_pixels())):
            portraits[who] = folder / f"{who}.jpg"
            Image.fromarray(pixels).save(portraits[who], quality=95)
        fifo = folder / "video.ts"
        os.mkfifo(fifo)
        threading.Thread(target=play, args=(transport_stream(scenes()), fifo), daemon=True).start()
        broker, stop = Mosquitto(folder / "broker").start(), threading.Event()
        flapping = threading.Thread(target=flap, args=(broker, stop))
        camera = {"uri": f"file:{fifo}", "fps": float(FPS), "pace": "camera"}
        decision = {"explain_tracks": TRACKS}
        try:
            with Device(folder, broker.port, camera=camera, decision=decision) as device:
                device.enroll("Collins", portraits["collins"])
                device.start()
                if options.flap:
                    flapping.start()
                record(samples(device, options, portraits["hopper"]), options.out.with_suffix(".csv"), number)
                print(f"the daemon ended with {device.stop()}", file=sys.stderr)
                print("\n".join(line for line in device.log().splitlines() if " ERROR " in line), file=sys.stderr)
        finally:
            stop.set()
            if flapping.ident:
                flapping.join()
            broker.stop()


def record(rows: Iterator[dict[str, Any]], path: Path, number: int) -> None:
    """Append each row immediately. Ctrl-C ends the session and keeps the rows."""
    new = not path.exists()
    with path.open("a", newline="") as file, suppress(KeyboardInterrupt):
        for row in rows:
            writer = csv.DictWriter(file, ["session", *row])
            if new:
                writer.writeheader()
            new = False
            writer.writerow({"session": number, **row})
            file.flush()
            if int(row["elapsed_s"]) % 60 < 10:
                print(
                    f"{row['elapsed_s'] / 60:5.1f} min, {row['frames']} frames, {row['rss_bytes'] / 1e6:.1f} MB",
                    file=sys.stderr,
                    flush=True,
                )


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=60.0)
    parser.add_argument("--every", type=float, default=10.0, help="seconds between two rows")
    parser.add_argument(
        "--warm-up", type=float, default=10.0, help="minutes at the start of each session that the fit ignores"
    )
    parser.add_argument("--flap", action="store_true", help="stop the broker for 5 s every 30 s")
    parser.add_argument("--resume", action="store_true", help="append a session to an existing CSV")
    parser.add_argument("--report", action="store_true", help="only fit and plot an existing CSV")
    parser.add_argument("--out", type=Path, default=ROOT / "docs" / "explanation" / "data" / "soak")
    options = parser.parse_args()
    path = options.out.with_suffix(".csv")
    number = 1
    if path.exists() and not options.report:
        if not options.resume:
            parser.error(f"{path} exists: --resume appends to it, --report only reads it")
        with path.open() as file:
            number = 1 + max((int(row["session"]) for row in csv.DictReader(file)), default=0)
    if not options.report:
        signal.signal(signal.SIGTERM, signal.default_int_handler)
        session(options, number)
    return report(path, options)


if __name__ == "__main__":
    sys.exit(main())
