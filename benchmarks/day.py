"""A scripted day: a thousand visits, half of them by strangers, through the daemon's pipeline and tracker.

    python benchmarks/day.py --lfw DIR --orl orl_faces.zip [--visits 1000] [--out benchmarks/results]

100 people of LFW sets 5-6 are enrolled from one picture each; they come again with their other pictures. Strangers are
the other people of these sets, and those of ORL, each once. Someone appears in one picture that moves through the frame
(640x480), comes nearer, turns a little, under changing light, with blur by motion and noise: three seconds at five
frames a second. One visit in ten crosses another's. The hours between are not rendered: nobody is in sight. Thresholds
come from the card (LFW sets 1-4) for the claimed rate, and every claim sees the same frames.
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

import numpy as np
from common import headline, lfw_pictures
from numpy.typing import NDArray
from PIL import Image

from edge_oneshot.cameras.images import load_image
from edge_oneshot.config import Config, DecisionConfig, ModelConfig
from edge_oneshot.errors import EdgeOneshotError
from edge_oneshot.evaluation.reports.pages import video_page
from edge_oneshot.evaluation.visits import Visit, Watcher, report
from edge_oneshot.matching.compare import References, score_all
from edge_oneshot.matching.decide import decide
from edge_oneshot.matching.threshold import Rule, Target
from edge_oneshot.matching.track import Tracker
from edge_oneshot.recognition.enrollment import enroll_from_frame
from edge_oneshot.service.compose import build_pipeline, build_rule
from edge_oneshot.types import Frame, Identity, Template

Pixels = NDArray[np.uint8]
Walk = Iterator[tuple[Image.Image, tuple[int, int]]]  # for each frame a picture, and where its upper left corner is
FPS, FRAMES, SIZE = 5, 15, (640, 480)
CLAIMS = (0.01, 0.002)  # per visit: 5 and 1 false matches among 500 strangers


@dataclass(frozen=True, slots=True)
class Person:
    name: str
    enrolled: bool
    pictures: tuple[Path | bytes, ...]


def picture(source: Path | bytes) -> Image.Image:
    image = Image.open(source if isinstance(source, Path) else io.BytesIO(source)).convert("RGB")
    if image.width < 200:
        return image.resize((225, 274), Image.Resampling.BILINEAR)  # ORL: 92x112, tight around the head
    return image.crop((45, 35, 205, 215))  # LFW: 250x250; of the people around most are cut away


def walk(source: Path | bytes, rng: np.random.Generator, from_left: bool) -> Walk:
    """FRAMES long: somebody who comes in from one side, and nearer."""
    image = picture(source)
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
    """Blur by motion, of about so many px."""
    for _ in range(px):
        pixels = (pixels + np.roll(pixels, 1, axis=1)) / 2
    return pixels


def film(walks: Sequence[Walk], rng: np.random.Generator, noise: float = 4) -> Iterator[Pixels]:
    """The frames of one scene: people before a wall. noise: its standard deviation in levels."""
    wall = np.linspace(70, 110, SIZE[0])[None, :, None] * np.ones((SIZE[1], 1, 3))
    for parts in zip(*walks, strict=True):
        canvas = Image.fromarray(wall.astype(np.uint8))
        for shown, corner in parts:
            canvas.paste(shown, corner)
        noisy = np.asarray(canvas, np.float32) + rng.normal(0, noise, (SIZE[1], SIZE[0], 1))
        yield np.clip(noisy, 0, 255).astype(np.uint8)


def cast(lfw: Path, orl: Path, rng: np.random.Generator, enrolled: int) -> list[Person]:
    """Everybody of sets 5-6, the first `enrolled` of those with two pictures or more enrolled; and the 40 of ORL."""
    own: dict[str, list[Path]] = {}
    for p in lfw_pictures(lfw, "56"):
        own.setdefault(p.person, []).append(p.path)
    chosen = set(rng.permutation([name for name, paths in own.items() if len(paths) > 1])[:enrolled].tolist())
    found = [Person(name, name in chosen, tuple(paths)) for name, paths in own.items()]
    with zipfile.ZipFile(orl) as archive:
        files = sorted(n for n in archive.namelist() if n.endswith((".pgm", ".png", ".jpg")))
        by_person: dict[str, list[bytes]] = {}
        for name in files:
            by_person.setdefault(Path(name).parent.name, []).append(archive.read(name))
    return found + [Person(f"orl-{name}", False, (pictures[0],)) for name, pictures in sorted(by_person.items())]


def main() -> int:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--lfw", type=Path, required=True, help="folder with images/ and people_sets.json")
    options.add_argument("--orl", type=Path, required=True, help="orl_faces.zip")
    options.add_argument("--visits", type=int, default=1000)
    options.add_argument("--enrolled", type=int, default=100)
    options.add_argument("--seed", type=int, default=0)
    options.add_argument("--out", type=Path, help="folder for day-SEED.txt and day-SEED.html")
    o = options.parse_args()
    rng = np.random.default_rng(o.seed)
    config = Config(model=ModelConfig(threads=1), decision=DecisionConfig(target_fpir=CLAIMS[0]))
    pipeline = build_pipeline(config)
    card, encoder_id = pipeline.encoder.card, pipeline.encoder.encoder_id
    people = cast(o.lfw, o.orl, rng, o.enrolled)
    nobody = References(card.comparator, encoder_id, ())
    templates: list[Template] = []
    names: dict[str, str] = {}
    own: list[Person] = []
    for person in (p for p in people if p.enrolled):
        identity = Identity(identity_id=f"person-{len(names)}", name=person.name)
        for n, source in enumerate(person.pictures):  # asked again until a picture is good
            assert isinstance(source, Path)
            try:
                templates.append(enroll_from_frame(pipeline, load_image(source), identity, nobody).template)
            except EdgeOneshotError:
                continue
            names[identity.identity_id] = person.name
            own.append(replace(person, pictures=tuple(p for i, p in enumerate(person.pictures) if i != n)))
            break
    references = References(card.comparator, encoder_id, templates)
    pipeline.follow(references)
    rule = build_rule(config, pipeline.encoder)
    rules = [Rule(target=Target(fpir=claim), thresholds=rule.thresholds, cohort=rule.cohort) for claim in CLAIMS]
    thresholds = [r(references.template_counts) for r in rules]

    half = o.visits // 2
    strangers = [p for p in people if not p.enrolled]
    orl, lfw = (
        [p for p in strangers if p.name.startswith("orl-")],
        [p for p in strangers if not p.name.startswith("orl-")],
    )
    strangers = (orl + [lfw[i] for i in rng.permutation(len(lfw))])[: o.visits - half]
    coming = [
        (own[i % len(own)], own[i % len(own)].pictures[(i // len(own)) % len(own[i % len(own)].pictures)])
        for i in range(half)
    ]
    coming += [(p, p.pictures[0]) for p in strangers]
    order = [coming[i] for i in rng.permutation(len(coming))]

    def alike(threshold: float) -> Tracker:
        return Tracker(
            config.decision,
            lambda a, b: bool(score_all(card.comparator, a.vector[None], b.vector)[0] >= threshold),
            references.score,
        )

    watchers = [Watcher(alike(t.value), names) for t in thresholds]
    visits: list[Visit] = []
    at_s, scenes = 0.0, 0
    while order:
        together = [order.pop() for _ in range(2 if len(order) > 1 and rng.random() < 0.05 else 1)]
        if len({p.name for p, _ in together}) < len(together):
            order.append(together.pop())
        start_s = at_s
        for pixels in film([walk(source, rng, i == 0) for i, (_, source) in enumerate(together)], rng):
            now_ns = round(at_s * 1e9) + 1
            frame = Frame(pixels=pixels, seq=0, captured_ns=now_ns, captured_at=datetime.now(UTC), source="day")
            seen = pipeline.observe(frame, references)
            for threshold, watcher in zip(thresholds, watchers, strict=True):
                watcher.see(
                    "day",
                    [
                        s
                        if s.embedding is None
                        else replace(s, decision=decide(s.embedding, references, threshold, card))
                        for s in seen
                    ],
                    now_ns,
                )
            at_s += 1 / FPS
        for person, _ in together:
            name = person.name if person.enrolled else None
            visits.append(Visit(video="day", start_s=start_s, end_s=at_s + 2, name=name, person=person.name))
        at_s += 5 + rng.exponential(max(0.0, 86400 / o.visits - 8))
        scenes += 1
        if scenes % 50 == 0:
            print(f"{len(visits)} of {len(coming)} visits", file=sys.stderr, flush=True)
    for watcher in watchers:
        watcher.end("day")
    results = [
        report(visits, w.told, w.lengths_s["day"], t, len(names)) for w, t in zip(watchers, thresholds, strict=True)
    ]
    text = (
        headline("A scripted day (benchmarks/day.py)")
        + f"\nseed {o.seed}, {scenes} scenes, encoder {encoder_id[:19]}\n\n"
        + "\n".join(lines(r) for r in results)
    )
    print(text)
    if o.out is not None:
        o.out.mkdir(parents=True, exist_ok=True)
        (o.out / f"day-{o.seed}.txt").write_text(text)
        (o.out / f"day-{o.seed}.html").write_text(video_page(results[0], watchers[0].told))
    return 0


def lines(r: dict[str, object]) -> str:
    return "\n".join(f"{key.replace('_', ' '):32} {json.dumps(value)}" for key, value in r.items()) + "\n"


if __name__ == "__main__":
    sys.exit(main())
