"""Stage two: one-shot trials with a converted bundle, on the device's own code and runtime.

Protocols: `runs` uses the runs in the data (Lake's official ones have that form); `validation` and `report` draw runs of
the same form from the alphabets of that part.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from converters.card import Json
from edge_oneshot.matching.compare import score_all
from edge_oneshot.model.bundle import read_bundle
from edge_oneshot.model.card import Comparator, EncoderCard
from edge_oneshot.model.encoder import TwinEncoder
from training.omniglot.baselines import modified_hausdorff, nearest_pixel
from training.omniglot.data import DataError, Runs, load_drawings, load_runs
from training.omniglot.device import embed
from training.omniglot.split import alphabets
from training.omniglot.trials import draw_pairs, draw_runs, pairs_of_runs

Vectors = NDArray[np.float32]
COSINE = Comparator(kind="cosine")
FALSE_UNKNOWN = 0.05  # the share of known items that may be called unknown
PARTS = {"validation": "validate", "report": "report"}


def unit(vectors: Vectors) -> Vectors:
    """Unit length along the last axis, as cosine needs."""
    return np.asarray(vectors / np.maximum(np.linalg.norm(vectors, axis=-1, keepdims=True), 1e-6), np.float32)


def run_scores(comparator: Comparator, train: Vectors, test: Vectors) -> Vectors:
    """Scores (R, items, ways) of every test item (R, items, D) against every stored example (R, ways, D) of its run."""
    return np.stack([[score_all(comparator, train[r], probe) for probe in test[r]] for r in range(len(train))])


def interval(right: NDArray[np.bool_]) -> tuple[float, float]:
    """Wilson's 95 % interval of the share of right trials (R, items); the trials of a run are not independent.

    The number of trials is divided by Kish's design effect, the variance between runs over that of independent trials.
    """
    runs, items = right.shape
    share, n = float(right.mean()), float(right.size)
    if runs > 1 and 0 < share < 1:
        n /= max(1.0, items * float(right.mean(1).var(ddof=1)) / (share * (1 - share)))
    z = 1.96
    centre, half = share + z * z / (2 * n), z * math.sqrt(share * (1 - share) / n + z * z / (4 * n * n))
    return max(0.0, (centre - half) / (1 + z * z / n)), min(1.0, (centre + half) / (1 + z * z / n))


def open_set(scores: Vectors, answer: NDArray[np.int64], threshold: float | None) -> dict[str, float]:
    """The true class absent. Each item is tried twice: against all examples, and against all but that of its class.

    An item is *unknown* if its best score is below the threshold. `threshold` None: the one that calls
    FALSE_UNKNOWN of these items unknown while their class is stored (a point on the DET curve).
    """
    known = scores.max(2).ravel()
    absent = scores.copy()
    np.put_along_axis(absent, answer[:, :, None], -np.inf, axis=2)
    stranger = absent.max(2).ravel()
    at = float(np.quantile(known, FALSE_UNKNOWN)) if threshold is None else threshold
    return {
        "threshold": at,
        "false_unknown_rate": float((known < at).mean()),
        "correct_unknown_rate": float((stranger < at).mean()),
    }


def decided_same(card: EncoderCard, scores: NDArray[Any]) -> NDArray[np.bool_]:
    """p_same >= 1/2: by the card's probability map, else by the head's logit. Raises DataError if it has neither."""
    if card.probability is not None:
        return np.asarray(card.probability.slope * scores + card.probability.intercept >= 0)
    if card.comparator.kind != "weighted-l1":
        raise DataError(f"bundle {card.name}: expected a probability map or the comparator weighted-l1, got neither")
    return np.asarray(scores >= 0)


def float_hits(checkpoint: Path, comparator: Comparator, runs: Runs) -> NDArray[np.bool_]:
    """The same trials by the float network of a checkpoint, before conversion: right or wrong, (R, items)."""
    from training.omniglot.model import load
    from training.omniglot.train import encode  # needs torch, as nothing else in this module does

    model, _ = load(checkpoint)
    embedded = [
        encode(model.encoder, ink.reshape(-1, *ink.shape[2:])).reshape(*ink.shape[:2], -1)
        for ink in (runs.train, runs.test)
    ]
    if comparator.kind == "cosine":
        embedded = [unit(vectors) for vectors in embedded]
    return np.asarray(run_scores(comparator, embedded[0], embedded[1]).argmax(2) == runs.answer)


@dataclass(frozen=True)
class Trials:
    """Runs with their embeddings, and pairs for verification."""

    runs: Runs
    alphabets: tuple[str, ...]
    examples: Vectors  # (R, ways, D)
    items: Vectors  # (R, ways, D)
    first: Vectors  # (P, D)
    second: Vectors
    same: NDArray[np.bool_]


def given_trials(data: Path, encoder: TwinEncoder) -> Trials:
    """The runs of the data, and balanced pairs from them."""
    runs = load_runs(data)
    examples, items = embed(runs.train, encoder), embed(runs.test, encoder)
    run, left, right, same = pairs_of_runs(runs)
    return Trials(runs, (), examples, items, examples[run, left], items[run, right], same)


def drawn_trials(data: Path, encoder: TwinEncoder, part: str, runs_per_alphabet: int) -> Trials:
    """Runs and pairs drawn from the alphabets of a part."""
    drawings = load_drawings(data).only(alphabets(part))
    runs = draw_runs(drawings, runs_per_alphabet)
    sizes = [len(set(drawings.character[drawings.alphabet == i])) for i in range(len(drawings.alphabet_names))]
    names = tuple(name for name, size in zip(drawings.alphabet_names, sizes, strict=True) if size >= runs.ways)
    pairs = draw_pairs(drawings, 10_000, seed=2)
    parts = (runs.train, runs.test, drawings.ink[pairs.left], drawings.ink[pairs.right])
    examples, items, first, second = (embed(ink, encoder) for ink in parts)
    return Trials(runs, names, examples, items, first, second, pairs.same)


def accuracy(right: NDArray[np.bool_]) -> Json:
    """Share of right trials (R, items) with its interval."""
    return {"one_shot_accuracy": float(right.mean()), "ci95": list(interval(right))}


def per_alphabet(right: NDArray[np.bool_], alphabets: tuple[str, ...]) -> Json:
    """The accuracy in each alphabet; the runs come in its order, the same number for each. {} for given runs."""
    parts = np.split(right, len(alphabets)) if alphabets else []
    return {name: accuracy(part) for name, part in zip(alphabets, parts, strict=True)}


def evaluate(
    data: Path,
    bundle_path: Path,
    protocol: str,
    baselines: bool = True,
    runs_per_alphabet: int = 20,
    checkpoint: Path | None = None,
) -> Json:
    """The JSON that `evaluate --json` prints. checkpoint: also measure this float network on the same trials.

    Raises DataError and ModelError for data, bundles and checkpoints that cannot be used.
    """
    bundle = read_bundle(bundle_path)
    card = bundle.encoder
    encoder = TwinEncoder(bundle)
    if protocol == "runs":
        t = given_trials(data, encoder)
    else:
        t = drawn_trials(data, encoder, PARTS[protocol], runs_per_alphabet)
    scores = run_scores(card.comparator, t.examples, t.items)
    hits = scores.argmax(2) == t.runs.answer
    cosine = run_scores(COSINE, unit(t.examples), unit(t.items)).argmax(2) == t.runs.answer
    compared = [score_all(card.comparator, a[None], b)[0] for a, b in zip(t.first, t.second, strict=True)]
    stated = card.provenance.get("open_set_threshold")
    result: Json = {
        "protocol": protocol,
        "alphabets": list(t.alphabets),
        **accuracy(hits),
        "per_alphabet": per_alphabet(hits, t.alphabets),
        "trials": t.runs.trials,
        "ways": t.runs.ways,
        "runs": len(t.runs.train),
        "comparator": card.comparator.kind,
        "one_shot_accuracy_cosine": float(cosine.mean()),
        "verification_accuracy": float((decided_same(card, np.array(compared)) == t.same).mean()),
        "verification_pairs": len(t.same),
        "open_set": open_set(scores, t.runs.answer, None),
        "open_set_at_card_threshold": open_set(scores, t.runs.answer, float(stated))
        if isinstance(stated, int | float)
        else None,
        "encoder_id": bundle.encoder_id,
        "runtime": encoder.runtime.name,
    }
    if checkpoint is not None:
        exact = float_hits(checkpoint, card.comparator, t.runs)
        result["float"] = {**accuracy(exact), "lost": int(exact.sum() - hits.sum())}
    if baselines:
        for name, method in (("nearest_pixel", nearest_pixel), ("modified_hausdorff", modified_hausdorff)):
            result[f"baseline_{name}"] = accuracy(method(t.runs))
    return result


def table(result: Json) -> str:
    """The result as text."""
    where = f"{result['protocol']}: {', '.join(result['alphabets'])}" if result["alphabets"] else result["protocol"]
    lines = [
        f"{where}; {result['runs']} runs, {result['trials']} trials, {result['ways']}-way",
        f"  this bundle, {result['comparator']:<12} {_percent(result['one_shot_accuracy'], result['ci95'])}",
    ]
    if result["comparator"] != "cosine":
        lines.append(f"  this bundle, cosine       {result['one_shot_accuracy_cosine']:7.2%}")
    if (row := result.get("float")) is not None:
        lines.append(f"  before conversion, float  {_percent(row['one_shot_accuracy'], row['ci95'])}")
    for name in ("modified_hausdorff", "nearest_pixel"):
        if (row := result.get(f"baseline_{name}")) is not None:
            lines.append(f"  {name.replace('_', ' '):<25} {_percent(row['one_shot_accuracy'], row['ci95'])}")
    for name, row in result["per_alphabet"].items():
        lines.append(f"  {name:<25.25} {_percent(row['one_shot_accuracy'], row['ci95'])}")
    lines.append(f"verification, {result['verification_pairs']} balanced pairs: {result['verification_accuracy']:.2%}")
    for key, text in (
        ("open_set", "threshold set on these trials"),
        ("open_set_at_card_threshold", "threshold of the card"),
    ):
        if (row := result[key]) is not None:
            rates = (
                f"{row['correct_unknown_rate']:.2%} correct unknown at {row['false_unknown_rate']:.2%} false unknown"
            )
            lines.append(f"true class absent: {rates} ({text})")
    lines.append(f"encoder {result['encoder_id']} on {result['runtime']}")
    return "\n".join(lines)


def _percent(share: float, ci95: list[float]) -> str:
    return f"{share:7.2%}  (95 % interval {ci95[0]:.2%} to {ci95[1]:.2%})"
