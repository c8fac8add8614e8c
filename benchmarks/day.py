"""A scripted day: a thousand visits, half of them by strangers, through the daemon's pipeline and tracker.

    python benchmarks/day.py --lfw DIR --orl orl_faces.zip [--visits 1000] [--out benchmarks/results]

100 people of LFW sets 5-6 are enrolled from one image each; they visit with their other images. Strangers are the other
people of these sets, and those of ORL, once each. A visit is one image that moves through the frame (640x480), comes nearer
and turns a little, under changing light, with motion blur and noise: three seconds at five frames per second. One visit in
ten overlaps another in time. The hours between are not rendered: no person is in view. Thresholds come from the card (LFW sets
1-4) for the claimed rate, and every claim is measured on the same frames.
"""

from __future__ import annotations

import argparse
import io
import json
import sys
import zipfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from common import headline, lfw_images
from numpy.typing import NDArray
from PIL import Image

from edge_oneshot.cameras.images import load_image
from edge_oneshot.config import Config, DecisionConfig, ModelConfig
from edge_oneshot.errors import EdgeOneshotError
from edge_oneshot.evaluation.reports import visits as visit_report
from edge_oneshot.evaluation.results import to_json
from edge_oneshot.evaluation.under_test import open_recognizer
from edge_oneshot.evaluation.visit_rates import VideoResult, measure
from edge_oneshot.evaluation.visits import EventRecorder, Visit
from edge_oneshot.matching.compare import References
from edge_oneshot.matching.threshold import Rule, Target
from edge_oneshot.model.runtime import Runtime
from edge_oneshot.recognition.enrollment import enroll_from_frame
from edge_oneshot.recognition.pipeline import Pipeline
from edge_oneshot.recognition.recognizer import Recognizer
from edge_oneshot.service.compose import build_tracker
from edge_oneshot.types import Frame, Identity, Template

Pixels = NDArray[np.uint8]
Walk = Iterator[tuple[Image.Image, tuple[int, int]]]  # for each frame: an image, and the place of its upper left corner
FPS, FRAMES, SIZE = 5, 15, (640, 480)
CLAIMS = (0.01, 0.002)  # per visit: 5 and 1 false matches among 500 strangers


@dataclass(frozen=True, slots=True)
class Person:
    name: str
    enrolled: bool
    images: tuple[Path | bytes, ...]


def open_image(source: Path | bytes) -> Image.Image:
    image = Image.open(source if isinstance(source, Path) else io.BytesIO(source)).convert("RGB")
    if image.width < 200:
        return image.resize((225, 274), Image.Resampling.BILINEAR)  # ORL: 92x112, cropped close to the head
    return image.crop((45, 35, 205, 215))  # LFW: 250x250; this removes most of the people in the background


def walk(source: Path | bytes, rng: np.random.Generator, from_left: bool) -> Walk:
    """FRAMES frames of a person who enters from one side and comes nearer."""
    image = open_image(source)
    scale = rng.uniform(0.75, 1.0) * np.linspace(1.0, rng.uniform(1.1, 1.5), FRAMES)
    x = np.linspace(0.28, rng.uniform(0.4, 0.6), FRAMES) + rng.normal(0, 0.006, FRAMES)
    roll = rng.uniform(-8, 8) + np.cumsum(rng.normal(0, 1.5, FRAMES))
    light = rng.uniform(0.55, 1.25) * np.linspace(1.0, rng.uniform(0.8, 1.2), FRAMES)
    for i in range(FRAMES):
        size = (round(image.width * scale[i]), round(image.height * scale[i]))
        shown = image.resize(size, Image.Resampling.BILINEAR).rotate(
            roll[i], Image.Resampling.BILINEAR, fillcolor=(96, 96, 96)
        )
        pixels = np.asarray(shown, np.float32) * light[i]
        pixels = smear(pixels, int(rng.integers(0, 4)))
        shown = Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8))
        across = x[i] if from_left else 1 - x[i]
        yield shown, (round(across * SIZE[0] - shown.width / 2), round(0.5 * SIZE[1] - 0.5 * shown.height))


def smear(pixels: NDArray[np.float32], px: int) -> NDArray[np.float32]:
    """Motion blur of about `px` pixels."""
    for _ in range(px):
        pixels = (pixels + np.roll(pixels, 1, axis=1)) / 2
    return pixels


def render(walks: Sequence[Walk], rng: np.random.Generator, noise: float = 4) -> Iterator[Pixels]:
    """The frames of one scene: people in front of a wall. noise: standard deviation in levels."""
    wall = np.linspace(70, 110, SIZE[0])[None, :, None] * np.ones((SIZE[1], 1, 3))
    for parts in zip(*walks, strict=True):
        canvas = Image.fromarray(wall.astype(np.uint8))
        for shown, corner in parts:
            canvas.paste(shown, corner)
        noisy = np.asarray(canvas, np.float32) + rng.normal(0, noise, (SIZE[1], SIZE[0], 1))
        yield np.clip(noisy, 0, 255).astype(np.uint8)


