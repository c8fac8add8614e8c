"""A month of the daemon at a clock that this script sets: what does a day cost, and does anything grow?

The daemon's own parts run in this process: recognizer with the shipped models, loop (`Daemon.step`), sealed gallery, outbox, journal,
door record, retention. The script sets the clocks. Each day has 50 visits of enrolled people and strangers, 6 frames each, and between
them the loop turns every ten minutes. Each morning a guest is enrolled, and removed in the evening. From day 8 to 14 the network is
away. The broker is not real: an event is delivered by deleting it from the outbox. Each midnight the process is measured (/proc).
Writes the measures of each day, and a summary, to <out>.json. The exit code is 1 if a bound is not held.
"""

from __future__ import annotations

import argparse
import dataclasses
import io
import itertools
import json
import os
import random
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

import numpy as np  # noqa: E402
from fault_report import code_version  # noqa: E402
from pictures import collins_pixels, empty_scene, frame, hopper_pixels, view  # noqa: E402
from PIL import Image  # noqa: E402
from soak import measure  # noqa: E402

from edge_oneshot.config import Config, DecisionConfig, DeviceConfig, GalleryConfig  # noqa: E402
from edge_oneshot.control.protocol import PendingRequest, result_of  # noqa: E402
from edge_oneshot.control.requests import Enroll, Forget  # noqa: E402
from edge_oneshot.events import clock as clocks  # noqa: E402
from edge_oneshot.events.clock import Moment  # noqa: E402
from edge_oneshot.events.outbox import Outbox  # noqa: E402
from edge_oneshot.gallery.seen import LastSeen  # noqa: E402
from edge_oneshot.recognition.recognizer import Recognizer  # noqa: E402
from edge_oneshot.service import sealing, system  # noqa: E402
from edge_oneshot.service.compose import build_tracker, open_door, open_records  # noqa: E402
from edge_oneshot.service.daemon import Daemon  # noqa: E402
from edge_oneshot.service.reporter import Reporter  # noqa: E402
from edge_oneshot.service.retention import Retention  # noqa: E402
from edge_oneshot.storage.keys import Keys  # noqa: E402
from edge_oneshot.types import Event  # noqa: E402

BEGIN = datetime(2027, 3, 1, tzinfo=UTC)
FRAMES, STEP_S, QUIET_S = 6, 0.5, 600.0
AWAY = range(7, 14)  # days, from 0
MAX_EVENTS, EXPIRE_DAYS, WARM_UP = 200, 10, 10
MOST_RSS_MB_A_DAY, MOST_WRITTEN_MB_A_DAY = 0.1, 200.0


class World:
    """The clocks of this process, from now on."""

    def __init__(self) -> None:
        self.s = 0.0
        world, base_ns = self, time.monotonic_ns()
        self.wall_clock = time.perf_counter

        class Scripted(datetime, metaclass=_Instances):
            @classmethod
            def now(cls, tz: Any = None) -> datetime:
                return world.wall.astimezone(tz)

        time.monotonic_ns = lambda: base_ns + round(world.s * 1e9)
        time.monotonic = lambda: time.monotonic_ns() / 1e9
        time.time_ns = lambda: round(world.wall.timestamp() * 1e9)
        time.time = lambda: world.wall.timestamp()
        for name, module in list(sys.modules.items()):
            if name.startswith("edge_oneshot") and getattr(module, "datetime", None) is datetime:
                module.datetime = Scripted  # type: ignore[attr-defined]

    @property
    def wall(self) -> datetime:
        return BEGIN + timedelta(seconds=self.s)

    def moment(self) -> Moment:
        now_ns = time.monotonic_ns()
        return Moment(monotonic_ns=now_ns, boottime_ns=now_ns, wall=self.wall, synced=True, boot_id=clocks.boot_id())


class _Instances(type):
    """A datetime that was made before is one as well."""

    def __instancecheck__(cls, value: object) -> bool:
        return isinstance(value, datetime)


class Delivery(Reporter):
    """Delivers at once while the network is there."""

    away = False

    def event(self, event: Event) -> None:
        assert self.outbox is not None
        self.events += 1
        self.outbox.commit(event)
        if not self.away:
            self.deliver()

    def deliver(self) -> None:
        assert self.outbox is not None
        while found := self.outbox.pending(0, 100):
            self.outbox.delete([stored.event.event_id for stored in found])


