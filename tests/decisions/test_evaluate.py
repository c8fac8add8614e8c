"""`evaluate`, `calibrate`: protocols on made-up people, and the whole path on real faces where there are some."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from decision_parts import COSINE, cohort, crowd
from pictures import Lfw
from samples import ENCODER, QUALITY

from edge_oneshot.cli import cli
from edge_oneshot.config import QualityConfig
from edge_oneshot.errors import EdgeOneshotError
from edge_oneshot.evaluation import claims as calibration
from edge_oneshot.evaluation import discard, identification
from edge_oneshot.evaluation.cohort import gallery_curves
from edge_oneshot.evaluation.dataset import Embedded, Picture
from edge_oneshot.evaluation.reports.html import Axis, table
from edge_oneshot.evaluation.reports.pages import calibration_page, identification_page, quality_page
from edge_oneshot.matching.threshold import Rule, Target, Threshold

KEYS = {
    "fpir",
    "fnir",
    "rank1",
    "gallery",
    "mated_probes",
    "non_mated_probes",
    "threshold",
    "claimed_fpir",
    "ci95",
    "failures_to_acquire",
    "encoder_id",
}
RULE = Rule(target=Target(fpir=0.05), thresholds=None, cohort=cohort())


def hand_made(vectors: list[list[float]], people: list[str], faults: dict[int, str] | None = None) -> Embedded:
    v = np.array(vectors, dtype=np.float32)
    v /= np.linalg.norm(v, axis=1, keepdims=True)
    pictures = [Picture(path=Path(f"{i}.jpg"), person=p, number=i) for i, p in enumerate(people)]
    return Embedded(
        pictures=pictures, vectors=v, faults=faults or {}, encoder_id=ENCODER, qualities=[QUALITY] * len(people)
    )


def test_a_gallery_drawn_by_hand() -> None:
    """a and b are enrolled; a's second picture is found, b's is taken for a, c scores 0.6 and d 0."""
    e = hand_made(
        [[1, 0, 0], [0.9, 0.1, 0], [0, 1, 0], [0.8, 0.6, 0], [0.6, 0, 0.8], [0, 0, 1]], ["a", "a", "b", "b", "c", "d"]
    )
    trials = next(t for t in (identification.draw(e, COSINE, 2, s) for s in range(100)) if set(t.references) == {0, 2})
    assert sorted(trials.mated_probe) == [1, 3] and sorted(trials.other_probe) == [4, 5]
    r = identification.report(e, trials, Threshold(value=0.5, target_fmr=None, target_fpir=0.01, identities=2), 0.01)
    assert set(r) >= KEYS and set(r["ci95"]) == {"fpir", "fnir"}
    assert (r["fpir"], r["fnir"], r["rank1"], r["misidentified"], r["false_positives"]) == (0.5, 0.5, 0.5, 1, 1)
    strict = identification.report(e, trials, Threshold(value=0.95, target_fmr=None), 0.01)
    assert (strict["fpir"], strict["fnir"], strict["rank1"]) == (0.0, 0.5, 0.5)
    assert strict["ci95"]["fpir"][0] == 0.0 and strict["ci95"]["fpir"][1] > 0.3, (
        "no error among two people proves little"
    )


def test_nobody_is_enrolled_from_a_picture_that_was_not_acquired_and_a_lost_probe_is_a_miss() -> None:
    e = crowd(60, 2, seed=4)
    lost = dict.fromkeys(range(0, len(e.pictures), 7), "no face found")
    e = replace(e, faults=lost)
    trials = identification.draw(e, COSINE, 30, 1)
    assert not set(map(int, trials.references)) & set(lost)
    missing = np.isin(trials.mated_probe, list(lost))
    assert missing.any() and (trials.mated_best[missing] == -np.inf).all()
    r = identification.report(e, trials, Threshold(value=-1.0, target_fmr=None), 0.01)
    assert r["failures_to_acquire"] == len(lost) and r["fnir"] >= missing.mean() - 1e-6 and r["fpir"] < 1.0


def test_the_seed_decides_who_is_enrolled_and_no_probe_is_a_reference() -> None:
    e = crowd(80, 2, seed=4)
    a, b, c = (identification.draw(e, COSINE, 20, s) for s in (1, 1, 2))
    assert (a.references == b.references).all() and set(a.references) != set(c.references)
    assert not set(a.references) & (set(a.mated_probe) | set(a.other_probe))
    assert not set(a.mated_person) & set(a.other_person)
    assert len(a.references) + len(a.mated_probe) + len(a.other_probe) == len(e.pictures)
    with pytest.raises(EdgeOneshotError, match="at most 79"):
        identification.draw(e, COSINE, 80, 1)


@pytest.mark.parametrize("size", [1, 3, 20])
def test_both_ways_of_counting_galleries_agree(size: int) -> None:
    random = np.random.default_rng(6)
    score = random.random((60, 60)).astype(np.float32)
    weight = np.bincount(random.integers(0, 60, 60), minlength=60)
    edges = np.linspace(0.0, 1.0, 11)
    whole = gallery_curves(score.copy(), weight, edges, (size,))[0][:, 7]
    at = calibration.false_positive_rates(score, weight, [(edges[7], size)])[0]
    np.testing.assert_allclose(at, whole, atol=1e-6)


def test_claims_are_kept_on_the_same_kind_of_people_and_broken_claims_are_seen() -> None:
    e = crowd(400, 2, seed=21)
    good = calibration.report(e, COSINE, RULE)
    agreements = {(c["kind"], c["identities"], c["claimed"]): c["agreement"] for c in good["claims"]}
    assert agreements["fmr", 1, 1e-2] == agreements["fmr", 1, 1e-3] == agreements["fpir", 10, 0.1] == "within"
    assert agreements["fmr", 1, 1e-5] == "cannot tell", "400 people cannot resolve one in 100,000"
    assert all(c["ci95"][0] <= c["measured"] <= c["ci95"][1] for c in good["claims"] if c["measured"])
    low = cohort()
    rows = tuple(tuple(s - 0.2 for s in row) for row in low.gallery_scores)
    low = replace(low, fmr_scores=tuple(s - 0.2 for s in low.fmr_scores), gallery_scores=rows)
    bad = calibration.report(e, COSINE, replace(RULE, cohort=low))
    assert {c["agreement"] for c in bad["claims"] if c["claimed"] in (1e-2, 1e-3)} == {"outside"}


def test_the_worst_group_comes_first() -> None:
    """Group `kin` shares a direction, as people who look alike do: more false matches within it."""
    e = crowd(120, 2, seed=8)
    people = sorted({p.person for p in e.pictures})
    kin = set(people[60:])
    v = e.vectors.copy()
    member = np.array([p.person in kin for p in e.pictures])
    v[member, 0] += 0.6
    v /= np.linalg.norm(v, axis=1, keepdims=True)
    r = calibration.report(replace(e, vectors=v), COSINE, RULE, {p: "kin" if p in kin else "rest" for p in people})
    assert [g["group"] for g in r["groups"]] == ["kin", "rest"] and r["groups"][0]["fmr"]["0.01"] > 2 * r["groups"][1][
        "fmr"
    ]["0.01"]


def test_a_measure_that_matters_falls_faster_than_chance() -> None:
    e = crowd(150, 4, seed=13)
    random = np.random.default_rng(0)
    blur = random.random(len(e.pictures))
    v = e.vectors + (blur**3)[:, None] * random.normal(size=e.vectors.shape) * 0.3
    v = (v / np.linalg.norm(v, axis=1, keepdims=True)).astype(np.float32)
    qualities = [replace(QUALITY, sharpness=float(100 * (1 - b)), luma=float(random.uniform(90, 160))) for b in blur]
    e = replace(e, vectors=v, qualities=qualities)
    r = discard.report(e, COSINE, Threshold(value=0.75, target_fmr=1e-3), QualityConfig(min_sharpness=20.0))
    last = {name: curve[-1]["fnmr"] for name, curve in r["curves"].items()}
    assert last["sharpness"] < 0.6 * r["curves"]["sharpness"][0]["fnmr"]
    assert last["sharpness"] < last["luma"] and last["sharpness"] < last["random"]
    assert r["gates"]["refused_by"]["sharpness"] == sum(100 * (1 - b) < 20 for b in blur) == r["gates"]["refused"]
    assert r["gates"]["fnmr_gated"] < r["gates"]["fnmr_open"]
    assert "<svg" in quality_page(r)


# ---- pages


def test_pages_need_nothing_else_and_escape_names() -> None:
    e = crowd(80, 2, seed=4)
    evil = [replace(p, person=p.person.replace("person", "<script>alert(1)</script>&")) for p in e.pictures]
    e = replace(e, pictures=evil)
    trials = identification.draw(e, COSINE, 20, 1)
    r = identification.report(e, trials, RULE([1] * 20), 0.05)
    claims = calibration.report(e, COSINE, RULE)
    for text in (identification_page(r, e, trials, [r]), calibration_page(claims)):
        assert "<script" not in text and not re.search(r"(?:src|href)\s*=|url\(|@import", text)
        assert text.count("<svg") >= 1 and "</html>" in text and "nan" not in re.findall(r'points="([^"]*)"', text)[0]
    assert "&lt;script&gt;" in identification_page(r, e, trials, [r])
    assert table(("a",), [("<b>",)]).count("&lt;b&gt;") == 1


@pytest.mark.parametrize("kind", ["linear", "log", "deviate"])
def test_axes_run_from_end_to_end(kind: str) -> None:
    axis = Axis("x", 0.001, 0.4, kind)
    at = [axis.at(v) for v in (0.0001, 0.001, 0.01, 0.1, 0.4, 0.9)]
    assert at[0] == at[1] == 0 and at[4] == at[5] == 1 and at == sorted(at) and 0 < at[2] < at[3] < 1


# ---- real faces


def folder(lfw: Lfw, numbers: tuple[int, ...], people: int, pictures: int, where: Path) -> Path:
    rich = [p for n in numbers for p in lfw.sets[n] if p[1] >= pictures][: people // 2]
    single = [p for n in numbers for p in lfw.sets[n] if p[1] == 1][: people - len(rich)]
    for name, count in [*rich, *single]:
        (where / name).mkdir(parents=True)
        for k in range(1, min(count, pictures) + 1):
            (where / name / f"{name}_{k:04d}.jpg").symlink_to(lfw.picture(name, k))
    return where


def invoke(*arguments: str) -> Any:
    result = CliRunner().invoke(cli, [*arguments], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result


def test_real_faces_all_the_way(lfw: Lfw, tmp_path: Path) -> None:
    """Set 1 as the user's own cohort, set 5 as people: a small run through every command. Few people: wide bounds."""
    own, others = folder(lfw, (1,), 40, 2, tmp_path / "own"), folder(lfw, (5,), 60, 2, tmp_path / "others")
    page = tmp_path / "page.html"
    r = json.loads(
        invoke(
            "evaluate",
            "identification",
            "--images",
            str(others),
            "--gallery",
            "20",
            "--seed",
            "1",
            "--target-fpir",
            "0.1",
            "--html",
            str(page),
            "--json",
        ).stdout
    )
    assert set(r) >= KEYS and r["gallery"] == 20 and r["mated_probes"] == 20 and r["claimed_fpir"] == 0.1
    assert r["rank1"] >= 0.85 and r["fnir"] <= 0.2 and r["fpir"] <= 0.4
    assert not r["threshold_extrapolated"] and not r["threshold_approximated"]
    assert "<svg" in page.read_text()
    found = invoke("calibrate", "--cohort", str(own), "--out", str(tmp_path / "own.json"), "--json").stdout
    assert json.loads(found)["identities"] >= 38
    (tmp_path / "device.toml").write_text(f'[model]\ncohort = "{tmp_path}/own.json"\n[decision]\ntarget_fpir = 0.1\n')
    mine = json.loads(
        invoke("-c", str(tmp_path / "device.toml"), "evaluate", "calibration", "--images", str(others), "--json").stdout
    )
    assert "own cohort" in mine["protocol"] and {c["agreement"] for c in mine["claims"]} <= {
        "within",
        "outside",
        "cannot tell",
    }
    assert next(c for c in mine["claims"] if c["claimed"] == 1e-5)["extrapolated"]
