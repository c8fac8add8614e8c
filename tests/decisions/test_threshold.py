"""A stated rate becomes a threshold, and follows the gallery in a running pipeline."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from decision_parts import cohort, fitted
from samples import random_unit, template

from edge_oneshot.bundle import read_cohort
from edge_oneshot.card import ThresholdPoint, Thresholds
from edge_oneshot.compose import build_people, build_pipeline
from edge_oneshot.config import Config, DecisionConfig, DeviceConfig, ModelConfig, parse_config
from edge_oneshot.errors import ConfigError, ModelError
from edge_oneshot.matching.forecast import growth, nearest
from edge_oneshot.matching.threshold import Rule, Target, threshold_for, threshold_for_fmr
from edge_oneshot.types import Candidate, Identity

TABLE = Thresholds(protocol="p", identities=100, mated_pairs=10, non_mated_pairs=10**6, measured_to_fmr=1e-5, points=tuple(
    ThresholdPoint(fmr=f, threshold=t, ci95=None, tar=None) for f, t in ((1e-1, 0.2), (1e-2, 0.3), (1e-3, 0.4), (1e-4, 0.5), (1e-5, 0.6))))


def test_without_a_cohort_comparisons_are_taken_as_independent_and_it_says_so() -> None:
    found = threshold_for(Target(fpir=0.01), TABLE, None, [1] * 100)
    assert found.value == pytest.approx(threshold_for_fmr(TABLE, 1 - 0.99**0.01).value) and found.approximated
    assert not threshold_for(Target(fpir=0.01), TABLE, cohort(), [1] * 100).approximated


def test_a_rate_per_comparison_does_not_move_with_the_gallery_but_with_templates_per_person() -> None:
    c = cohort()
    one, hundred = (threshold_for(Target(fmr=1e-3), TABLE, c, [1] * n) for n in (1, 100))
    assert one == hundred and one.target_fmr == 1e-3 and one.target_fpir is None
    assert threshold_for(Target(fmr=1e-3), TABLE, c, [4] * 100).value > one.value


def test_by_hand_is_by_hand() -> None:
    found = threshold_for(Target(score=0.42), None, None, [1] * 9)
    assert found.value == 0.42 and found.target_fmr is None and found.target_fpir is None and not found.extrapolated


def test_a_target_is_one_statement() -> None:
    with pytest.raises(ValueError, match="exactly one"):
        Target(fmr=0.1, fpir=0.1)
    with pytest.raises(ValueError, match="expected a table or a cohort"):
        Rule(target=Target(fmr=0.1), thresholds=None, cohort=None)


@pytest.mark.parametrize("other", ["target_fmr = 0.0001", "threshold = 0.5"])
def test_two_statements_are_a_fault_of_the_file(other: str) -> None:
    import tomllib

    assert parse_config(tomllib.loads("[decision]\ntarget_fpir = 0.01")).decision.target_fpir == 0.01
    with pytest.raises(ConfigError) as caught:
        parse_config(tomllib.loads(f"[decision]\ntarget_fpir = 0.01\n{other}"))
    assert "decision.target_fpir" in caught.value.faults[0] and other.split()[0] in caught.value.faults[0]


def test_what_the_next_hundred_people_cost() -> None:
    now, then = growth(Rule(target=Target(fpir=0.05), thresholds=None, cohort=cohort()), [1] * 20) or ({}, {})
    assert (now["identities"], then["identities"]) == (20, 120)
    assert now["threshold"] < then["threshold"] and now["fnir"] <= then["fnir"]
    assert now["fpir"] == pytest.approx(0.05, rel=0.05) == then["fpir"]
    fixed = growth(Rule(target=Target(fmr=1e-3), thresholds=None, cohort=cohort()), [1] * 20) or ({}, {})
    assert fixed[0]["threshold"] == fixed[1]["threshold"] and fixed[1]["fpir"] > 3 * fixed[0]["fpir"]
    assert growth(Rule(target=Target(score=0.5), thresholds=TABLE, cohort=None), [1]) is None


def test_how_unusual_a_look_alike_is() -> None:
    near = nearest(cohort(), Candidate(identity_id="bob", score=cohort().fmr_scores[cohort().fmrs.index(0.01)]), 0.9)
    assert near["cohort_share"] == pytest.approx(0.99, abs=1e-3) and near["identity"] == "bob"
    assert nearest(None, Candidate(identity_id="bob", score=0.4), 0.9)["cohort_share"] is None


def write_cohort(path: Path, encoder_id: str) -> Path:
    path.write_text(json.dumps({"encoder_id": encoder_id, "cohort": fitted()}))
    return path


def test_a_running_pipeline_follows_its_gallery(tmp_path: Path) -> None:
    base = Config(device=DeviceConfig(state_dir=str(tmp_path)), model=ModelConfig(threads=1))
    encoder_id = build_pipeline(base).encoder.encoder_id
    file = write_cohort(tmp_path / "own.json", encoder_id)
    config = replace(base, model=ModelConfig(threads=1, cohort=str(file)), decision=DecisionConfig(target_fpir=0.05))
    pipeline = build_pipeline(config)
    people = build_people(config, pipeline)
    empty = pipeline.threshold
    assert empty.target_fpir == 0.05 and empty.identities == 0
    many = [(Identity(identity_id=f"p{i}", name=f"P {i}"), [template(f"p{i}", random_unit(i), encoder_id)]) for i in range(40)]
    people.gallery.add_all(many, replace=False)
    people.refresh(force=True)
    assert pipeline.threshold.identities == 40 and pipeline.threshold.value > empty.value
    assert pipeline.threshold == threshold_for(Target(fpir=0.05), None, cohort(), [1] * 40)
    people.gallery.close()


def test_a_cohort_of_another_encoder_is_refused(tmp_path: Path) -> None:
    other = write_cohort(tmp_path / "other.json", "sha256:" + "cc" * 32)
    with pytest.raises(ModelError, match="another encoder"):
        read_cohort(other, "sha256:" + "dd" * 32)
    (tmp_path / "bad.json").write_text("{")
    with pytest.raises(ModelError, match="cannot read"):
        read_cohort(tmp_path / "bad.json", "sha256:x")