def cast(lfw: Path, orl: Path, rng: np.random.Generator, enrolled: int) -> list[Person]:
    """All people of sets 5-6, `enrolled` of those with two images or more to be enrolled; and the 40 people of ORL."""
    own: dict[str, list[Path]] = {}
    for p in lfw_images(lfw, "56"):
        own.setdefault(p.person, []).append(p.path)
    chosen = set(rng.permutation([name for name, paths in own.items() if len(paths) > 1])[:enrolled].tolist())
    found = [Person(name, name in chosen, tuple(paths)) for name, paths in own.items()]
    with zipfile.ZipFile(orl) as archive:
        files = sorted(n for n in archive.namelist() if n.endswith((".pgm", ".png", ".jpg")))
        by_person: dict[str, list[bytes]] = {}
        for name in files:
            by_person.setdefault(Path(name).parent.name, []).append(archive.read(name))
    return found + [Person(f"orl-{name}", False, (images[0],)) for name, images in sorted(by_person.items())]


def enroll(pipeline: Pipeline, people: Sequence[Person]) -> tuple[References, list[Person]]:
    """Enroll each person from the first image that is good enough. Returns also the people, without that image."""
    comparator, encoder_id = pipeline.encoder.card.comparator, pipeline.encoder.encoder_id
    empty = References(comparator, encoder_id, ())
    templates: list[Template] = []
    enrolled: list[Person] = []
    for person in people:
        identity = Identity(identity_id=f"person-{len(enrolled)}", name=person.name)
        for n, source in enumerate(person.images):
            assert isinstance(source, Path)
            try:
                made = enroll_from_frame(pipeline, load_image(source), identity, empty, accept_no_rate=True)
                templates.append(made.template)
            except EdgeOneshotError:
                continue
            enrolled.append(replace(person, images=tuple(p for i, p in enumerate(person.images) if i != n)))
            break
    return References(comparator, encoder_id, templates), enrolled


