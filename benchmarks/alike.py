"""Fit and check edge_oneshot/models/alike.json: how often pictures of one person match the template of another who looks alike.

Trials: the template of each person is the first picture. A trial is a picture of Bob (another one than the template) against the
template of Alice, with the score of both templates. Fitted on LFW sets 1-4, checked on sets 5-6, whose people are others.

    python benchmarks/alike.py --lfw DIR [--embeddings FILE.npz] [--out edge_oneshot/models/alike.json]
"""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict
from itertools import pairwise
from pathlib import Path

import numpy as np
from common import headline, in_processes, lfw_images, shipped, shipped_rule

from edge_oneshot.cameras.images import load_image
from edge_oneshot.evaluation.dataset import LabelledImage
from edge_oneshot.evaluation.metrics import wilson
from edge_oneshot.matching.alike import Alike
from edge_oneshot.types import Float32Array, Float64Array

# Template score. Below it the residuals are wider than the model says: at 0.30 to 0.35 sets 5-6 had 15 matches, 6 expected.
LOWEST = 0.35
MOST_PROBES = 5  # of one person, so that a few people with hundreds of pictures do not decide
SHARES = np.concatenate([np.linspace(0.95, 0.1, 18), np.geomspace(0.05, 1e-5, 24)])
Trials = tuple[Float64Array, Float64Array, int]  # template scores, probe scores, people


def embedding(image: LabelledImage) -> tuple[str, Float32Array | None]:
    """The only face of a picture, encoded; None without one."""
    samples = shipped().picture_samples(load_image(image.path))
    usable = len(samples) == 1 and not samples[0].faults
    return image.person, shipped().encode(samples[0]).vector if usable else None


def embeddings(lfw: Path, file: Path | None, workers: int) -> dict[str, list[Float32Array]]:
    """person -> embeddings of the pictures, in their order. file: where they are kept; biometric data."""
    if file is not None and file.exists():
        kept = np.load(file)
        names, vectors = [str(n).split("/")[0] for n in kept["names"]], kept["emb"]
    else:
        done = in_processes(embedding, lfw_images(lfw, "123456"), workers, "encoding")
        names, vectors = [n for n, v in done if v is not None], np.array([v for _, v in done if v is not None])
        if file is not None:
            np.savez(file, names=names, emb=vectors)
    found: dict[str, list[Float32Array]] = {}
    for name, vector in zip(names, vectors, strict=True):
        found.setdefault(name, []).append(vector)
    return found


def trials(people: list[list[Float32Array]]) -> Trials:
    """Every picture of the people with two or more, up to MOST_PROBES of each, against the template of everyone else."""
    templates = np.array([vectors[0] for vectors in people])
    between, probed, used = [], [], 0
    for number, vectors in enumerate(people):
        if len(vectors) < 2:
            continue
        used += 1
        others = np.delete(templates, number, axis=0)
        alike = others @ vectors[0]
        near = alike >= LOWEST
        for probe in vectors[1 : 1 + MOST_PROBES]:
            between.append(alike[near])
            probed.append(others[near] @ probe)
    return np.concatenate(between).astype(np.float64), np.concatenate(probed).astype(np.float64), used


def fitted(measured: Trials, encoder_id: str) -> Alike:
    between, probed, people = measured
    slope, intercept = np.polyfit(between, probed, 1)
    residuals = np.sort(probed - intercept - slope * between)
    shares = SHARES[SHARES * len(residuals) >= 10]  # a share that fewer than ten trials reach is not stated
    tail = [(float(np.quantile(residuals, 1 - share)), float(share)) for share in shares]
    return Alike(
        encoder_id=encoder_id,
        intercept=round(float(intercept), 4),
        slope=round(float(slope), 4),
        tail=tuple((round(r, 4), float(f"{s:.3g}")) for r, s in tail),
        lowest=LOWEST,
        people=people,
        triples=len(between),
    )


def check(model: Alike, measured: Trials, threshold: float) -> list[str]:
    """Predicted and observed shares of matches by template score."""
    between, probed, people = measured
    lines = [f"{people} other people, {len(between)} trials, threshold {threshold:.3f}"]
    lines.append("templates     trials  matches  observed (95 %)              predicted")
    edges = [*np.arange(LOWEST, 0.56, 0.05), 1.0]
    for low, high in pairwise(edges):
        inside = (between >= low) & (between < high)
        count, matches = int(inside.sum()), int((probed[inside] >= threshold).sum())
        if count:
            span = wilson(matches, count)
            expected = float(np.mean([model.share(s, threshold) for s in between[inside][:5000]]))
            lines.append(
                f"{low:.2f} to {high:.2f} {count:8} {matches:8}  {matches / count:.5f} ({span.low:.5f} to {span.high:.5f})  {expected:.5f}"
            )
    return lines


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--lfw", type=Path, required=True, help="folder with images/ and people_sets.json")
    options.add_argument("--embeddings", type=Path, metavar="FILE", help=".npz to keep them in; biometric data")
    options.add_argument("--workers", type=int, default=1)
    options.add_argument("--out", type=Path, help="where the model is written")
    o = options.parse_args()
    sets = json.loads((o.lfw / "people_sets.json").read_text())
    found = embeddings(o.lfw, o.embeddings, o.workers)
    fit, report = (
        [found[n] for number in numbers for n, _ in sets[number] if n in found] for numbers in ("1234", "56")
    )
    model = fitted(trials(fit), shipped().encoder.encoder_id)
    print(headline("Pictures of one person against the template of another who looks alike"))
    print(
        f"fitted: {model.people} people of LFW sets 1-4, {model.triples} trials; slope {model.slope}, intercept {model.intercept}"
    )
    print("\n".join(check(model, trials(report), shipped_rule()((1, 1)).value)))
    if o.out:
        o.out.write_text(json.dumps(asdict(model), indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
