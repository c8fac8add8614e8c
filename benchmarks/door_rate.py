"""Does the interval that a door states for its own false match rate hold? Simulated doors, from embeddings of pictures.

    python benchmarks/door_rate.py --strangers FILE.npz … --residents FILE.npz … --out FILE.jsonl [--doors 200] [--part report]

A file holds `names` (file names) and `emb` (unit vectors, float32), and optionally `found` (faces found). strangers: UTKFace, by
the split of training/face/utkface.py; people enrolled and visitors are adults of it, of one labelled group and sex or of all.
residents: LFW; the scores of its mated pairs are those of residents who come and are missed.

A door draws its people (2 to 100), visits (50 to 2,000), the share of visits that are missed residents (0 to 10 %) and how alike
its camera makes everybody. Its threshold is that of the shipped encoder and the default configuration. With `--drawn` it is one at
which strangers match 0.2 to 20 times as often as claimed (1e-2, 1e-3 or 1e-4): more doors that break their claim.
Half of the doors miss residents on captures poorer than LFW's. A visit that reaches the threshold ends as a match, and the
door does not count it. The truth is the rate of all strangers of that kind against these enrolled people at the threshold.
`--regulars S`: a share S of the visits is one person who comes again and again. Each door is one line of the result; a second
run goes on where the first ended. Without --doors it only prints the summary.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from common import ROOT, headline, shipped_rule

from edge_oneshot.cli.common import progress
from edge_oneshot.evaluation.metrics import wilson
from edge_oneshot.matching import door
from edge_oneshot.matching.threshold import Rule
from edge_oneshot.types import Float64Array

SAME = 0.75  # pairs above it may show one person twice
JITTER = 0.05  # standard deviation of a regular's score between two visits
CLAIMS = (1e-2, 1e-3, 1e-4)


@dataclass(frozen=True, slots=True, kw_only=True)
class Population:
    """vectors: unit vectors (N, D) of strangers. kind: labelled sex and group of each. mated: scores of mated pairs."""

    vectors: Float64Array
    kind: np.ndarray
    mated: Float64Array


@dataclass(frozen=True, slots=True, kw_only=True)
class Door:
    """One simulated door and what it states. missed: share of the visits. truth: strangers' rate, from `hits` of `pairs`."""

    seed: int
    people: int
    visits: int
    kind: str
    camera: float
    missed: float
    poorer: bool
    regulars: float
    claim: float
    threshold: float
    hits: int
    pairs: int
    truth: float
    counted: int
    fmr: float | None
    low: float | None
    high: float | None
    stated_missed: float | None
    raised: float | None

    @property
    def holds(self) -> bool:
        """Whether the interval holds the truth; less than one hit in all pairs is no evidence of a lower rate."""
        assert self.low is not None and self.high is not None
        return self.low <= max(self.truth, 1 / self.pairs) and self.truth <= self.high