class Month:
    """One device. steps: of the loop."""

    def __init__(self, folder: Path, rng: random.Random, stack: ExitStack) -> None:
        self.rng, self.state = rng, folder / "state"
        config = Config(
            device=DeviceConfig(slug="door", state_dir=str(self.state)),
            gallery=GalleryConfig(key_file=str(folder / "keys/gallery.key"), expire_days=EXPIRE_DAYS),
            decision=DecisionConfig(explain_tracks=100),
        )
        sealing.seal_new(config)
        keys = Keys(config.key_path)
        self.recognizer = stack.enter_context(Recognizer.open(config))
        for name in ("Collins", "Lost"):  # the second never comes
            self.recognizer.enroll(name, collins_pixels() if name == "Collins" else np.fliplr(hopper_pixels()))
        records = stack.enter_context(open_records(config))
        door = stack.enter_context(open_door(config, self.recognizer))
        self.world = World()
        box = stack.enter_context(
            closing(Outbox(config.outbox_path, max_events=MAX_EVENTS, clock=self.world.moment, keys=keys))
        )
        seen = stack.enter_context(closing(LastSeen(config.seen_path, keys)))
        self.outbox, self.reporter = box.events, Delivery(box.events)
        self.daemon = Daemon(
            config,
            self.recognizer,
            build_tracker(config, self.recognizer),
            self.reporter,
            records,
            None,
            door,
            Retention(EXPIRE_DAYS, seen, self.world.moment),
        )
        self.visitors = [[view(p, n) for n in range(40)] for p in (collins_pixels(), hopper_pixels())]
        self.empty = itertools.cycle([empty_scene(seed=n) for n in range(3)])

    def step(self, pixels: Any = None) -> None:
        now_ns = time.monotonic_ns()
        shown = None
        if pixels is not None:
            shown = dataclasses.replace(frame(pixels, now_ns), captured_at=self.world.wall)
        self.daemon.step(shown, now_ns)

    def ask(self, request: Any) -> None:
        """As a client of the control socket does. Raises what the request raises."""
        pending = PendingRequest(request)
        self.daemon.requests.start(pending)
        result_of(request, pending.answers.get_nowait())

    def until(self, second: float) -> None:
        """The loop turns, and no one is there."""
        while self.world.s < second:
            self.world.s = min(second, self.world.s + QUIET_S)
            self.step(next(self.empty))

    def visit(self) -> None:
        pictures = self.rng.choice(self.visitors)
        start = self.rng.randrange(len(pictures))
        for n in range(FRAMES):
            self.world.s += STEP_S
            self.step(pictures[(start + n) % len(pictures)])
        for _ in range(4):  # until the visitor is gone
            self.world.s += 5.0
            self.step(next(self.empty))

    def day(self, number: int, visits: int) -> None:
        self.reporter.away = number in AWAY
        if not self.reporter.away:
            self.reporter.deliver()
        begin = number * 86_400.0
        self.until(begin + 6 * 3600)
        picture = io.BytesIO()
        Image.fromarray(np.fliplr(collins_pixels())).save(picture, "jpeg", quality=95)
        self.ask(Enroll(name="Guest", image=picture.getvalue(), replace=True))
        for second in sorted(self.rng.uniform(7 * 3600, 22 * 3600) for _ in range(visits)):
            self.until(begin + second)
            self.visit()
        self.ask(Forget(name="Guest"))
        self.until(begin + 86_400.0)

    def measured(self) -> dict[str, Any]:
        status = self.outbox.status()
        people = list(self.recognizer.people.names)
        more = {"depth": status.depth, "dropped": status.dropped_overflow + status.dropped_age, "people": people}
        return {**measure(os.getpid(), self.state), "events": self.reporter.events, **more}


@contextmanager
def month(seed: int) -> Iterator[Month]:
    system.return_large_blocks()
    with tempfile.TemporaryDirectory(prefix="month-") as name, ExitStack() as stack:
        yield Month(Path(name), random.Random(seed), stack)


def summary(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """The slope of each measure per day after the warm-up (least squares), and what a day writes."""
    warm = rows[min(WARM_UP, len(rows) // 2) :]
    days = np.arange(len(warm))
    names = (
        "rss_bytes",
        "private_bytes",
        "threads",
        "descriptors",
        "gallery_bytes",
        "outbox_bytes",
        "other_sqlite_bytes",
    )
    found = {name: round(float(np.polyfit(days, [row[name] for row in warm], 1)[0]), 3) for name in names}
    written = np.diff([row["written_bytes"] for row in rows])
    return {
        "slope_per_day": found,
        "written_mb_per_day": {
            "median": round(float(np.median(written)) / 1e6, 2),
            "most": round(written.max() / 1e6, 2),
        },
        "outbox_deepest": max(row["depth"] for row in rows),
        "events_dropped": rows[-1]["dropped"],
        "people": rows[-1]["people"],
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--days", type=int, default=30, help="at least 4")
    parser.add_argument("--visits", type=int, default=50, help="of each day")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--out", type=Path, default=ROOT / "docs" / "explanation" / "data" / "month")
    options = parser.parse_args()
    if options.days < 4:
        parser.error("--days: expected at least 4, for the slopes")
    rows: list[dict[str, Any]] = []
    with month(options.seed) as run:
        start = run.world.wall_clock()
        for number in range(options.days):
            run.day(number, options.visits)
            rows.append({"day": number + 1, **run.measured()})
            spent = run.world.wall_clock() - start
            print(f"day {number + 1}: {rows[-1]['rss_bytes'] / 1e6:.1f} MB, {spent:.0f} s", file=sys.stderr, flush=True)
    found = summary(rows)
    about = {
        "written_by": f"scripts/month --days {options.days} --visits {options.visits} --seed {options.seed}",
        "commit": code_version(),
        "speed": round(options.days * 86_400 / spent),
    }
    options.out.with_suffix(".json").write_text(json.dumps({**about, **found, "days": rows}, indent=1) + "\n")
    print(json.dumps({**about, **found}, indent=1))
    grown = found["slope_per_day"]["rss_bytes"] / 1e6 > MOST_RSS_MB_A_DAY
    worn = found["written_mb_per_day"]["median"] > MOST_WRITTEN_MB_A_DAY
    wrong = found["outbox_deepest"] > MAX_EVENTS or found["people"] != ["collins"]
    return int(grown or worn or wrong)


if __name__ == "__main__":
    sys.exit(main())