def schedule(
    enrolled: Sequence[Person], strangers: Sequence[Person], visits: int, rng: np.random.Generator
) -> list[tuple[Person, Path | bytes]]:
    """Who visits with which image, in random order: half of the visits by enrolled people, half by strangers, ORL first."""
    half = visits // 2
    orl = [p for p in strangers if p.name.startswith("orl-")]
    lfw = [p for p in strangers if not p.name.startswith("orl-")]
    chosen = (orl + [lfw[i] for i in rng.permutation(len(lfw))])[: visits - half]
    coming = []
    for i in range(half):
        person = enrolled[i % len(enrolled)]
        coming.append((person, person.images[(i // len(enrolled)) % len(person.images)]))
    coming += [(p, p.images[0]) for p in chosen]
    return [coming[i] for i in rng.permutation(len(coming))]


class Memo:
    """Runs a network once for several pipelines that give it the same input within one frame."""

    def __init__(self, runtime: Runtime) -> None:
        self.known: dict[bytes, tuple[NDArray[Any], ...]] = {}
        self._invoke, self._input = runtime.invoke, runtime.input
        runtime.invoke = self  # type: ignore[method-assign]

    def __call__(self, value: NDArray[Any] | None) -> tuple[NDArray[Any], ...]:
        key = (self._input() if value is None else value).tobytes()
        if key not in self.known:
            self.known[key] = tuple(v.copy() for v in self._invoke(value))  # of None: views
        return tuple(v.copy() for v in self.known[key])


class Played:
    """One way to pass the frames of the day through pipeline and tracker, at one threshold, and its events."""

    def __init__(self, config: Config, recognizer: Recognizer, rule: Rule, *, follows: bool) -> None:
        shared, names = recognizer.pipeline, recognizer.people.names
        self._recognizer, self._follows = open_recognizer(config), follows
        self._recognizer.pipeline = Pipeline(shared.encoder, shared.locator, shared.gates)
        self._recognizer.people.use(recognizer.references, names)
        self._recognizer.rule = rule
        self.threshold = self._recognizer.threshold
        self.recorder = EventRecorder(build_tracker(config, self._recognizer), names)
        self.invokes = 0

    def add(self, frame: Frame) -> None:
        if self._follows:
            seen = self._recognizer.follow(frame, self.recorder.tracker)
        else:
            seen = self._recognizer.observe(frame)
        self.invokes += sum(2 - o.one_view for o in seen if o.embedding is not None)
        self.recorder.add("day", seen, frame.captured_ns)


class Day:
    """Plays scenes, and records the events of the same frames in two ways at several thresholds.

    daemon: as the daemon does. each: every face of every frame is computed anew.
    """

    def __init__(self, recognizer: Recognizer, config: Config) -> None:
        rule, pipeline = recognizer.rule, recognizer.pipeline
        rules = [Rule(target=Target(fpir=claim), thresholds=rule.thresholds, cohort=rule.cohort) for claim in CLAIMS]
        self.daemon, self.each = (
            [Played(config, recognizer, r, follows=follows) for r in rules] for follows in (True, False)
        )
        assert pipeline.locator is not None
        parts = (pipeline.encoder, pipeline.locator.finder, pipeline.locator.refiner, pipeline.locator.placer)
        self._memos = [Memo(part.runtime) for part in parts]
        self.visits: list[Visit] = []
        self.at_s, self.scenes = 0.0, 0

    def play(self, together: Sequence[tuple[Person, Path | bytes]], rng: np.random.Generator) -> None:
        """One scene, with one or two people."""
        start_s = self.at_s
        for pixels in render([walk(source, rng, i == 0) for i, (_, source) in enumerate(together)], rng):
            now_ns = round(self.at_s * 1e9) + 1
            frame = Frame(pixels=pixels, seq=0, captured_ns=now_ns, captured_at=datetime.now(UTC), source="day")
            for memo in self._memos:
                memo.known.clear()
            for played in (*self.daemon, *self.each):
                played.add(frame)
            self.at_s += 1 / FPS
        for person, _ in together:
            name = person.name if person.enrolled else None
            self.visits.append(Visit(video="day", start_s=start_s, end_s=self.at_s + 2, name=name, person=person.name))
        self.scenes += 1

    def result(self, played: Played, gallery: int) -> VideoResult:
        played.recorder.end("day")
        recorder = played.recorder
        return measure(self.visits, recorder.events, recorder.lengths_s["day"], played.threshold, gallery)


def main() -> int:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--lfw", type=Path, required=True, help="folder with images/ and people_sets.json")
    options.add_argument("--orl", type=Path, required=True, help="orl_faces.zip")
    options.add_argument("--visits", type=int, default=1000)
    options.add_argument("--enrolled", type=int, default=100)
    options.add_argument("--seed", type=int, default=0)
    options.add_argument("--out", type=Path, help="folder for day-SEED.txt, and day-SEED.html with day-SEED.json")
    o = options.parse_args()
    rng = np.random.default_rng(o.seed)
    config = Config(model=ModelConfig(threads=1), decision=DecisionConfig(target_fpir=CLAIMS[0]))
    recognizer = open_recognizer(config)
    encoder_id = recognizer.encoder_id
    people = cast(o.lfw, o.orl, rng, o.enrolled)
    references, enrolled = enroll(recognizer.pipeline, [p for p in people if p.enrolled])
    recognizer.people.use(references, {f"person-{i}": p.name for i, p in enumerate(enrolled)})
    order = schedule(enrolled, [p for p in people if not p.enrolled], o.visits, rng)
    day = Day(recognizer, config)
    coming = len(order)
    while order:
        together = [order.pop() for _ in range(2 if len(order) > 1 and rng.random() < 0.05 else 1)]
        if len({p.name for p, _ in together}) < len(together):
            order.append(together.pop())
        day.play(together, rng)
        day.at_s += 5 + rng.exponential(max(0.0, 86400 / o.visits - 8))
        if day.scenes % 50 == 0:
            print(f"{len(day.visits)} of {coming} visits", file=sys.stderr, flush=True)
    daemon, each = ([day.result(played, len(enrolled)) for played in way] for way in (day.daemon, day.each))
    text = (
        headline("A scripted day (benchmarks/day.py)")
        + f"\nseed {o.seed}, {day.scenes} scenes, encoder {encoder_id[:19]}\n"
    )
    for title, way, results in (
        ("As the daemon does", day.daemon, daemon),
        ("Every face of every frame computed anew", day.each, each),
    ):
        text += f"\n{title}\n"
        text += "\n".join(
            f"\n{'encoder invokes':32} {p.invokes}\n{lines(r)}" for p, r in zip(way, results, strict=True)
        )
    print(text)
    if o.out is not None:
        o.out.mkdir(parents=True, exist_ok=True)
        (o.out / f"day-{o.seed}.txt").write_text(text)
        page = visit_report.page(daemon[0], day.daemon[0].recorder.events, encoder_id)
        page.write(o.out / f"day-{o.seed}.html", to_json(daemon[0]))
    return 0


def lines(r: VideoResult) -> str:
    return "\n".join(f"{key.replace('_', ' '):32} {json.dumps(value)}" for key, value in to_json(r).items()) + "\n"


if __name__ == "__main__":
    sys.exit(main())