def simulate(seed: int, population: Population, rule: Rule, regulars: float, *, drawn: bool) -> Door:
    rng = np.random.default_rng(seed)
    people = round(math.exp(rng.uniform(math.log(2), math.log(100))))
    visits = round(math.exp(rng.uniform(math.log(50), math.log(2000))))
    kinds = ["all", *sorted(k for k in set(population.kind) if (population.kind == k).sum() >= 250)]
    kind, camera, missed = str(rng.choice(kinds)), rng.uniform(0, 0.4), rng.uniform(0, 0.1)
    poorer, claim = bool(rng.random() < 0.5), float(rng.choice(CLAIMS))
    shipped = rule([1] * people)
    assert rule.cohort is not None
    factor = math.exp(rng.uniform(math.log(0.2), math.log(20)))
    pool = np.flatnonzero((population.kind == kind) | (kind == "all"))
    # A camera moves all embeddings the same way; here, by the mean of another kind of person.
    other = population.vectors[population.kind == rng.choice(kinds[1:])].mean(axis=0)
    vectors = population.vectors[pool] + camera * other
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    order = rng.permutation(len(pool))
    gallery, strangers = vectors[order[:people]], vectors[order[people:]]
    some = min(200, len(strangers) // 2)
    others = strangers[:some] @ strangers[some:].T
    others = others[others < SAME]
    threshold = float(np.quantile(others, 1 - min(0.2, claim * factor)))
    if not drawn:
        assert shipped.rate.fmr is not None
        threshold, claim = shipped.value, shipped.rate.fmr
    scores = strangers @ gallery.T
    scores = scores[scores.max(axis=1) < SAME]  # (strangers, people)
    between = gallery @ gallery.T
    seen = scores[rng.integers(len(scores), size=visits)]
    if regulars:
        base = scores[rng.integers(len(scores))]
        again = rng.random(visits) < regulars
        seen[again] = base + rng.normal(0, JITTER, (int(again.sum()), people))
        tails = [0.5 * math.erfc((threshold - s) / JITTER / math.sqrt(2)) for s in base]
    low_mated = population.mated[population.mated < threshold]
    for visit in np.flatnonzero(rng.random(visits) < missed):
        who = rng.integers(people)
        own = rng.choice(low_mated) * (rng.uniform(0.6, 1) if poorer else 1.0)
        seen[visit] = np.minimum(between[who], SAME)
        seen[visit, who] = own
    h = door.Histogram()
    for row in seen:
        if row.max() < threshold:
            h.add(row, threshold)
    hits = int((scores >= threshold).sum())
    truth = (
        hits / scores.size if not regulars else (1 - regulars) * hits / scores.size + regulars * float(np.mean(tails))
    )
    try:
        fit = door.Fit(h, rule.cohort)
        rate, low, high = fit.fmr(threshold)
        stated, raised = fit.missed, door.wanted_raise(fit, threshold, claim)
    except ValueError:
        rate = low = high = stated = raised = None
    return Door(
        **{"seed": seed, "people": people, "visits": visits, "kind": kind, "camera": camera, "missed": missed},
        **{"poorer": poorer, "regulars": regulars, "claim": claim, "threshold": threshold, "hits": hits},
        **{"pairs": scores.size, "truth": truth, "counted": h.visits, "fmr": rate, "low": low, "high": high},
        **{"stated_missed": stated, "raised": raised},
    )


def load(strangers: list[Path], residents: list[Path], part: str) -> Population:
    sys.path.insert(0, str(ROOT / "training"))
    from training.face import utkface

    names, vectors = _read(strangers)
    labels = [utkface.labels_of(n) for n in names]
    use = [
        i
        for i, (n, who) in enumerate(zip(names, labels, strict=True))
        if who is not None
        and who.age >= 16
        and utkface.part_of(n) == part
        and utkface.digest(n) not in utkface.left_out()
    ]
    kind = np.array([f"{labels[i].sex} {labels[i].group}" for i in use])  # type: ignore[union-attr]
    resident_names, resident_vectors = _read(residents)
    people: dict[str, list[int]] = {}
    for i, name in enumerate(resident_names):
        people.setdefault(Path(name).parent.name, []).append(i)
    mated = [resident_vectors[rows[0]] @ resident_vectors[r] for rows in people.values() for r in rows[1:6]]
    return Population(vectors=vectors[use].astype(np.float64), kind=kind, mated=np.array(mated))


def _read(files: list[Path]) -> tuple[list[str], Float64Array]:
    names: list[str] = []
    vectors = []
    for file in files:
        with np.load(file) as data:
            good = data["found"] >= 1 if "found" in data else np.ones(len(data["names"]), dtype=bool)
            names += [str(n) for n in data["names"][good]]
            vectors.append(data["emb"][good])
    return names, np.concatenate(vectors)


def summary(doors: list[Door]) -> list[str]:
    """Coverage of the intervals, over all doors and by kind of door."""
    stated = [d for d in doors if d.low is not None]
    lines = [
        f"{len(doors)} doors, {len(doors) - len(stated)} with too few visits or high scores to state a rate; of the others "
        f"{sum(d.hits == 0 for d in stated)} have no false match in all pairs: there the truth is taken to be at most 1 in the pairs"
    ]

    def line(name: str, part: list[Door]) -> None:
        if not part:
            return
        holds, n = sum(d.holds for d in part), len(part)
        i = wilson(holds, n)
        wide = np.median([math.log10(d.high / d.low) for d in part if d.high and d.low])
        too_high = sum(d.low > max(d.truth, 1 / d.pairs) for d in part if d.low is not None)
        kept = [d for d in part if d.truth <= d.claim]
        broken = [d for d in part if d.truth > d.claim]
        lines.append(
            f"  {name:34} {n:4}  holds {100 * holds / n:5.1f} % ({100 * i.low:.1f} to {100 * i.high:.1f}), too high {too_high:3}, "
            f"width {wide:.1f} decades; raised: {sum(bool(d.raised) for d in kept)} of {len(kept)} doors that keep the claim, "
            f"{sum(bool(d.raised) for d in broken)} of {len(broken)} that do not"
        )

    line("all", stated)
    for low, high in ((2, 5), (6, 20), (21, 100)):
        line(f"{low} to {high} people", [d for d in stated if low <= d.people <= high])
    for low, high in ((0, 199), (200, 699), (700, 2000)):
        line(f"{low or 50} to {high} visits", [d for d in stated if low <= d.visits <= high])
    for low, high in ((0, 0.03), (0.03, 0.07), (0.07, 0.1)):
        line(f"{100 * low:g} to {100 * high:g} % missed residents", [d for d in stated if low <= d.missed < high])
    line("captures as LFW's", [d for d in stated if not d.poorer])
    line("poorer captures", [d for d in stated if d.poorer])
    for claim in CLAIMS:
        line(f"claim {claim:g}", [d for d in stated if d.claim == claim])
    return lines


def main() -> int:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--strangers", type=Path, nargs="+", default=[])
    options.add_argument("--residents", type=Path, nargs="+", default=[])
    options.add_argument("--part", default="threshold", choices=("threshold", "report"))
    options.add_argument("--doors", type=int, default=0)
    options.add_argument("--first", type=int, default=0, help="the seed of the first door")
    options.add_argument("--regulars", type=float, default=0.0)
    options.add_argument("--drawn", action="store_true", help="draw the claim and the threshold of each door")
    options.add_argument("--out", type=Path, required=True)
    o = options.parse_args()
    done = [Door(**json.loads(line)) for line in o.out.read_text().splitlines()] if o.out.exists() else []
    if o.doors:
        population, rule = load(o.strangers, o.residents, o.part), shipped_rule()
        known = {d.seed for d in done}
        wanted = [s for s in range(o.first, o.first + o.doors) if s not in known]
        with progress(len(wanted), "doors") as tick, o.out.open("a", encoding="utf-8") as out:
            for seed in wanted:
                done.append(simulate(seed, population, rule, o.regulars, drawn=o.drawn))
                out.write(
                    json.dumps(
                        {k: v if not isinstance(v, float) else float(f"{v:.6g}") for k, v in asdict(done[-1]).items()}
                    )
                    + "\n"
                )
                out.flush()
                tick(1)
    print(headline("The door's own rate (benchmarks/door_rate.py)"))
    print("\n".join(summary(done)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
