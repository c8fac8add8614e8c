"""From a stated error rate to a threshold that follows the gallery."""

from __future__ import annotations

import contextlib
import io
import itertools
import json
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner
from decision_parts import cohort, fitted
from samples import random_unit, template

from edge_oneshot.cli import cli
from edge_oneshot.config import Config, DecisionConfig, DeviceConfig, ModelConfig, load_config, parse_config
from edge_oneshot.doctor import probe
from edge_oneshot.errors import ConfigError, ModelError
from edge_oneshot.matching.forecast import growth, nearest
from edge_oneshot.matching.threshold import Rule, Target, threshold_for, threshold_for_fmr
from edge_oneshot.model.bundle import read_cohort
from edge_oneshot.model.card import ThresholdPoint, Thresholds
from edge_oneshot.service.compose import build_encoder, build_people, build_pipeline, build_rule
from edge_oneshot.types import Candidate, Identity

TABLE = Thresholds(
    protocol="p",
    identities=100,
    mated_pairs=10,
    non_mated_pairs=10**6,
    measured_to_fmr=1e-5,
    points=tuple(
        ThresholdPoint(fmr=f, threshold=t, ci95=None, tar=None)
        for f, t in ((1e-1, 0.2), (1e-2, 0.3), (1e-3, 0.4), (1e-4, 0.5), (1e-5, 0.6))
    ),
)


def test_without_a_cohort_the_threshold_assumes_independent_comparisons_and_is_marked() -> None:
    found = threshold_for(Target(fpir=0.01), TABLE, None, [1] * 100)
    assert found.value == pytest.approx(threshold_for_fmr(TABLE, 1 - 0.99**0.01).value) and found.approximated
    assert not threshold_for(Target(fpir=0.01), TABLE, cohort(), [1] * 100).approximated


def test_a_target_fmr_depends_on_templates_per_person_but_not_on_the_gallery_size() -> None:
    c = cohort()
    one, hundred = (threshold_for(Target(fmr=1e-3), TABLE, c, [1] * n) for n in (1, 100))
    assert one == hundred and one.target_fmr == 1e-3 and one.target_fpir is None
    assert threshold_for(Target(fmr=1e-3), TABLE, c, [4] * 100).value > one.value


def test_a_threshold_set_by_hand_is_used_unchanged() -> None:
    found = threshold_for(Target(score=0.42), None, None, [1] * 9)
    assert found.value == 0.42 and found.target_fmr is None and found.target_fpir is None and not found.extrapolated


def test_a_target_states_exactly_one_value() -> None:
    with pytest.raises(ValueError, match="exactly one"):
        Target(fmr=0.1, fpir=0.1)
    with pytest.raises(ValueError, match="expected a table or a cohort"):
        Rule(target=Target(fmr=0.1), thresholds=None, cohort=None)


STATEMENTS = {
    "target_fmr": {"target_fmr": 1e-4},
    "target_fpir": {"target_fpir": 0.01},
    "threshold": {"threshold": 0.5},
    "false_matches_per_day": {"false_matches_per_day": 0.1, "expected_strangers_per_day": 50.0},
}


@pytest.mark.parametrize(("one", "other"), list(itertools.combinations(STATEMENTS, 2)))
def test_two_stated_targets_are_a_configuration_fault(one: str, other: str) -> None:
    parse_config({"decision": STATEMENTS[one]})
    with pytest.raises(ConfigError) as caught:
        parse_config({"decision": STATEMENTS[one] | STATEMENTS[other]})
    (fault,) = caught.value.faults
    assert one in fault and other in fault and "keep one of them" in fault


def test_false_matches_per_day_are_a_target_fpir_per_stranger() -> None:
    d = parse_config({"decision": STATEMENTS["false_matches_per_day"]}).decision
    assert d.accepted_fpir == 0.1 / 50 and d.target_fpir is None
    assert d.stated == "false_matches_per_day = 0.1 of expected_strangers_per_day = 50: target_fpir 0.002"
    assert parse_config({"decision": STATEMENTS["target_fpir"]}).decision.accepted_fpir == 0.01
    assert DecisionConfig().accepted_fpir is None
    assert [parse_config({"decision": w}).decision.stated for w in STATEMENTS.values()][:3] == [
        "target_fmr = 0.0001",
        "target_fpir = 0.01",
        "threshold = 0.5",
    ]


