"""`evaluate` and `calibrate`: the protocols on synthetic people, and all commands on real faces if they are available."""

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
from PIL import Image
from samples import ENCODER, QUALITY

from edge_oneshot import evaluation
from edge_oneshot.cli import cli
from edge_oneshot.config import QualityConfig
from edge_oneshot.errors import EdgeOneshotError
from edge_oneshot.evaluation import claims, discard, identification
from edge_oneshot.evaluation.dataset import EncodedDataset, LabelledImage, encode_images
from edge_oneshot.evaluation.gallery_rates import false_positive_rates, gallery_curves
from edge_oneshot.evaluation.metrics import Interval
from edge_oneshot.evaluation.reports import claims as claims_report
from edge_oneshot.evaluation.reports import discard as discard_report
from edge_oneshot.evaluation.reports import identification as identification_report
from edge_oneshot.evaluation.reports.charts import Axis
from edge_oneshot.evaluation.reports.html import Page, table
from edge_oneshot.evaluation.reports.numbers import interval, percent, percent_with_interval
from edge_oneshot.evaluation.results import to_json
from edge_oneshot.matching.threshold import Rule, Target, Threshold
from edge_oneshot.recognition.pipeline import Pipeline

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


def hand_made(vectors: list[list[float]], people: list[str], faults: dict[int, str] | None = None) -> EncodedDataset:
    v = np.array(vectors, dtype=np.float32)
    v /= np.linalg.norm(v, axis=1, keepdims=True)
    images = [LabelledImage(path=Path(f"{i}.jpg"), person=p, number=i) for i, p in enumerate(people)]
    return EncodedDataset(
        images=images, vectors=v, faults=faults or {}, encoder_id=ENCODER, qualities=[QUALITY] * len(people)
    )


def test_a_gallery_drawn_by_hand() -> None:
    """a and b are enrolled. The second image of a is identified, that of b matches a; c scores 0.6 and d scores 0."""
    e = hand_made(
        [[1, 0, 0], [0.9, 0.1, 0], [0, 1, 0], [0.8, 0.6, 0], [0.6, 0, 0.8], [0, 0, 1]], ["a", "a", "b", "b", "c", "d"]
    )
    trials = next(t for t in (identification.draw(e, COSINE, 2, s) for s in range(100)) if set(t.references) == {0, 2})
    assert sorted(trials.mated.image) == [1, 3] and sorted(trials.non_mated.image) == [4, 5]
    r = identification.measure(e, trials, Threshold(value=0.5, target_fmr=None, target_fpir=0.01, identities=2), 0.01)
    assert set(to_json(r)) >= KEYS and set(r.ci95) == {"fpir", "fnir"}
    assert (r.fpir, r.fnir, r.rank1, r.misidentified, r.false_positives) == (0.5, 0.5, 0.5, 1, 1)
    strict = identification.measure(e, trials, Threshold(value=0.95, target_fmr=None), 0.01)
    assert (strict.fpir, strict.fnir, strict.rank1) == (0.0, 0.5, 0.5)
    assert strict.ci95["fpir"].low == 0.0 and strict.ci95["fpir"].high > 0.3, (
        "two people without an error leave a wide interval"
    )


def test_a_failure_to_acquire_is_no_reference_and_as_a_probe_it_is_a_miss() -> None:
    e = crowd(60, 2, seed=4)
    lost = dict.fromkeys(range(0, len(e.images), 7), "no face found")
    e = replace(e, faults=lost)
    trials = identification.draw(e, COSINE, 30, 1)
    assert not set(map(int, trials.references)) & set(lost)
    missing = np.isin(trials.mated.image, list(lost))
    assert missing.any() and (trials.mated.best[missing] == -np.inf).all()
    r = identification.measure(e, trials, Threshold(value=-1.0, target_fmr=None), 0.01)
    assert r.failures_to_acquire == len(lost)
    assert r.fnir is not None and r.fnir >= missing.mean() - 1e-6
    assert r.fpir is not None and r.fpir < 1.0


def test_the_seed_decides_the_gallery_and_no_probe_is_a_reference() -> None:
    e = crowd(80, 2, seed=4)
    a, b, c = (identification.draw(e, COSINE, 20, s) for s in (1, 1, 2))
    assert (a.references == b.references).all() and set(a.references) != set(c.references)
    assert not set(a.references) & (set(a.mated.image) | set(a.non_mated.image))
    assert not set(a.mated.person) & set(a.non_mated.person)
    assert len(a.references) + len(a.mated.image) + len(a.non_mated.image) == len(e.images)
    with pytest.raises(EdgeOneshotError, match="at most 79"):
        identification.draw(e, COSINE, 80, 1)


