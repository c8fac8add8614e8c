"""JSON -> the model card. Strict: the error for a wrong field gives its path, the expected and the actual value."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from itertools import pairwise
from typing import Literal, TypedDict

from edge_oneshot.model.card import (
    Card,
    CohortScores,
    Comparator,
    DetectorCard,
    EncoderCard,
    InputSpec,
    LandmarkCard,
    NoRate,
    Platt,
    Tail,
    ThresholdPoint,
    Thresholds,
)
from edge_oneshot.model.fields import Fields

CARD_VERSION = 1
MOST_POINTS = 500


class _Common(TypedDict):
    """The fields of every card."""

    name: str
    version: str
    description: str
    input: InputSpec
    provenance: Mapping[str, object]
    model_digest: str


def parse_card(raw: object, where: str) -> Card:
    """Check a card. where: the file, for messages. Raises ModelError that names the field."""
    top = Fields(raw, where)
    if (version := top.whole("card", 1, 10**6)) > CARD_VERSION:
        raise top.fault("card", f"version {CARD_VERSION}, the newest that this release reads", version)
    kind = top.choice("kind", ("encoder", "detector", "landmarks"))
    common = _Common(
        name=top.text("name"),
        version=top.text("version"),
        description=top.text("description"),
        input=_parse_input(top.sub("input")),
        model_digest=top.sub("digests").text("model"),
        provenance=top.sub("provenance").data,
    )
    for key in ("source", "licence", "training_data"):
        top.sub("provenance").text(key)
    if kind == "landmarks":
        return _parse_landmarks(top, common)
    return _parse_encoder(top, common) if kind == "encoder" else _parse_detector(top, common)


def _parse_input(f: Fields) -> InputSpec:
    colour: Literal["RGB", "L"] = f.choice("colour", ("RGB", "L"))
    channels = f.whole("channels", 1, 3)
    if channels != (expected := 3 if colour == "RGB" else 1):
        raise f.fault("channels", f"{expected} for colour {colour}", channels)
    normalisation = f.sub("normalisation")
    mean, std = normalisation.numbers("mean", channels), normalisation.numbers("std", channels, low=1e-6)
    return InputSpec(
        width_px=f.whole("width_px", 8, 2048),
        height_px=f.whole("height_px", 8, 2048),
        channels=channels,
        colour=colour,
        mean=mean,
        std=std,
    )


def _parse_encoder(top: Fields, common: _Common) -> EncoderCard:
    regions: Literal["face", "frame"] = top.choice("regions", ("face", "frame"))
    dimension = top.sub("output").whole("dimension", 1, 65536)
    alignment: dict[str, tuple[float, float]] = {}
    if regions == "face":
        top.sub("alignment").choice("method", ("similarity",))
        alignment = _parse_points(top.sub("alignment").sub("points"))
    elif top.data.get("alignment") is not None:
        raise top.fault("alignment", 'null for regions "frame"', top.data["alignment"])
    comparator = _parse_comparator(top.sub("comparator"), dimension)
    if (mirror := top.flag("mirror")) and comparator.kind != "cosine":
        raise top.fault("mirror", f"false for the comparator {comparator.kind}", mirror)
    thresholds, probability = top.optional("thresholds"), top.optional("probability")
    no_rate = top.optional("no_rate")
    if no_rate is not None and comparator.kind != "cosine":
        raise top.fault("no_rate", f"no such field for the comparator {comparator.kind}", no_rate.data)
    cohort, certificate = top.data.get("cohort"), top.data.get("certificate")
    return EncoderCard(
        **common,
        kind="encoder",
        regions=regions,
        alignment=alignment,
        dimension=dimension,
        comparator=comparator,
        thresholds=None if thresholds is None else _parse_thresholds(thresholds),
        probability=None if probability is None else _parse_platt(probability),
        cohort=None if cohort is None else parse_cohort(cohort, f"{top.where} cohort"),
        no_rate=None if no_rate is None else _parse_no_rate(no_rate, dimension),
        mirror=mirror,
        certified=isinstance(certificate, dict) and bool(certificate.get("passed")),
    )


def _parse_comparator(f: Fields, dimension: int) -> Comparator:
    if f.choice("kind", ("cosine", "weighted-l1")) == "cosine":
        return Comparator(kind="cosine")
    return Comparator(kind="weighted-l1", weights=f.numbers("weights", dimension, low=0.0), bias=f.number("bias"))


def _parse_points(f: Fields) -> dict[str, tuple[float, float]]:
    points: dict[str, tuple[float, float]] = {}
    if len(f.data) > MOST_POINTS:
        raise f.fault("", f"at most {MOST_POINTS} points", f"{len(f.data)} points")
    for name in f.data:
        x, y = f.numbers(name, 2)
        points[name] = (x, y)
    if all(math.dist(p, q) < 1 for p in points.values() for q in points.values()):
        raise f.fault("", "at least two points, 1 px apart or more", points)
    return points


def _parse_landmarks(top: Fields, common: _Common) -> LandmarkCard:
    spec = common["input"]
    if spec.colour != "RGB":
        raise top.sub("input").fault("colour", "RGB, for landmarks", spec.colour)
    points, output = _parse_points(top.sub("points")), top.sub("output")
    for name, (x, y) in points.items():
        if not (0 <= x <= spec.width_px and 0 <= y <= spec.height_px):
            inside = f"a point inside the input of {spec.width_px}x{spec.height_px} px"
            raise top.sub("points").fault(name, inside, (x, y))
    # JSON objects have no order, so the order of the model's output is a list of its own.
    names = output.names("landmarks")
    if sorted(names) != sorted(points):
        raise output.fault("landmarks", f"each of the points once ({', '.join(sorted(points))})", names)
    return LandmarkCard(
        **common, kind="landmarks", points={name: points[name] for name in names}, hidden=output.flag("hidden")
    )


def _parse_detector(top: Fields, common: _Common) -> DetectorCard:
    f = top.sub("decoder")
    f.choice("kind", ("blazeface",))
    strides = tuple(int(v) for v in f.numbers("strides", low=1, high=2048))
    return DetectorCard(
        **common,
        kind="detector",
        strides=strides,
        landmarks=f.names("landmarks"),
        min_score=f.number("min_score", 0, 1),
        anchors_per_cell=tuple(int(v) for v in f.numbers("anchors_per_cell", len(strides), low=1, high=100)),
        nms_iou=f.number("nms_iou", 0, 1),
    )


def _parse_thresholds(f: Fields) -> Thresholds:
    expected = "a list of thresholds by fmr"
    entries = f.items("points", expected)
    if not entries:
        raise f.fault("points", expected, entries)
    points = [_parse_point(Fields(entry, f.where, f"{f.path}.points[{i}]")) for i, entry in enumerate(entries)]
    points.sort(key=lambda p: -p.fmr)
    if any(a.threshold > b.threshold or a.fmr == b.fmr for a, b in pairwise(points)):
        raise f.fault("points", "thresholds that rise while fmr falls", [(p.fmr, p.threshold) for p in points])
    return Thresholds(
        protocol=f.text("protocol"),
        points=tuple(points),
        measured_to_fmr=f.number("measured_to_fmr", 1e-12, 1),
        identities=f.whole("identities", 1, 10**9),
        mated_pairs=f.whole("mated_pairs", 0, 10**12),
        non_mated_pairs=f.whole("non_mated_pairs", 1, 10**12),
    )


def _parse_point(f: Fields) -> ThresholdPoint:
    ci95 = None if f.data.get("ci95") is None else f.numbers("ci95", 2)
    return ThresholdPoint(
        fmr=f.number("fmr", 1e-12, 1),
        threshold=f.number("threshold"),
        ci95=None if ci95 is None else (ci95[0], ci95[1]),
        tar=None if f.data.get("tar") is None else f.number("tar", 0, 1),
    )


def _parse_platt(f: Fields) -> Platt:
    f.choice("kind", ("platt",))
    return Platt(slope=f.number("slope", 0), intercept=f.number("intercept"), protocol=f.text("protocol"))


def _parse_no_rate(f: Fields, dimension: int) -> NoRate:
    return NoRate(
        protocol=f.text("protocol"), weights=f.numbers("weights", dimension), threshold=f.number("threshold", -1, 1)
    )


def parse_cohort(raw: object, where: str) -> CohortScores:
    """Check the cohort scores of a card, or of a file of `edge-oneshot calibrate`. Raises ModelError that names the field."""
    f = Fields(raw, where)
    found = _parse_cohort(f)
    groups = f.optional("groups")
    if groups is None:
        return found
    return replace(found, groups={name: _parse_cohort(groups.sub(name)) for name in groups.data})


def _parse_cohort(f: Fields) -> CohortScores:
    fmrs, fmr_scores = _curve(f, "fmrs", "fmr_scores", rising=False)
    fnmrs, fnmr_scores = _curve(f, "fnmrs", "fnmr_scores", rising=True)
    if not fmrs:
        raise f.fault("fmrs", "at least one rate", fmrs)
    sizes, fpirs = f.numbers("gallery_sizes", low=1), f.numbers("fpirs", low=1e-12)
    if not sizes or any(b <= a for a, b in pairwise(sizes)) or any(size != int(size) for size in sizes):
        raise f.fault("gallery_sizes", "whole numbers that rise", sizes)
    if not fpirs or fpirs[0] > 1 or any(b >= a for a, b in pairwise(fpirs)):
        raise f.fault("fpirs", "rates up to 1 that fall", fpirs)
    limits = f.numbers("measured_to_fpir", low=1e-12)
    tail = f.sub("tail")
    tail.choice("kind", ("gpd",))
    return CohortScores(
        protocol=f.text("protocol"),
        identities=f.whole("identities", 2, 10**9),
        measured_to_fmr=f.number("measured_to_fmr", 1e-12, 1),
        fmrs=fmrs,
        fmr_scores=fmr_scores,
        fnmrs=fnmrs,
        fnmr_scores=fnmr_scores,
        tail=Tail(
            from_score=tail.number("from_score"),
            rate=tail.number("rate", 1e-12, 1),
            shape=tail.number("shape", -1, 1),
            scale=tail.number("scale", 1e-9),
        ),
        gallery_sizes=tuple(int(size) for size in sizes),
        fpirs=fpirs,
        gallery_scores=_gallery_scores(f, len(sizes), fpirs, limits),
        measured_to_fpir=limits,
        template_exponent=f.number("template_exponent", 0, 1),
    )


def _curve(f: Fields, rates: str, scores: str, *, rising: bool) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Two fields of one length: rates that rise or fall, and scores that rise with them."""
    x, y = f.numbers(rates, low=1e-12), f.numbers(scores)
    if len(x) != len(y) or any(rate > 1 for rate in x):
        raise f.fault(scores, f"{len(x)} scores, one for each rate up to 1 of {rates}", y)
    if any((b <= a) == rising for a, b in pairwise(x)) or any(b < a for a, b in pairwise(y)):
        raise f.fault(scores, f"scores that rise while {rates} {'rises' if rising else 'falls'}", y)
    return x, y


def _gallery_scores(
    f: Fields, sizes: int, fpirs: tuple[float, ...], limits: tuple[float, ...]
) -> tuple[tuple[float, ...], ...]:
    """The table of scores: a row for each gallery size, which ends at that row's lowest measured FPIR."""
    expected = f"{sizes} rows, and as many measured_to_fpir"
    table = f.items("gallery_scores", expected)
    if len(table) != sizes or len(limits) != sizes:
        raise f.fault("gallery_scores", expected, table)
    rows = []
    for i, row in enumerate(table):
        scores = Fields({"row": row}, f.where, f"gallery_scores[{i}]").numbers("row")
        ends_right = 1 <= len(scores) <= len(fpirs) and limits[i] == fpirs[len(scores) - 1]
        if not ends_right or any(b < a for a, b in pairwise(scores)):
            raise f.fault(f"gallery_scores[{i}]", f"scores that rise, the last at measured_to_fpir {limits[i]:g}", row)
        rows.append(scores)
    return tuple(rows)
