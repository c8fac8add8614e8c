"""The certificate: float against int8 on labelled pictures, judged by error rates and not by cosine or size."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass

import numpy as np

from converters.card import Json
from converters.convert import Conversion
from converters.flatbuffer import parse
from converters.graph import Array
from converters.labelled import Labelled
from converters.litert import activations, embed
from converters.scores import Bootstrap, Pairs, Rates, compare_pairs, interval, rates, resamples, resolved, separation
from edge_oneshot.errors import ModelError
from edge_oneshot.model.card import Comparator

REPORT = (1e-2, 1e-3, 1e-4)
EXACT_DB = 60.0  # a better ratio counts as exact: 8 bits give about 50 dB
CAUSES = (
    "Usual causes: --mean or --std, the colour order (--colour), the places of --align, an output that is not the embedding, "
    "or labels that do not fit the pictures"
)
DECIDES = 1e-3  # the false match rate at which a loss of true matches refuses the certificate


@dataclass(frozen=True)
class Limits:
    """What int8 may cost, in points (hundredths): of TAR at FMR 1e-3, and of EER. float_eer: allowed, as a share of 1."""

    tar_points: float = 1.0
    eer_points: float = 0.5
    float_eer: float = 0.2


@dataclass(frozen=True)
class LayerNoise:
    """snr_db: power of a layer's float result over that of its int8 error. lost_db: the ratio of its best input minus it."""

    name: str
    kind: str
    snr_db: float
    lost_db: float


@dataclass(frozen=True)
class Certificate:
    """record: the JSON on the card. The rest is for the terminal and the HTML report. Scores float32 (P,)."""

    record: Json
    pairs: Pairs
    float_score: Array
    int8_score: Array
    layers: tuple[LayerNoise, ...]

    @property
    def passed(self) -> bool:
        return bool(self.record["passed"])

    @property
    def int8_loses(self) -> bool:
        """Int8 loses more than is allowed."""
        r = self.record
        lost = r["tar_loss"][_key(DECIDES)]["points"] > r["limits"]["tar_points"]
        return bool(lost or r["eer_loss"]["points"] > r["limits"]["eer_points"])


def layer_noise(conversion: Conversion, chips: Sequence[Array]) -> tuple[LayerNoise, ...]:
    """Signal-to-noise ratio of every layer over the chips, largest loss first.

    The float side is the equalised graph, whose tensors have the same scales as the int8 ones.
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


def _key(fmr: float) -> str:
    """1e-3 for 0.001: the key of a false match rate in the record."""
    return f"{fmr:.0e}".replace("e-0", "e-")


def _side(found: Rates, score: Array, pairs: Pairs) -> Json:
    def by_rate(values: Sequence[float]) -> dict[str, float]:
        return {_key(f): round(v, 5) for f, v in zip(found.fmrs, values, strict=True)}

    return {
        "eer": round(found.eer, 6),
        "tar": by_rate(found.tar),
        "balanced_tar": by_rate(found.balanced_tar),
        "threshold": by_rate(found.threshold),
        "mated_mean": round(found.mated_mean, 5),
        "non_mated_mean": round(found.non_mated_mean, 5),
        "separation": round(separation(score, pairs), 5),
    }


def _loss(points: float, draws: Array) -> Json:
    """A difference of shares and the bootstrap's interval of it, in points."""
    low, high = interval(draws)
    return {"points": round(100 * points, 3), "ci95": [round(100 * low, 3), round(100 * high, 3)]}


def _losses(before: Array, after: Array, pairs: Pairs, a: Rates, b: Rates, draws: int) -> tuple[dict[str, Json], Json]:
    """(TAR lost by false match rate, EER added). Each draw of identities counts for float and int8 alike."""
    boot_a, boot_b = Bootstrap(before, pairs), Bootstrap(after, pairs)
    tar, eer = [], []
    for draw in resamples(int(pairs.identity.max()) + 1, draws):
        _, tar_a, eer_a = boot_a.rates(draw, a.fmrs)
        _, tar_b, eer_b = boot_b.rates(draw, a.fmrs)
        tar.append(tar_a - tar_b)
        eer.append(eer_b - eer_a)
    lost = {_key(f): _loss(a.tar[i] - b.tar[i], np.array(tar)[:, i]) for i, f in enumerate(a.fmrs)}
    return lost, _loss(b.eer - a.eer, np.array(eer))


def _reasons(tar_loss: dict[str, Json], eer_loss: Json, eer: float, limits: Limits, source: Json | None) -> list[str]:
    """Why the certificate is refused; empty if it passes. eer: of the float model. source: as on the card."""
    found, at = [], _key(DECIDES)
    if source is not None and source["framework"] is None:
        found.append(str(source["reason"]))
    if eer > limits.float_eer:
        found.append(
            f"float model: EER {_percent(eer)} on these pictures, allowed {_percent(limits.float_eer)}: it does not tell "
            f"these people apart, before int8. {CAUSES}"
        )
    if tar_loss[at]["points"] > limits.tar_points:
        found.append(f"TAR at FMR {at}: int8 loses {tar_loss[at]['points']} points, allowed {limits.tar_points:g}")
    if eer_loss["points"] > limits.eer_points:
        found.append(f"EER: int8 adds {eer_loss['points']} points, allowed {limits.eer_points:g}")
    return found


def _drift(difference: Array, pairs: Pairs) -> Json:
    """How far int8 moves the scores."""
    return {
        "mated": round(float(difference[pairs.mated].mean()), 5),
        "non_mated": round(float(difference[~pairs.mated].mean()), 5),
        "rms": round(float(np.sqrt((difference.astype(np.float64) ** 2).mean())), 5),
    }


