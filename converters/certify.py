"""The certificate: float against int8 on labelled pictures. Sizes and cosines do not certify; decisions do."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from converters.convert import Conversion
from converters.flatbuffer import parse
from converters.graph import Array
from converters.litert import activations, embed
from converters.scores import Bootstrap, Pairs, Rates, compare_pairs, interval, rates, resamples, resolved, separation
from edge_oneshot.errors import ModelError
from edge_oneshot.model.card import Comparator

REPORT = (1e-2, 1e-3, 1e-4)
EXACT_DB = 60.0  # better than that counts as exact: 8 bits give about 50
DECIDES = 1e-3  # the false match rate at which a loss of true matches refuses the certificate


@dataclass(frozen=True)
class Limits:
    """What int8 may cost, in points (hundredths): of TAR at FMR 1e-3, and of EER."""

    tar_points: float = 1.0
    eer_points: float = 0.5


@dataclass(frozen=True)
class LayerNoise:
    """snr_db: power of a layer's float result over its int8 error. lost_db: how much less than its best input has."""

    name: str
    kind: str
    snr_db: float
    lost_db: float


@dataclass(frozen=True)
class Certificate:
    """record: the JSON that the card keeps. The rest is for the terminal and the page. Scores float32 (P,)."""

    record: dict[str, Any]
    pairs: Pairs
    float_score: Array
    int8_score: Array
    layers: tuple[LayerNoise, ...]

    @property
    def passed(self) -> bool:
        return bool(self.record["passed"])


def layer_noise(conversion: Conversion, chips: Sequence[Array]) -> tuple[LayerNoise, ...]:
    """Signal-to-noise ratio of every layer over the chips, largest loss first.

    The float side is the equalised graph: its tensors have the scales that the int8 ones have.
    """
    signal: dict[str, float] = {}
    noise: dict[str, float] = {}
    sides = zip(activations(conversion.equalised, chips), activations(conversion.model, chips), strict=True)
    for exact, rounded in sides:
        for name, value in exact.items():
            if name in rounded and rounded[name].shape == value.shape:
                signal[name] = signal.get(name, 0.0) + float((value.astype(np.float64) ** 2).sum())
                noise[name] = noise.get(name, 0.0) + float(((value - rounded[name]).astype(np.float64) ** 2).sum())
    ratio = {n: min(10 * float(np.log10(max(signal[n], 1e-12) / max(noise[n], 1e-12))), EXACT_DB) for n in signal}
    found = []
    for op in parse(conversion.model).ops:
        inputs = [ratio[t.name] for t in op.inputs if t is not None and t.data is None and t.name in ratio]
        if op.output.name in ratio and inputs:
            found.append(
                LayerNoise(op.output.name, op.kind, ratio[op.output.name], max(inputs) - ratio[op.output.name])
            )
    return tuple(sorted(found, key=lambda layer: -layer.lost_db))


def _side(found: Rates, score: Array, pairs: Pairs) -> dict[str, Any]:
    def by_rate(values: Sequence[float]) -> dict[str, float]:
        return {f"{f:.0e}".replace("e-0", "e-"): round(v, 5) for f, v in zip(found.fmrs, values, strict=True)}

    return {
        "eer": round(found.eer, 6),
        "tar": by_rate(found.tar),
        "balanced_tar": by_rate(found.balanced_tar),
        "threshold": by_rate(found.threshold),
        "mated_mean": round(found.mated_mean, 5),
        "non_mated_mean": round(found.non_mated_mean, 5),
        "separation": round(separation(score, pairs), 5),
    }


