"""JSON -> the model card. Strict: a wrong field is named with its path, what was expected and what was found."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Any

from edge_oneshot.errors import ModelError
from edge_oneshot.model.card import (
    Card,
    Cohort,
    Comparator,
    DetectorCard,
    EncoderCard,
    InputSpec,
    LandmarkCard,
    Platt,
    Tail,
    ThresholdPoint,
    Thresholds,
)

CARD_VERSION = 1


def _is_number(value: object) -> bool:
    """A finite number that fits a float; JSON's whole numbers may have hundreds of digits."""
    try:
        return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
    except OverflowError:
        return False


class _Reader:
    """Walks one JSON object and names the field, with its path, in every complaint."""

    def __init__(self, data: object, where: str, path: str = "") -> None:
        self.where, self.path = where, path
        if not isinstance(data, dict):
            raise self.fault("", "a JSON object", data)
        self.data = data

    def fault(self, key: str, expected: str, got: object) -> ModelError:
        field = f"{self.path}.{key}".strip(".") or "card"
        return ModelError(
            f"{self.where} {field}: expected {expected}, got {str(got)[:80]!r}",
            "convert the model again with a complete card",
        )

    def sub(self, key: str) -> _Reader:
        return _Reader(self.data.get(key), self.where, f"{self.path}.{key}".strip("."))

    def text(self, key: str, choices: tuple[str, ...] = ()) -> Any:
        value = self.data.get(key)
        if not isinstance(value, str) or not value or (choices and value not in choices):
            raise self.fault(key, f"one of {', '.join(choices)}" if choices else "text", value)
        return value

    def number(self, key: str, low: float = -math.inf, high: float = math.inf) -> float:
        value = self.data.get(key)
        if not _is_number(value) or not low <= float(value) <= high:  # type: ignore[arg-type]
            raise self.fault(key, f"a number from {low:g} to {high:g}", value)
        return float(value)  # type: ignore[arg-type]

    def whole(self, key: str, low: int, high: int) -> int:
        value = self.number(key, low, high)
        if value != int(value):
            raise self.fault(key, "a whole number", value)
        return int(value)

    def flag(self, key: str) -> bool:
        """false where it is absent."""
        value = self.data.get(key, False)
        if not isinstance(value, bool):
            raise self.fault(key, "true or false, or nothing", value)
        return value

    def names(self, key: str) -> tuple[str, ...]:
        value = self.data.get(key)
        if not isinstance(value, list) or not all(isinstance(n, str) for n in value):
            raise self.fault(key, "a list of landmark names", value)
        return tuple(value)

    def numbers(self, key: str, length: int | None = None, low: float = -math.inf) -> tuple[float, ...]:
        value = self.data.get(key)
        good = isinstance(value, list) and all(_is_number(v) and v >= low for v in value)
        if not good or (length is not None and len(value) != length):  # type: ignore[arg-type]
            raise self.fault(key, f"{length if length is not None else 'a list of'} finite numbers >= {low:g}", value)
        return tuple(float(v) for v in value)  # type: ignore[union-attr]


def parse_card(raw: object, where: str) -> Card:
    """Check a card. where: the file, for messages. Raises ModelError that names the field."""
    top = _Reader(raw, where)
    if (version := top.whole("card", 1, 10**6)) > CARD_VERSION:
        raise top.fault("card", f"version {CARD_VERSION}, the newest that this release reads", version)
    kind = top.text("kind", ("encoder", "detector", "landmarks"))
    common = {
        "kind": kind,
        "name": top.text("name"),
        "version": top.text("version"),
        "description": top.text("description"),
        "input": _parse_input(top.sub("input")),
        "model_digest": top.sub("digests").text("model"),
        "provenance": top.sub("provenance").data,
    }
    for key in ("source", "licence", "training_data"):
        top.sub("provenance").text(key)
    if kind == "landmarks":
        return _parse_landmarks(top, common)
    return _parse_encoder(top, common) if kind == "encoder" else _parse_detector(top, common)


def _parse_input(r: _Reader) -> InputSpec:
    colour = r.text("colour", ("RGB", "L"))
    channels = r.whole("channels", 1, 3)
    if channels != {"RGB": 3, "L": 1}[colour]:
        raise r.fault("channels", f"{3 if colour == 'RGB' else 1} for colour {colour}", channels)
    normalisation = r.sub("normalisation")
    mean, std = normalisation.numbers("mean", channels), normalisation.numbers("std", channels, low=1e-6)
    return InputSpec(
        width_px=r.whole("width_px", 8, 2048),
        height_px=r.whole("height_px", 8, 2048),
        channels=channels,
        colour=colour,
        mean=mean,
        std=std,
    )