def certify(
    conversion: Conversion,
    labelled: Labelled,
    comparator: Comparator,
    limits: Limits,
    draws: int = 200,
    *,
    mirror: bool = False,
    source: Json | None = None,
) -> Certificate:
    """Compare the float reference with its int8 form on labelled chips.

    Each is judged at its own threshold for each false match rate. The intervals are of the *difference*, under the same
    resampled identities for both. mirror: as on the card. source: what the source check found (exact.py), as on the card.
    ModelError: too few comparisons.
    """
    chips, pairs = labelled.chips, labelled.pairs
    mated = int(pairs.mated.sum())
    non_mated = len(pairs.first) - mated
    if not mated or DECIDES not in resolved(non_mated, REPORT):
        raise ModelError(
            f"certificate: expected mated pairs and at least {30 / DECIDES:.0f} non-mated ones (30 errors at a false "
            f"match rate of {DECIDES:g}), got {mated} and {non_mated}",
            "give more pictures: 250 pictures of different people make 31,125 pairs",
        )
    fmrs = resolved(non_mated, REPORT)
    exact, rounded = (embed(m, chips, mirror=mirror) for m in (conversion.reference, conversion.model))
    norms = np.linalg.norm(exact, axis=1) * np.linalg.norm(rounded, axis=1)
    cosine = (exact * rounded).sum(axis=1) / np.maximum(norms, 1e-9)
    before, after = compare_pairs(exact, pairs, comparator), compare_pairs(rounded, pairs, comparator)
    a, b = rates(before, pairs, fmrs), rates(after, pairs, fmrs)
    tar_loss, eer_loss = _losses(before, after, pairs, a, b, draws)
    reasons = _reasons(tar_loss, eer_loss, a.eer, limits, source)
    record = {
        "passed": not reasons,
        "reasons": reasons,
        "protocol": labelled.protocol,
        "identities": len(np.unique(pairs.identity)),
        "pictures": len(chips),
        "mated_pairs": mated,
        "non_mated_pairs": non_mated,
        "limits": {**asdict(limits), "at_fmr": DECIDES},
        "source": source,
        "cosine": {"mean": round(float(cosine.mean()), 5), "min": round(float(cosine.min()), 5)},
        "drift": _drift(after - before, pairs),
        "float": _side(a, before, pairs),
        "int8": _side(b, after, pairs),
        "tar_loss": tar_loss,
        "eer_loss": eer_loss,
        "size_bytes": {"float": len(conversion.reference), "int8": len(conversion.model)},
    }
    return Certificate(record, pairs, before, after, layer_noise(conversion, chips[:8]))


def _rows(r: Json) -> list[tuple[str, str, str, str]]:
    """The certificate's table: label, float, int8, difference."""
    f, q = r["float"], r["int8"]
    rows = [("", "float", "int8", "difference (95 % interval)")]
    for at, loss in r["tar_loss"].items():
        low, high = (0.0 - v for v in loss["ci95"][::-1])
        difference = f"{0.0 - loss['points']:+.2f} ({low:+.2f} to {high:+.2f}) points"
        rows.append((f"TAR at FMR {at}", _percent(f["tar"][at]), _percent(q["tar"][at]), difference))
        balanced = f["balanced_tar"][at], q["balanced_tar"][at]
        rows.append(("  averaged over identities", _percent(balanced[0]), _percent(balanced[1]), ""))
    e = r["eer_loss"]
    difference = f"{e['points']:+.2f} ({e['ci95'][0]:+.2f} to {e['ci95'][1]:+.2f}) points"
    rows.append(("EER", _percent(f["eer"]), _percent(q["eer"]), difference))
    for label, key in (
        ("mean mated score", "mated_mean"),
        ("mean non-mated score", "non_mated_mean"),
        ("mated above non-mated", "separation"),
    ):
        rows.append((label, f"{f[key]:.4f}", f"{q[key]:.4f}", f"{q[key] - f[key]:+.4f}"))
    size = r["size_bytes"]
    rows.append(("size", f"{size['float'] / 1e6:.2f} MB", f"{size['int8'] / 1e6:.2f} MB", ""))
    return rows


def _percent(share: float) -> str:
    return f"{100 * share:.2f} %"


def _source_lines(source: Json | None) -> list[str]:
    if source is None or source["framework"] is None:
        return []
    return [
        f"float model against the source in {source['framework']}, {source['pictures']} pictures: relative error "
        f"{source['relative_error']:.1e} at most, cosine {source['cosine']:.6f} at least"
    ]


def as_text(certificate: Certificate, layers: int = 5) -> str:
    """The certificate as a table for the terminal."""
    r = certificate.record
    rows = _rows(r)
    widths = [max(len(row[i]) for row in rows) for i in range(3)]
    lines = [
        f"{r['identities']} identities, {r['mated_pairs']} mated and {r['non_mated_pairs']} non-mated pairs",
        *_source_lines(r["source"]),
        f"cosine between float and int8 embeddings: mean {r['cosine']['mean']:.4f}, lowest {r['cosine']['min']:.4f}",
    ]
    lines += [
        "  ".join([row[0].ljust(widths[0]), row[1].rjust(widths[1]), row[2].rjust(widths[2]), row[3]]).rstrip()
        for row in rows
    ]
    if layers:
        lines.append("layers that lose most (signal-to-noise ratio in dB, loss against their inputs):")
        lines += [f"  {n.snr_db:6.1f}  -{n.lost_db:5.1f}  {n.kind} {n.name}" for n in certificate.layers[:layers]]
    lines += ["certified"] if certificate.passed else [f"refused: {reason}" for reason in r["reasons"]]
    return "\n".join(lines)