def certify(
    conversion: Conversion,
    chips: Sequence[Array],
    pairs: Pairs,
    comparator: Comparator,
    limits: Limits,
    protocol: str,
    draws: int = 200,
    *,
    mirror: bool = False,
) -> Certificate:
    """Compare the float reference with its int8 form on labelled chips (uint8, one for each picture of `pairs`).

    Both are judged at their own thresholds for each false match rate. The intervals are of the *difference*, under the
    same resampled identities for both. mirror: as on the card. ModelError: too few comparisons to judge anything.
    """
    mated = int(pairs.mated.sum())
    non_mated = len(pairs.first) - mated
    if not mated or DECIDES not in resolved(non_mated, REPORT):
        raise ModelError(
            f"certificate: expected mated pairs and at least {30 / DECIDES:.0f} non-mated ones, to judge a false match "
            f"rate of {DECIDES:g} by 30 errors; got {mated} and {non_mated}",
            "give more pictures: 250 pictures of different people make 31,125 pairs",
        )
    fmrs = resolved(non_mated, REPORT)
    exact, rounded = (embed(m, chips, mirror=mirror) for m in (conversion.reference, conversion.model))
    cosine = (exact * rounded).sum(axis=1) / np.maximum(
        np.linalg.norm(exact, axis=1) * np.linalg.norm(rounded, axis=1), 1e-9
    )
    before, after = compare_pairs(exact, pairs, comparator), compare_pairs(rounded, pairs, comparator)
    a, b = rates(before, pairs, fmrs), rates(after, pairs, fmrs)
    boot_a, boot_b = Bootstrap(before, pairs), Bootstrap(after, pairs)
    tar_loss, eer_loss = [], []
    for draw in resamples(int(pairs.identity.max()) + 1, draws):
        _, tar_a, eer_a = boot_a.rates(draw, fmrs)
        _, tar_b, eer_b = boot_b.rates(draw, fmrs)
        tar_loss.append(tar_a - tar_b)
        eer_loss.append(eer_b - eer_a)
    losses: dict[str, Any] = {}
    for i, f in enumerate(fmrs):
        low, high = interval(np.array(tar_loss)[:, i])
        losses[f"{f:.0e}".replace("e-0", "e-")] = {
            "points": round(100 * (a.tar[i] - b.tar[i]), 3),
            "ci95": [round(100 * low, 3), round(100 * high, 3)],
        }
    low, high = interval(np.array(eer_loss))
    eer: dict[str, Any] = {
        "points": round(100 * (b.eer - a.eer), 3),
        "ci95": [round(100 * low, 3), round(100 * high, 3)],
    }
    at = f"{DECIDES:.0e}".replace("e-0", "e-")
    reasons = []
    if losses[at]["points"] > limits.tar_points:
        reasons.append(f"TAR at FMR {at}: int8 loses {losses[at]['points']} points, allowed {limits.tar_points:g}")
    if eer["points"] > limits.eer_points:
        reasons.append(f"EER: int8 adds {eer['points']} points, allowed {limits.eer_points:g}")
    difference = after - before
    record = {
        "passed": not reasons,
        "reasons": reasons,
        "protocol": protocol,
        "identities": len(np.unique(pairs.identity)),
        "pictures": len(chips),
        "mated_pairs": mated,
        "non_mated_pairs": non_mated,
        "limits": {"tar_points": limits.tar_points, "eer_points": limits.eer_points, "at_fmr": DECIDES},
        "cosine": {"mean": round(float(cosine.mean()), 5), "min": round(float(cosine.min()), 5)},
        "drift": {
            "mated": round(float(difference[pairs.mated].mean()), 5),
            "non_mated": round(float(difference[~pairs.mated].mean()), 5),
            "rms": round(float(np.sqrt((difference.astype(np.float64) ** 2).mean())), 5),
        },
        "float": _side(a, before, pairs),
        "int8": _side(b, after, pairs),
        "tar_loss": losses,
        "eer_loss": eer,
        "size_bytes": {"float": len(conversion.reference), "int8": len(conversion.model)},
    }
    return Certificate(record, pairs, before, after, layer_noise(conversion, chips[:8]))


def as_text(certificate: Certificate, layers: int = 5) -> str:
    """The certificate as a table for the terminal."""
    r = certificate.record
    f, q = r["float"], r["int8"]
    rows = [("", "float", "int8", "difference (95 % interval)")]
    for at, loss in r["tar_loss"].items():
        rows.append(
            (
                f"TAR at FMR {at}",
                f"{100 * f['tar'][at]:.2f} %",
                f"{100 * q['tar'][at]:.2f} %",
                f"-{loss['points']:.2f} ({-loss['ci95'][1]:.2f} to {-loss['ci95'][0]:.2f}) points".replace("--", "+"),
            )
        )
        rows.append(
            (
                "  averaged over identities",
                f"{100 * f['balanced_tar'][at]:.2f} %",
                f"{100 * q['balanced_tar'][at]:.2f} %",
                "",
            )
        )
    e = r["eer_loss"]
    rows.append(
        (
            "EER",
            f"{100 * f['eer']:.2f} %",
            f"{100 * q['eer']:.2f} %",
            f"{e['points']:+.2f} ({e['ci95'][0]:+.2f} to {e['ci95'][1]:+.2f}) points",
        )
    )
    for label, key in (
        ("mated mean score", "mated_mean"),
        ("non-mated mean score", "non_mated_mean"),
        ("residents over strangers", "separation"),
    ):
        rows.append((label, f"{f[key]:.4f}", f"{q[key]:.4f}", f"{q[key] - f[key]:+.4f}"))
    rows.append(("size", f"{r['size_bytes']['float'] / 1e6:.2f} MB", f"{r['size_bytes']['int8'] / 1e6:.2f} MB", ""))
    widths = [max(len(row[i]) for row in rows) for i in range(3)]
    lines = [
        f"{r['identities']} identities, {r['mated_pairs']} mated and {r['non_mated_pairs']} non-mated pairs",
        f"cosine between float and int8 embeddings: mean {r['cosine']['mean']:.4f}, least {r['cosine']['min']:.4f}",
    ]
    lines += [
        "  ".join([row[0].ljust(widths[0]), row[1].rjust(widths[1]), row[2].rjust(widths[2]), row[3]]).rstrip()
        for row in rows
    ]
    lines.append("layers that lose most (signal-to-noise in dB, loss against their inputs):")
    lines += [f"  {n.snr_db:6.1f}  -{n.lost_db:5.1f}  {n.kind} {n.name}" for n in certificate.layers[:layers]]
    if certificate.passed:
        lines.append("certified")
    else:
        lines += [f"refused: {reason}" for reason in r["reasons"]]
    return "\n".join(lines)