def _parse_encoder(top: _Reader, common: dict[str, Any]) -> EncoderCard:
    regions = top.text("regions", ("face", "frame"))
    dimension = top.sub("output").whole("dimension", 1, 65536)
    alignment: dict[str, tuple[float, float]] = {}
    if regions == "face":
        top.sub("alignment").text("method", ("similarity",))
        alignment = _parse_points(top.sub("alignment").sub("points"))
    elif top.data.get("alignment") is not None:
        raise top.fault("alignment", 'null for regions "frame"', top.data["alignment"])
    c = top.sub("comparator")
    comparator = Comparator(kind=c.text("kind", ("cosine", "weighted-l1")))
    if comparator.kind == "weighted-l1":
        comparator = Comparator(
            kind="weighted-l1", weights=c.numbers("weights", dimension, low=0.0), bias=c.number("bias")
        )
    if (mirror := top.flag("mirror")) and comparator.kind != "cosine":
        raise top.fault("mirror", f"false for the comparator {comparator.kind}", mirror)
    return EncoderCard(
        **common,
        regions=regions,
        alignment=alignment,
        dimension=dimension,
        comparator=comparator,
        thresholds=None if top.data.get("thresholds") is None else _parse_thresholds(top.sub("thresholds")),
        probability=None if top.data.get("probability") is None else _parse_platt(top.sub("probability")),
        cohort=None if top.data.get("cohort") is None else parse_cohort(top.data["cohort"], f"{top.where} cohort"),
        mirror=mirror,
        certified=bool(isinstance(top.data.get("certificate"), dict) and top.data["certificate"].get("passed")),
    )


def _parse_points(r: _Reader) -> dict[str, tuple[float, float]]:
    points: dict[str, tuple[float, float]] = {}
    for name in r.data:
        x, y = r.numbers(name, 2)
        points[name] = (x, y)
    if all(math.dist(p, q) < 1 for p in points.values() for q in points.values()):
        raise r.fault("", "at least two points, 1 px apart or more", points)
    return points


def _parse_landmarks(top: _Reader, common: dict[str, Any]) -> LandmarkCard:
    spec: InputSpec = common["input"]
    if spec.colour != "RGB":
        raise top.sub("input").fault("colour", "RGB, for landmarks", spec.colour)
    points, output = _parse_points(top.sub("points")), top.sub("output")
    for name, (x, y) in points.items():
        if not (0 <= x <= spec.width_px and 0 <= y <= spec.height_px):
            raise top.sub("points").fault(
                name, f"a point inside the input of {spec.width_px}x{spec.height_px} px", (x, y)
            )
    # JSON objects have no order: it is told where the model's output is.
    names = output.names("landmarks")
    if sorted(names) != sorted(points):
        raise output.fault("landmarks", f"each of the points once ({', '.join(sorted(points))})", names)
    return LandmarkCard(**common, points={name: points[name] for name in names}, hidden=output.flag("hidden"))


def _parse_thresholds(r: _Reader) -> Thresholds:
    entries = r.data.get("points")
    if not isinstance(entries, list) or not entries:
        raise r.fault("points", "a list of thresholds by fmr", entries)
    points = []
    for i, entry in enumerate(entries):
        p = _Reader(entry, r.where, f"{r.path}.points[{i}]")
        ci = None if p.data.get("ci95") is None else p.numbers("ci95", 2)
        tar = None if p.data.get("tar") is None else p.number("tar", 0, 1)
        points.append(
            ThresholdPoint(
                fmr=p.number("fmr", 1e-12, 1),
                threshold=p.number("threshold"),
                ci95=None if ci is None else (ci[0], ci[1]),
                tar=tar,
            )
        )
    points.sort(key=lambda p: -p.fmr)
    if any(a.threshold > b.threshold or a.fmr == b.fmr for a, b in pairwise(points)):
        raise r.fault("points", "thresholds that rise while fmr falls", [(p.fmr, p.threshold) for p in points])
    return Thresholds(
        protocol=r.text("protocol"),
        points=tuple(points),
        measured_to_fmr=r.number("measured_to_fmr", 1e-12, 1),
        identities=r.whole("identities", 1, 10**9),
        mated_pairs=r.whole("mated_pairs", 0, 10**12),
        non_mated_pairs=r.whole("non_mated_pairs", 1, 10**12),
    )