@pytest.mark.parametrize(
    ("decision", "needs", "says"),
    [
        ({"false_matches_per_day": 1.0}, "expected_strangers_per_day", "beside false_matches_per_day, got none"),
        ({"expected_strangers_per_day": 1.0}, "false_matches_per_day", "beside expected_strangers_per_day, got none"),
        (
            {"false_matches_per_day": 6.0, "expected_strangers_per_day": 10.0},
            "false_matches_per_day",
            "expected 1e-06 to 5, which",
        ),
        (
            {"false_matches_per_day": 1e-6, "expected_strangers_per_day": 100.0},
            "false_matches_per_day",
            "(100), got 1e-06",
        ),
        (
            {"false_matches_per_day": 0.0, "expected_strangers_per_day": 10.0},
            "false_matches_per_day",
            "expected a number from 1e-06",
        ),
        (
            {"expected_strangers_per_day": 10.0, "target_fmr": 1e-3},
            "false_matches_per_day",
            "beside expected_strangers_per_day",
        ),
    ],
)
def test_an_incomplete_statement_and_an_impossible_rate_are_faults(
    decision: dict[str, float], needs: str, says: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_config({"decision": decision})
    assert any(fault.startswith(f"decision.{needs}: ") and says in fault for fault in caught.value.faults), (
        caught.value.faults
    )


def test_the_same_rate_gives_the_same_threshold_in_every_notation() -> None:
    encoder = build_encoder(Config())
    rules = [
        build_rule(Config(decision=DecisionConfig(**keys)), encoder)
        for keys in (
            {"false_matches_per_day": 0.5, "expected_strangers_per_day": 50.0},
            {"target_fpir": 0.01},
            {"target_fpir": 0.02},
        )
    ]
    for gallery in ([], [1] * 10, [1] * 200, [3] * 200):
        per_day, rate, twice = (rule(gallery) for rule in rules)
        assert per_day == rate and per_day.target_fpir == 0.01 and per_day.value > twice.value
    assert rules[0]([1] * 200).value > rules[0]([1]).value


def test_config_show_and_doctor_show_the_statement(tmp_path: Path) -> None:
    path = tmp_path / "front.toml"
    path.write_text("[decision]\nfalse_matches_per_day = 0.2\nexpected_strangers_per_day = 100\n")
    shown = CliRunner().invoke(cli, ["--config", str(path), "config", "show"]).output
    assert "# accepted: false_matches_per_day = 0.2 of expected_strangers_per_day = 100: target_fpir 0.002" in shown
    output = io.StringIO()
    with contextlib.redirect_stdout(output):
        probe.models(load_config(path))
    lines = {line["check"]: line for line in map(json.loads, output.getvalue().splitlines())}
    assert lines["threshold"]["status"] == "ok"
    assert "decision.false_matches_per_day = 0.2 of expected_strangers_per_day = 100" in lines["threshold"]["message"]


def test_the_forecast_for_a_hundred_more_people() -> None:
    now, then = growth(Rule(target=Target(fpir=0.05), thresholds=None, cohort=cohort()), [1] * 20) or ({}, {})
    assert (now["identities"], then["identities"]) == (20, 120)
    assert now["threshold"] < then["threshold"] and now["fnir"] <= then["fnir"]
    assert now["fpir"] == pytest.approx(0.05, rel=0.05) == then["fpir"]
    fixed = growth(Rule(target=Target(fmr=1e-3), thresholds=None, cohort=cohort()), [1] * 20) or ({}, {})
    assert fixed[0]["threshold"] == fixed[1]["threshold"] and fixed[1]["fpir"] > 3 * fixed[0]["fpir"]
    assert growth(Rule(target=Target(score=0.5), thresholds=TABLE, cohort=None), [1]) is None


def test_a_similar_person_has_a_rank_in_the_cohort() -> None:
    near = nearest(cohort(), Candidate(identity_id="bob", score=cohort().fmr_scores[cohort().fmrs.index(0.01)]), 0.9)
    assert near["cohort_share"] == pytest.approx(0.99, abs=1e-3) and near["identity"] == "bob"
    assert nearest(None, Candidate(identity_id="bob", score=0.4), 0.9)["cohort_share"] is None


def write_cohort(path: Path, encoder_id: str) -> Path:
    path.write_text(json.dumps({"encoder_id": encoder_id, "cohort": fitted()}))
    return path


def test_the_threshold_of_a_pipeline_follows_its_gallery(tmp_path: Path) -> None:
    base = Config(device=DeviceConfig(state_dir=str(tmp_path)), model=ModelConfig(threads=1))
    encoder_id = build_pipeline(base).encoder.encoder_id
    file = write_cohort(tmp_path / "own.json", encoder_id)
    config = replace(base, model=ModelConfig(threads=1, cohort=str(file)), decision=DecisionConfig(target_fpir=0.05))
    pipeline = build_pipeline(config)
    people = build_people(config, pipeline)
    empty = pipeline.threshold
    assert empty.target_fpir == 0.05 and empty.identities == 0
    many = [
        (Identity(identity_id=f"p{i}", name=f"P {i}"), [template(f"p{i}", random_unit(i), encoder_id)])
        for i in range(40)
    ]
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