@pytest.mark.parametrize("size", [1, 3, 20])
def test_curves_and_single_points_give_the_same_rates(size: int) -> None:
    random = np.random.default_rng(6)
    score = random.random((60, 60)).astype(np.float32)
    weight = np.bincount(random.integers(0, 60, 60), minlength=60)
    edges = np.linspace(0.0, 1.0, 11)
    whole = gallery_curves(score.copy(), weight, edges, (size,))[0][:, 7]
    at = false_positive_rates(score, weight, [(edges[7], size)])[0]
    np.testing.assert_allclose(at, whole, atol=1e-6)


def test_claims_agree_on_similar_people_and_wrong_claims_are_detected() -> None:
    e = crowd(400, 2, seed=21)
    good = claims.measure(e, COSINE, RULE)
    agreements = {(c.kind, c.identities, c.claimed): c.agreement for c in good.claims}
    assert agreements["fmr", 1, 1e-2] == agreements["fmr", 1, 1e-3] == agreements["fpir", 10, 0.1] == "within"
    assert agreements["fmr", 1, 1e-5] == "cannot tell", "400 people cannot resolve one in 100,000"
    assert all(c.ci95.low <= c.measured <= c.ci95.high for c in good.claims if c.measured)
    low = cohort()
    rows = tuple(tuple(s - 0.2 for s in row) for row in low.gallery_scores)
    low = replace(low, fmr_scores=tuple(s - 0.2 for s in low.fmr_scores), gallery_scores=rows)
    bad = claims.measure(e, COSINE, replace(RULE, cohort=low))
    assert {c.agreement for c in bad.claims if c.claimed in (1e-2, 1e-3)} == {"above"}


def test_the_error_falls_faster_by_a_useful_measure_than_at_random() -> None:
    e = crowd(150, 4, seed=13)
    random = np.random.default_rng(0)
    blur = random.random(len(e.images))
    v = e.vectors + (blur**3)[:, None] * random.normal(size=e.vectors.shape) * 0.3
    v = (v / np.linalg.norm(v, axis=1, keepdims=True)).astype(np.float32)
    qualities = [replace(QUALITY, sharpness=float(100 * (1 - b)), luma=float(random.uniform(90, 160))) for b in blur]
    e = replace(e, vectors=v, qualities=qualities)
    r = discard.measure(e, COSINE, Threshold(value=0.75, target_fmr=1e-3), QualityConfig(min_sharpness=20.0))
    first, last = ({name: curve[i].fnmr or 0.0 for name, curve in r.curves.items()} for i in (0, -1))
    assert 0 < last["sharpness"] < 0.6 * first["sharpness"]
    assert last["sharpness"] < last["luma"] and last["sharpness"] < last["random"]
    assert r.gates.refused_by["sharpness"] == sum(100 * (1 - b) < 20 for b in blur) == r.gates.refused
    assert 0 < (r.gates.fnmr_gated or 0.0) < (r.gates.fnmr_open or 0.0)
    assert "<svg" in discard_report.page(r).html()


def test_a_picture_that_could_not_be_enrolled_is_compared_but_is_in_no_cohort(
    pipeline: Pipeline, collins: Any, tmp_path: Path
) -> None:
    """Poor templates match strangers more often than good ones, and none is enrolled."""
    path = tmp_path / "far.png"
    Image.fromarray(collins).resize((230, 230)).save(path)  # 20 px between the eyes
    images = [LabelledImage(path=path, person="far", number=1)]
    found = [encode_images(images, lambda: pipeline, 1, lambda n: None, templates=t) for t in (False, True)]
    assert found[0].acquired == [0] and found[1].acquired == []
    assert "24 needed" in found[1].faults[0]


# ---- pages


def test_pages_load_nothing_and_escape_names() -> None:
    e = crowd(80, 2, seed=4)
    evil = [replace(p, person=p.person.replace("person", "<script>alert(1)</script>&")) for p in e.images]
    e = replace(e, images=evil)
    trials = identification.draw(e, COSINE, 20, 1)
    r = identification.measure(e, trials, RULE([1] * 20), 0.05)
    page = identification_report.page(r, e, trials, [r])
    for text in (page.html("values.json"), claims_report.page(claims.measure(e, COSINE, RULE)).html("values.json")):
        assert "<script" not in text and not re.search(r"src\s*=|url\(|@import", text)
        assert re.findall(r'href\s*=\s*"([^"]*)"', text) == ["values.json"]
        assert text.count("<svg") >= 1 and "</html>" in text and "nan" not in re.findall(r'points="([^"]*)"', text)[0]
    assert "&lt;script&gt;" in page.html() and "href" not in page.html()
    assert table(("a",), [("<b>",)]).count("&lt;b&gt;") == 1