def parse_cohort(raw: object, where: str) -> Cohort:
    """Check a cohort, of a card or of a file of its own. Raises ModelError that names the field."""
    r = _Reader(raw, where)

    def curve(rates: str, scores: str, *, rising: bool) -> tuple[tuple[float, ...], tuple[float, ...]]:
        x, y = r.numbers(rates, low=1e-12), r.numbers(scores)
        if len(x) != len(y) or any(rate > 1 for rate in x):
            raise r.fault(scores, f"{len(x)} scores, one for each rate up to 1 of {rates}", y)
        if any((b <= a) == rising for a, b in pairwise(x)) or any(b < a for a, b in pairwise(y)):
            raise r.fault(scores, f"scores that rise while {rates} {'rises' if rising else 'falls'}", y)
        return x, y

    fmrs, fmr_scores = curve("fmrs", "fmr_scores", rising=False)
    fnmrs, fnmr_scores = curve("fnmrs", "fnmr_scores", rising=True)
    sizes, fpirs, limits = (
        r.numbers("gallery_sizes", low=1),
        r.numbers("fpirs", low=1e-12),
        r.numbers("measured_to_fpir", low=1e-12),
    )
    table = r.data.get("gallery_scores")
    if not fmrs:
        raise r.fault("fmrs", "at least one rate", fmrs)
    if not sizes or any(b <= a for a, b in pairwise(sizes)) or any(size != int(size) for size in sizes):
        raise r.fault("gallery_sizes", "whole numbers that rise", sizes)
    if not fpirs or fpirs[0] > 1 or any(b >= a for a, b in pairwise(fpirs)):
        raise r.fault("fpirs", "rates up to 1 that fall", fpirs)
    if not isinstance(table, list) or len(table) != len(sizes) or len(limits) != len(sizes):
        raise r.fault("gallery_scores", f"{len(sizes)} rows, and as many measured_to_fpir", table)
    lines = []
    for i, row in enumerate(table):
        line = _Reader({"row": row}, where, f"gallery_scores[{i}]").numbers("row")
        if (
            not 1 <= len(line) <= len(fpirs)
            or any(b < a for a, b in pairwise(line))
            or limits[i] != fpirs[len(line) - 1]
        ):
            raise r.fault(f"gallery_scores[{i}]", f"scores that rise, the last at measured_to_fpir {limits[i]:g}", row)
        lines.append(line)
    t = r.sub("tail")
    t.text("kind", ("gpd",))
    return Cohort(
        protocol=r.text("protocol"),
        identities=r.whole("identities", 2, 10**9),
        measured_to_fmr=r.number("measured_to_fmr", 1e-12, 1),
        fmrs=fmrs,
        fmr_scores=fmr_scores,
        fnmrs=fnmrs,
        fnmr_scores=fnmr_scores,
        tail=Tail(
            from_score=t.number("from_score"),
            rate=t.number("rate", 1e-12, 1),
            shape=t.number("shape", -1, 1),
            scale=t.number("scale", 1e-9),
        ),
        gallery_sizes=tuple(int(size) for size in sizes),
        fpirs=fpirs,
        gallery_scores=tuple(lines),
        measured_to_fpir=limits,
        template_exponent=r.number("template_exponent", 0, 1),
    )


def _parse_platt(r: _Reader) -> Platt:
    r.text("kind", ("platt",))
    return Platt(slope=r.number("slope", 0), intercept=r.number("intercept"), protocol=r.text("protocol"))


def _parse_detector(top: _Reader, common: dict[str, Any]) -> DetectorCard:
    d = top.sub("decoder")
    d.text("kind", ("blazeface",))
    strides = tuple(int(v) for v in d.numbers("strides", low=1))
    return DetectorCard(
        **common,
        strides=strides,
        landmarks=d.names("landmarks"),
        min_score=d.number("min_score", 0, 1),
        anchors_per_cell=tuple(int(v) for v in d.numbers("anchors_per_cell", len(strides), low=1)),
        nms_iou=d.number("nms_iou", 0, 1),
    )
