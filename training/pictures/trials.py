"""The two stages as measurements: verification of pairs, and the one-shot choice with *none of them* as an answer."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from converters.scores import Bootstrap, Pairs, all_pairs, rates, resamples, resolved
from edge_oneshot.evaluation.metrics import Interval, rate_over_people

WAYS = 20  # classes to choose among
RUNS = 250  # each with one stored picture and one probe of every class
FMRS = (1e-1, 1e-2, 1e-3)
DRAWS = 200  # of the bootstrap

Floats = NDArray[np.float32]
Ints = NDArray[np.int64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Choices:
    """stored, probe (R, ways): pictures. The class of probe i of run r is stored at place `answer[r, i]`."""

    stored: Ints
    probe: Ints
    answer: Ints


def draw_choices(owner: Ints, seed: int, runs: int = RUNS, ways: int = WAYS) -> Choices:
    """`runs` times `ways` classes (all of them if there are fewer), one stored picture and one other picture of each.

    owner (N,): the class of each picture. Classes with one picture are not drawn.
    """
    random = np.random.default_rng(seed)
    names, counts = np.unique(owner, return_counts=True)
    usable = names[counts > 1]
    members = {int(c): np.flatnonzero(owner == c) for c in usable}
    stored, probe, answer = [], [], []
    for _ in range(runs):
        chosen = random.choice(usable, min(ways, len(usable)), replace=False)
        two = np.array([random.choice(members[int(c)], 2, replace=False) for c in chosen])
        order = random.permutation(len(chosen))
        stored.append(two[:, 0])
        probe.append(two[order, 1])
        answer.append(order)
    return Choices(stored=np.array(stored), probe=np.array(probe), answer=np.array(answer))


def scores_of(vectors: Floats, choices: Choices) -> Floats:
    """Scores (R, probes, ways): cosine of unit vectors (N, D)."""
    return np.asarray(np.einsum("rpd,rwd->rpw", vectors[choices.probe], vectors[choices.stored]), np.float32)


def _rate(hits: NDArray[np.bool_], owner: NDArray[np.integer]) -> dict[str, object]:
    share, interval = rate_over_people(hits.ravel(), owner.ravel().astype(np.intp))
    return {"rate": round(share, 5), "ci95": _ends(interval)}


def _ends(interval: Interval) -> list[float]:
    return [round(interval.low, 5), round(interval.high, 5)]


def choice(vectors: Floats, owner: Ints, threshold: float, seed: int) -> dict[str, object]:
    """Stage two on pictures of unseen classes. Intervals: 95 %, bootstrap over the classes of the probes.

    `right`: the best score is that of the true class. With the threshold a probe may also be answered *none*; `known`:
    the true class is stored. `absent`: it is not, so *none* is right.
    """
    drawn = draw_choices(owner, seed)
    scores = scores_of(vectors, drawn)
    truth = owner[drawn.probe]
    best, right = scores.max(2), scores.argmax(2) == drawn.answer
    absent = scores.copy()
    np.put_along_axis(absent, drawn.answer[:, :, None], -np.inf, axis=2)
    return {
        "trials": int(right.size),
        "ways": int(scores.shape[2]),
        "classes": len(np.unique(truth)),
        "threshold": round(threshold, 5),
        "right": _rate(right, truth),
        "known_right": _rate(right & (best >= threshold), truth),
        "known_none": _rate(best < threshold, truth),
        "absent_none": _rate(absent.max(2) < threshold, truth),
    }


def verification(scores: Floats, pairs: Pairs, threshold: float) -> dict[str, object]:
    """Stage one on pairs. Intervals: 95 %, bootstrap over classes.

    eer, tar: at thresholds of these pairs. fmr, fnmr: at the threshold that the card states.
    """
    mated = pairs.mated
    fmrs = resolved(int((~mated).sum()), FMRS)
    found = rates(scores, pairs, fmrs)
    boot = Bootstrap(scores, pairs)
    draws = [boot.rates(d, fmrs) for d in resamples(int(pairs.identity.max()) + 1, DRAWS)]

    def ends(values: list[float]) -> list[float]:
        return [round(float(v), 5) for v in np.quantile(values, [0.025, 0.975])]

    match = scores >= threshold
    return {
        "pictures": len(pairs.identity),
        "classes": len(np.unique(pairs.identity)),
        "mated_pairs": int(mated.sum()),
        "non_mated_pairs": int((~mated).sum()),
        "eer": {"rate": round(found.eer, 5), "ci95": ends([d[2] for d in draws])},
        "tar": {
            f"{fmr:g}": {"rate": round(found.tar[i], 5), "ci95": ends([float(d[1][i]) for d in draws])}
            for i, fmr in enumerate(fmrs)
        },
        "threshold": round(threshold, 5),
        "fmr": round(float(match[~mated].mean()), 5),
        "fnmr": round(float((~match)[mated].mean()), 5),
    }


def quick(vectors: Floats, owner: Ints) -> dict[str, float]:
    """For the log during training: the share of correct one-shot choices, and the equal error rate of all pairs."""
    drawn = draw_choices(owner, seed=1, runs=60)
    right = scores_of(vectors, drawn).argmax(2) == drawn.answer
    pairs = all_pairs([str(c) for c in owner])
    scores = np.einsum("pd,pd->p", vectors[pairs.first], vectors[pairs.second])
    return {"one_shot": round(float(right.mean()), 4), "eer": round(rates(scores, pairs, ()).eer, 4)}