def test_the_values_are_a_file_beside_the_page(tmp_path: Path) -> None:
    page = Page(title="A & B", lead=("one",), sections=())
    assert page.write(tmp_path / "a.html", {"x": 1}) == (tmp_path / "a.html", tmp_path / "a.json")
    assert json.loads((tmp_path / "a.json").read_text()) == {"x": 1}
    text = (tmp_path / "a.html").read_text()
    assert 'href="a.json"' in text and "A &amp; B" in text and "<pre" not in text
    assert "prefers-color-scheme:dark" in text and 'name="viewport"' in text
    with pytest.raises(EdgeOneshotError, match="beside it"):
        page.write(tmp_path / "a.json", {})
    with pytest.raises(EdgeOneshotError, match="cannot write"):
        page.write(tmp_path / "no folder" / "a.html", {})


@pytest.mark.parametrize(
    ("rate", "ci95", "text"),
    [
        (0.014, Interval(low=0.0072, high=0.0291), "1.4 % (95 % interval 0.7 to 2.9 %)"),
        (0.98123, Interval(low=0.9745, high=0.9871), "98.1 % (95 % interval 97.5 to 98.7 %)"),
        (0.0, Interval(low=0.0, high=0.30), "0 % (95 % interval 0 to 30 %)"),
        (1.234e-5, Interval(low=1e-5, high=2e-5), "0.0012 % (95 % interval 0.0010 to 0.0020 %)"),
        (None, Interval(low=0.0, high=1.0), "not measured"),
    ],
)
def test_a_rate_has_as_many_digits_as_its_interval(rate: float | None, ci95: Interval, text: str) -> None:
    assert percent_with_interval(rate, ci95) == text
    assert interval(ci95) in text or rate is None


@pytest.mark.parametrize(
    ("rate", "text"), [(0.0, "0 %"), (1.0, "100 %"), (0.5, "50.0 %"), (0.99962, "99.962 %"), (0.00042, "0.042 %")]
)
def test_a_rate_alone_has_two_significant_digits(rate: float, text: str) -> None:
    assert percent(rate) == text


@pytest.mark.parametrize(
    ("low", "high", "ticks"),
    [
        (-0.31, 0.87, (-0.2, 0.0, 0.2, 0.4, 0.6, 0.8)),
        (0.0, 1.0, (0.0, 0.2, 0.4, 0.6, 0.8, 1.0)),
        (0.0, 0.037, (0.0, 0.01, 0.02, 0.03)),
    ],
)
def test_linear_axes_have_round_ticks(low: float, high: float, ticks: tuple[float, ...]) -> None:
    assert Axis("x", low, high).labelled() == ticks


@pytest.mark.parametrize("kind", ["linear", "log", "deviate"])
def test_axes_run_from_end_to_end(kind: str) -> None:
    axis = Axis("x", 0.001, 0.4, kind)
    at = [axis.at(v) for v in (0.0001, 0.001, 0.01, 0.1, 0.4, 0.9)]
    assert at[0] == at[1] == 0 and at[4] == at[5] == 1 and at == sorted(at) and 0 < at[2] < at[3] < 1


def test_few_files_of_the_evaluation_build_what_the_daemon_has() -> None:
    files = sorted(Path(evaluation.__file__).parent.rglob("*.py"))
    makers = [path.name for path in files if "service.compose" in path.read_text(encoding="utf-8")]
    assert makers == ["tracks.py", "under_test.py"]  # a tracker; pipelines


# ---- real faces


def folder(lfw: Lfw, numbers: tuple[int, ...], people: int, images: int, where: Path) -> Path:
    rich = [p for n in numbers for p in lfw.sets[n] if p[1] >= images][: people // 2]
    single = [p for n in numbers for p in lfw.sets[n] if p[1] == 1][: people - len(rich)]
    for name, count in [*rich, *single]:
        (where / name).mkdir(parents=True)
        for k in range(1, min(count, images) + 1):
            (where / name / f"{name}_{k:04d}.jpg").symlink_to(lfw.picture(name, k))
    return where


def invoke(*arguments: str) -> Any:
    result = CliRunner().invoke(cli, [*arguments], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result


def test_real_faces_all_the_way(lfw: Lfw, tmp_path: Path) -> None:
    """A small run of every command: set 1 is the user's own cohort, set 5 the probes. Few people, so wide bounds."""
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
    assert "<svg" in page.read_text() and json.loads((tmp_path / "page.json").read_text()) == r
    found = invoke("calibrate", "--cohort", str(own), "--out", str(tmp_path / "own.json"), "--json").stdout
    assert json.loads(found)["identities"] >= 38
    (tmp_path / "device.toml").write_text(f'[model]\ncohort = "{tmp_path}/own.json"\n[decision]\ntarget_fpir = 0.1\n')
    mine = json.loads(
        invoke("-c", str(tmp_path / "device.toml"), "evaluate", "calibration", "--images", str(others), "--json").stdout
    )
    assert "own cohort" in mine["protocol"] and {c["agreement"] for c in mine["claims"]} <= {
        "within",
        "above",
        "below",
        "cannot tell",
    }
    assert next(c for c in mine["claims"] if c["claimed"] == 1e-5)["extrapolated"]
