"""What a frame costs after the decisions, against every face undecided; scenes of 640x480 side by side.

    python benchmarks/steady.py [ROUNDS] > benchmarks/results/steady.txt

`each frame` is Recognizer.observe, which computes everything for every face of every frame; `daemon` is Recognizer.follow with
the daemon's tracker, from 2 s after the people came. Blocks of all scenes alternate within each round, so that all see the same
load. One inference thread. Times are processor time. Re-checks and searches come in some frames only, so compare means: the median
of the rounds' means is printed. The last columns count invokes per frame. Frames are 100 ms apart in the pictures' own time.
"""

from __future__ import annotations

import itertools
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime

import numpy as np
from common import headline, portrait
from PIL import Image
from range_cost import STEP_NS, Counter, Pixels, hallway

from edge_oneshot.cameras.images import load_image
from edge_oneshot.config import Config, DecisionConfig
from edge_oneshot.evaluation.benchmarking import random_references
from edge_oneshot.evaluation.under_test import open_recognizer
from edge_oneshot.service.compose import build_tracker
from edge_oneshot.types import Frame

BLOCK, SETTLE = 20, 12  # frames of a round; frames until all of at most three people are decided
NETWORKS = ("finder", "refiner", "landmarks", "encoder")
CORNERS = [(12 + 125 * (k % 5), 60 + 200 * (k // 5)) for k in range(10)]


@dataclass(frozen=True, slots=True)
class Scene:
    """faces: how many people stand in the picture. sway: share of the frames in which each moves by a pixel or two."""

    name: str
    faces: int = 0
    sway: float = 0.1
    motion: bool = False
    known: bool = False


SCENES = (
    Scene("empty, still"),
    Scene("empty, motion", motion=True),
    Scene("1 stranger, still", 1),
    Scene("1 stranger, restless", 1, sway=1.0),
    Scene("1 enrolled, still", 1, known=True),
    Scene("5 strangers, still", 5),
    Scene("5 strangers, restless", 5, sway=1.0),
    Scene("10 strangers, still", 10),
    Scene("10 strangers, restless", 10, sway=1.0),
)
EACH = ("empty, still", "empty, motion", "1 stranger, still", "5 strangers, still")  # also computed frame by frame


def heads() -> list[Pixels]:
    """The head of a portrait at 24 px between the eyes, as it is and mirrored."""
    head = Image.fromarray(load_image(portrait()).pixels[:200, 110:340]).resize((115, 100), Image.Resampling.LANCZOS)
    pixels = np.asarray(head)
    return [pixels, pixels[:, ::-1]]


def frames(scene: Scene, seed: int) -> Iterator[Pixels]:
    """Endless frames with noise. Without faces and with motion, a coat walks to and fro."""
    random = np.random.default_rng(seed)
    wall, own = hallway(random), heads()
    coat = random.integers(30, 90, (40, 15, 3), dtype=np.uint8).repeat(4, axis=0).repeat(4, axis=1)
    noise = [random.normal(0, 2, wall.shape).astype(np.int16) for _ in range(5)]
    places = np.array(CORNERS[: scene.faces]).reshape(-1, 2)
    for number in itertools.count():
        picture = wall.astype(np.int16)
        if scene.motion:
            x = int(280 + 270 * np.sin(number / 25))
            picture[200:360, x : x + 60] = coat
        steps = random.integers(-2, 3, places.shape) * (random.random((len(places), 1)) < scene.sway)
        for k, (x, y) in enumerate(places + steps):
            picture[y : y + 100, x : x + 115] = own[k % 2]
        picture += noise[number % len(noise)]
        yield np.clip(picture, 0, 255).astype(np.uint8)


class Watched:
    """One scene in front of a recognizer of its own. follows: as the daemon does, else each frame for itself."""

    def __init__(self, scene: Scene, follows: bool) -> None:
        config = Config(decision=DecisionConfig(threshold=0.5))
        self.recognizer = open_recognizer(replace(config, model=replace(config.model, threads=1)))
        if scene.known:
            self.recognizer.enroll("Eileen", load_image(portrait()).pixels)
        else:
            self.recognizer.people.use(random_references(self.recognizer.pipeline.encoder, 1000), {})
        self.scene, self.follows, self.tracker = scene, follows, build_tracker(config, self.recognizer)
        self.pictures, self.at_ns = frames(scene, 4), 0
        locator = self.recognizer.pipeline.locator
        assert locator is not None
        runtimes = (locator.finder, locator.refiner, locator.placer, self.recognizer.pipeline.encoder)
        self.counters = [Counter(part.runtime) for part in runtimes]
        self.means: list[float] = []
        self.shown = 0
        self.block(SETTLE * max(1, round(scene.faces / 3)) if follows else 1)
        self.means.clear()
        for counter in self.counters:
            counter.count = 0
        self.shown = 0

    def block(self, count: int) -> None:
        spent = 0.0
        for pixels in itertools.islice(self.pictures, count):
            self.at_ns += STEP_NS
            frame = Frame(pixels=pixels, seq=0, captured_ns=self.at_ns, captured_at=datetime.now(UTC), source="scene")
            start = time.process_time()
            if self.follows:
                self.tracker.update(self.recognizer.follow(frame, self.tracker), self.at_ns)
            else:
                self.tracker.update(self.recognizer.observe(frame), self.at_ns)
            spent += time.process_time() - start
        self.shown += count
        self.means.append(1e3 * spent / count)

    def ms(self) -> float:
        return float(np.median(self.means))

    def line(self) -> str:
        invokes = "".join(f"{c.count / self.shown:11.2f}" for c in self.counters)
        kind = "daemon" if self.follows else "each frame"
        return f"{self.scene.name:24} {kind:10} {self.ms():8.2f}{invokes}"


def main(rounds: int) -> None:
    watched = [Watched(s, follows) for s in SCENES for follows in (False, True) if follows or s.name in EACH]
    for number in range(rounds):
        for one in watched if number % 2 else watched[::-1]:
            one.block(BLOCK)
    print(headline("Steady state: CPU ms and invokes per 640x480 frame, one thread, 1,000 templates"))
    print(f"{rounds} rounds of {BLOCK} frames for each line\n")
    print(f"{'scene':24} {'':10} {'CPU ms':>8}" + "".join(f"{n:>11}" for n in NETWORKS))
    for one in watched:
        print(one.line())
    found = {(one.scene.name, one.follows): one.ms() for one in watched}
    print("\n" + "\n".join(ratios(found)))


def ratios(ms: dict[tuple[str, bool], float]) -> Sequence[str]:
    def cost(name: str, follows: bool = True) -> float:
        return ms[name, follows]

    def further(name: str, count: int, follows: bool = True) -> float:
        return (cost(f"{count} strangers, {name}", follows) - cost(f"1 stranger, {name}", follows)) / (count - 1)

    undecided, one = cost("1 stranger, still", False), further("still", 5, False)
    return [
        f"a decided stranger who stands still, of an undecided one   {cost('1 stranger, still') / undecided:6.2f}  (goal 0.4)",
        f"a restless one                                             {cost('1 stranger, restless') / undecided:6.2f}",
        f"a decided enrolled person, of an undecided stranger        {cost('1 enrolled, still') / undecided:6.2f}  (goal 0.4)",
        f"an empty still scene, of an empty one with motion          {cost('empty, still') / cost('empty, motion'):6.2f}  (goal 0.6)",
        f"each further face, ms: still, decided                      {further('still', 10):6.2f}  (goal 8)",
        f"each further face, ms: restless, decided                   {further('restless', 10):6.2f}  (goal 8)",
        f"each further face, ms: each frame for itself               {one:6.2f}",
        f"ten restless decided faces, of three undecided ones        "
        f"{cost('10 strangers, restless') / (undecided + 2 * one):6.2f}",
    ]


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 10)
