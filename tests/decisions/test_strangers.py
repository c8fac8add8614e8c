"""Rates by who the strangers are: labels, cohorts with groups, the group that decides, and the counts of the reports."""

from __future__ import annotations

import contextlib
import io
import itertools
import json
import os
import tarfile
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from decision_parts import COSINE, cohort, crowd, fitted
from test_cohort import EDGES, by_enumeration

from converters.thresholds import measure
from edge_oneshot.cli import cli
from edge_oneshot.config import Config, DecisionConfig, load_config, parse_config
from edge_oneshot.doctor import probe
from edge_oneshot.errors import ConfigError, ModelError
from edge_oneshot.evaluation import claims, strangers
from edge_oneshot.evaluation.cohort_fit import Sources, fit
from edge_oneshot.evaluation.cohort_scores import EncodedCohort
from edge_oneshot.evaluation.dataset import EncodedDataset
from edge_oneshot.evaluation.gallery_rates import gallery_curves
from edge_oneshot.evaluation.labels import EVERY_GROUP, Label, Labels
from edge_oneshot.evaluation.metrics import Interval
from edge_oneshot.evaluation.reports import claims as claims_report
from edge_oneshot.evaluation.strangers import Population
from edge_oneshot.matching import cohort as rates
from edge_oneshot.matching.forecast import growth
from edge_oneshot.matching.threshold import MIN_GROUP, Rule, Target, threshold_for
from edge_oneshot.model.card import CohortScores
from edge_oneshot.model.card_reader import parse_cohort
from edge_oneshot.recognition.pipeline import Pipeline
from edge_oneshot.recognition.recognizer import Recognizer

ALL = frozenset({"sex", "age", "group", "camera"})

# ---- people of groups


def people_of(sizes: dict[str, int], seed: int, images: int = 1, kin: float = 0.7) -> tuple[EncodedDataset, Labels]:
    """Adults of groups, half of them of each sex. People of the group `kin` share a direction: they are more alike."""
    e = crowd(sum(sizes.values()), images, seed)
    names = sorted({p.person for p in e.images})
    groups = [g for g, size in sizes.items() for _ in range(size)]
    of = {
        name: Label(sex=("female", "male")[i % 2], age=20 + i % 50, group=group)
        for i, (name, group) in enumerate(zip(names, groups, strict=True))
    }
    v = e.vectors.copy()
    v[[of[p.person].group == "kin" for p in e.images], 0] += kin
    v /= np.linalg.norm(v, axis=1, keepdims=True)
    return replace(e, vectors=v), Labels(columns=frozenset({"sex", "age", "group"}), people=of)


@cache
def grouped() -> dict[str, Any]:
    """A cohort of the card: everybody from one set of people, two groups from another, of 240 and 210 people."""
    labelled, labels = people_of({"rest": 240, "kin": 210}, seed=31)
    everybody = crowd(300, 2, seed=32)
    return fit(Sources(everybody=everybody, labelled=labelled, labels=labels), COSINE, "groups", rounds=2)


def with_groups() -> CohortScores:
    return parse_cohort(grouped(), "the test")


def rule(target: Target, c: CohortScores, strangers: Any = "matched") -> Rule:
    return Rule(target=target, thresholds=None, cohort=c, strangers=strangers)


def test_a_group_holds_pairs_of_one_sex_within_the_group_only() -> None:
    """The rates of a fitted group equal a count over all its pairs of one sex."""
    labelled, labels = people_of({"rest": 240, "kin": 210}, seed=31)
    c = with_groups()
    assert list(c.groups) == [EVERY_GROUP, "kin", "rest"]
    assert [c.groups[name].identities for name in c.groups] == [450, 210, 240]
    for name in ("kin", "rest"):
        rows = [i for i, p in enumerate(labelled.images) if labels.people[p.person].group == name]
        sexes = [labels.people[labelled.images[i].person].sex for i in rows]
        owners = [labelled.images[i].person for i in rows]
        score = labelled.vectors[rows] @ labelled.vectors[rows].T
        per_pair: dict[tuple[str, str], list[float]] = {}
        for i, j in itertools.combinations(range(len(rows)), 2):
            if owners[i] != owners[j] and sexes[i] == sexes[j]:
                per_pair.setdefault((owners[i], owners[j]), []).append(float(score[i, j]))
        for fmr in (0.1, 0.01):
            at = rates.score_at_fmr(c.groups[name], fmr)[0]
            counted = float(np.mean([np.mean(np.array(s) >= at) for s in per_pair.values()]))
            assert counted == pytest.approx(fmr, rel=0.05), (name, fmr)


def test_the_tail_counts_matched_pairs_only() -> None:
    e = crowd(60, 2, seed=3)
    keys = {p.person: int(p.person[-1]) % 2 for p in e.images}
    c, edges = EncodedCohort(e, COSINE, matched=keys), np.linspace(-1.001, 1.001, 2003)
    _, weights, a, b = c.exceedances(float(edges[1200]))
    assert c.pairs == 2 * 30 * 29 // 2 and (c.cell[a] == c.cell[b]).all() and len(a)
    assert float(weights.sum()) == pytest.approx(float(c.pair_counts(edges)[1200:].sum()), rel=1e-6)


def test_galleries_of_matched_strangers_equal_the_enumeration_within_each_key() -> None:
    random = np.random.default_rng(4)
    score, cell = random.random((9, 9)).astype(np.float32), np.array([0, 1, 0, 1, 0, 1, 0, 1, 0])
    masked = np.where(cell[:, None] == cell, score, np.float32(-np.inf))
    ones = np.ones(9, dtype=np.intp)
    others = np.bincount(cell)[cell] - 1
    for size in (1, 2):
        found = gallery_curves(masked.copy(), ones, EDGES, (size,), others)[0]
        for b in (3, 5, 8):
            for key in (0, 1):
                at = np.flatnonzero(cell == key)
                alone = by_enumeration(score[np.ix_(at, at)], [1] * len(at), size, EDGES[b])
                np.testing.assert_allclose(found[at, b], alone, atol=1e-6)


def test_a_gallery_of_one_matched_stranger_is_one_comparison() -> None:
    for group in with_groups().groups.values():
        for rate in (0.1, 0.01):
            assert rates.score_at_fpir(group, rate, 1)[0] == pytest.approx(rates.score_at_fmr(group, rate)[0], abs=0.01)


def test_people_with_few_matched_people_are_left_out() -> None:
    e = crowd(60, 1, seed=3)
    names = sorted({p.person for p in e.images})
    keys = {name: "many" if i < 41 else "few" for i, name in enumerate(names)}
    assert EncodedCohort(e, COSINE, matched=keys).count == 41, "19 people are too few for a key"


def test_children_are_not_part_of_a_cohort() -> None:
    e, labels = people_of({"rest": 60}, seed=5)
    children = set(sorted(labels.people)[:25])
    labels = replace(labels, people={n: replace(p, age=9) if n in children else p for n, p in labels.people.items()})
    found = fit(Sources(everybody=e, labels=labels), COSINE, "p", rounds=2)
    assert found["identities"] == 35 and "rest" not in found["groups"], "neither sex has 20 adults left"


def test_mated_rates_come_from_the_people_with_several_images() -> None:
    single = crowd(40, 1, seed=6)
    single = replace(single, images=[replace(p, person=f"{p.person}-{p.number}") for p in single.images])
    found = fit(Sources(everybody=single, mated=crowd(60, 3, seed=7)), COSINE, "p", rounds=2)
    alone = fit(crowd(60, 3, seed=7), COSINE, "p", rounds=2)
    assert fit(single, COSINE, "p", rounds=2)["fnmrs"] == [] and found["identities"] == len(single.images)
    assert found["fnmr_scores"] == alone["fnmr_scores"] and found["mated_identities"] == 60


# ---- the group that decides


@pytest.mark.parametrize("target", [Target(fmr=1e-2), Target(fmr=1e-3), Target(fpir=0.05)], ids=str)
@pytest.mark.parametrize("templates", [[], [1] * 40, [3] * 40], ids=["empty", "one each", "three each"])
def test_the_worst_group_decides_for_both_kinds_of_rate(target: Target, templates: list[int]) -> None:
    c = with_groups()
    found = rule(target, c)(templates)
    alone = threshold_for(target, None, c.groups["kin"], templates)
    assert found.rate.against == "matched" and found.rate.group == "kin"
    assert (found.value, found.extrapolated, found.identities) == (alone.value, alone.extrapolated, alone.identities)
    assert (found.rate.fmr, found.rate.fpir) == (target.fmr, target.fpir)
    assert found.value > rule(target, c, "everybody")(templates).value + 0.05
    for group in c.groups.values():
        assert found.value >= threshold_for(target, None, group, templates).value
    claimed = target.fmr or 0.05 / max(1, len(templates))
    assert found.rate.everybody_fmr is not None and 0 < found.rate.everybody_fmr < claimed


def test_a_group_of_199_people_does_not_decide() -> None:
    c = with_groups()

    def sized(people: int) -> CohortScores:
        return replace(c, groups={**c.groups, "kin": replace(c.groups["kin"], identities=people)})

    target = Target(fmr=1e-3)
    assert MIN_GROUP == 200
    assert rule(target, sized(200))([1]).rate.group == "kin"
    smaller = rule(target, sized(199))([1])
    assert smaller.rate.group != "kin" and smaller.rate.against == "matched"
    assert smaller.value < rule(target, sized(200))([1]).value


def test_without_groups_the_rate_is_against_everybody_and_the_rule_says_so() -> None:
    old, new = cohort(), with_groups()
    assert old.groups == {} and rule(Target(fmr=1e-3), old).falls_back
    small = replace(new, groups={n: replace(g, identities=199) for n, g in new.groups.items()})
    for c in (old, small):
        found = rule(Target(fmr=1e-3), c)([1])
        assert found.rate.against == "everybody" and found.rate.group is None
        assert found.value == rates.score_at_fmr(c, 1e-3)[0]
        assert found.rate.everybody_fmr == pytest.approx(1e-3, rel=0.02)
    assert not rule(Target(fmr=1e-3), new).falls_back and not rule(Target(fmr=1e-3), old, "everybody").falls_back
    assert not rule(Target(score=0.5), old).falls_back, "a threshold set by hand states no rate"


def test_a_threshold_set_by_hand_states_no_rate_but_what_everybody_matches() -> None:
    c = with_groups()
    found = rule(Target(score=0.5), c)([1]).rate
    assert (found.against, found.group, found.fmr, found.fpir) == ("everybody", None, None, None)
    assert found.everybody_fmr == pytest.approx(rates.fmr_at(c, 0.5), rel=0.01)
    assert rule(Target(score=0.5), c)([3]).rate.everybody_fmr > found.everybody_fmr  # type: ignore[operator]


def test_the_rate_against_everybody_is_not_below_what_the_cohort_resolves() -> None:
    c = with_groups()
    assert rates.fmr_at(c, 0.99) < c.measured_to_fmr / 10
    assert rule(Target(score=0.99), c)([1]).rate.everybody_fmr == pytest.approx(c.measured_to_fmr, rel=0.01)
    assert rule(Target(fmr=1e-6), c, "everybody")([1]).rate.everybody_fmr == 1e-6


def test_the_forecast_gives_both_figures() -> None:
    c = with_groups()
    state = (growth(rule(Target(fpir=0.05), c), [1] * 20) or [])[0]
    assert state["fpir"] == pytest.approx(0.05, rel=0.02) and state["everybody_fpir"] < 0.02
    alone = (growth(rule(Target(fpir=0.05), c, "everybody"), [1] * 20) or [])[0]
    assert alone["fpir"] == alone["everybody_fpir"] == pytest.approx(0.05, rel=0.02)


def test_the_configuration_names_the_strangers() -> None:
    assert DecisionConfig().strangers == "matched"
    assert parse_config({"decision": {"strangers": "everybody"}}).decision.strangers == "everybody"
    with pytest.raises(ConfigError) as caught:
        parse_config({"decision": {"strangers": "nobody"}})
    assert "one of matched, everybody" in str(caught.value.faults[0])


def test_a_wrong_field_of_a_group_is_named() -> None:
    raw = {**grouped(), "groups": {**grouped()["groups"], "kin": {**fitted(), "identities": 1}}}
    with pytest.raises(ModelError) as caught:
        parse_cohort(raw, "x.json")
    assert "x.json groups.kin.identities" in caught.value.message
    with pytest.raises(ModelError, match=r"groups: expected a JSON object"):
        parse_cohort({**grouped(), "groups": ["kin"]}, "x.json")


# ---- what the reports count


def by_brute_force(e: EncodedDataset, keys: dict[str, Any], threshold: float) -> tuple[int, float]:
    """(pairs of people, false matches): every pair of people with one key, with the share of its images that match."""
    images: dict[str, list[int]] = {}
    for i, image in enumerate(e.images):
        images.setdefault(image.person, []).append(i)
    pairs, hits = 0, 0.0
    for a, b in itertools.combinations(sorted(images), 2):
        if a in keys and b in keys and keys[a] == keys[b]:
            pairs += 1
            hits += float(np.mean([e.vectors[i] @ e.vectors[j] >= threshold for i in images[a] for j in images[b]]))
    return pairs, hits


def test_the_counts_of_every_population_equal_a_count_by_brute_force() -> None:
    e, labels = people_of({"rest": 50, "kin": 44}, seed=41, images=2)
    names = sorted(labels.people)
    ages = {n: 12 if i % 4 == 3 else 30 for i, n in enumerate(names)}
    of = {n: replace(p, age=ages[n], camera="ab"[i % 3 == 0]) for i, (n, p) in enumerate(sorted(labels.people.items()))}
    labels = Labels(columns=ALL, people=of)
    r = strangers.measure(e, COSINE, rule(Target(fmr=0.05), cohort()), labels)
    adults = {n: p for n, p in of.items() if p.age == 30}
    expected: dict[tuple[str, str], dict[str, Any]] = {
        ("everybody", "everybody"): dict.fromkeys(of, 0),
        ("everybody", "16 years and over"): dict.fromkeys(adults, 0),
        ("sex", "same sex"): {n: p.sex for n, p in of.items()},
        ("age", "16 years and over, same sex"): {n: p.sex for n, p in adults.items()},
        ("age", "9-15 years, same sex"): {n: p.sex for n, p in of.items() if p.age == 12},
        ("group", "kin"): {n: p.sex for n, p in adults.items() if p.group == "kin"},
        ("group", "rest"): {n: p.sex for n, p in adults.items() if p.group == "rest"},
        ("camera", "a"): {n: p.sex for n, p in adults.items() if p.camera == "a"},
        ("camera", "b"): {n: p.sex for n, p in adults.items() if p.camera == "b"},
    }
    assert [(p.kind, p.name) for p in r.populations] == list(expected), "the worst group first"
    for population in r.populations:
        keys = expected[population.kind, population.name]
        assert population.people == len(keys)
        assert [o.claimed for o in population.rates] == [0.05, 1e-2, 1e-3, 1e-4]
        for o in population.rates:
            pairs, hits = by_brute_force(e, keys, o.threshold)
            assert population.pairs == pairs and o.observed == pytest.approx(hits, abs=1e-3), (population.name, o)
            assert o.expected == pytest.approx(o.claimed * pairs, abs=0.006) and o.enough == (o.claimed * pairs >= 30)
            assert o.fmr == pytest.approx(hits / pairs, rel=0.01)
            assert o.ci95.low <= o.fmr <= o.ci95.high and o.ci95.high > o.ci95.low


def test_the_interval_is_wider_than_that_of_independent_pairs() -> None:
    """One person who resembles everybody makes many of the false matches, so the pairs are not independent trials."""
    e, labels = people_of({"rest": 100}, seed=43)
    v = e.vectors.copy()
    v[[p.person.endswith("0007") for p in e.images]] = v.mean(axis=0) / np.linalg.norm(v.mean(axis=0))
    (whole, *_) = strangers.measure(replace(e, vectors=v), COSINE, rule(Target(fmr=0.05), cohort()), labels).populations
    o = whole.rates[1]
    binomial = 2 * 1.96 * np.sqrt(o.fmr * (1 - o.fmr) / whole.pairs)
    assert o.ci95.high - o.ci95.low > 1.5 * binomial


def test_groups_are_compared_by_the_worst_to_the_best_and_to_the_geometric_mean() -> None:
    def group(name: str, fmr: float, *, enough: bool = True) -> Population:
        o = strangers.Observed(
            claimed=0.01,
            threshold=0.5,
            expected=50.0,
            observed=1.0,
            fmr=fmr,
            ci95=Interval(low=0.0, high=1.0),
            enough=enough,
        )
        return Population(kind="group", name=name, people=100, pairs=5000, rates=(o,))

    groups = [group("a", 0.08), group("b", 0.01), group("c", 0.01), group("few", 0.5, enough=False)]
    d = strangers._differential(0.01, groups)
    assert (d.groups, d.worst, d.worst_to_best) == (3, "a", 8.0)
    assert d.worst_to_geometric_mean == pytest.approx(0.08 / (0.08 * 0.01 * 0.01) ** (1 / 3), rel=0.01)
    assert strangers._differential(0.01, groups[:1]).worst_to_best is None
    assert strangers._differential(0.01, [*groups, group("none", 0.0)]).worst_to_best is None


def test_a_claim_against_matched_strangers_is_kept_by_people_outside_the_cohort() -> None:
    e, labels = people_of({"rest": 240, "kin": 230}, seed=51)
    r = claims.measure(e, COSINE, rule(Target(fmr=1e-2), with_groups()), labels)
    assert r.strangers is not None and r.strangers.against == "matched strangers, kin"
    worst = next(p for p in r.strangers.populations if p.kind == "group")
    (at,) = (o for o in worst.rates if o.claimed == 1e-2)
    assert worst.name == "kin" and at.enough and 0.005 <= at.fmr <= 0.02
    assert next(c for c in r.claims if c.claimed == 1e-2).agreement == "below", "everybody matches less often"
    assert next(c for c in r.claims if c.claimed == 1e-2).group == "kin"
    text = "\n".join(claims_report.lines(r))
    assert "claimed against matched strangers, kin" in text and "group kin: 230 people" in text
    assert "too few to tell" in text and "worst group at claimed 1 %: kin to rest" in text
    page = claims_report.page(r).html()
    assert page.count('<svg class="chart"') == 2 and "group kin" in page and "worst / geometric mean" in page
    against_everybody = claims.measure(e, COSINE, rule(Target(fmr=1e-2), with_groups(), "everybody"), labels).strangers
    assert against_everybody is not None and against_everybody.against == "everybody"
    worst = next(p for p in against_everybody.populations if p.kind == "group")
    assert worst.name == "kin" and worst.rates[0].fmr > 0.03, "which a claim against everybody does not cover"


# ---- from the cohort to people


def test_gallery_check_status_and_events_give_the_rate_of_the_group_that_decides(
    tmp_path: Path, pipeline: Pipeline, collins: Any
) -> None:
    """A user's own cohort with groups, in a configuration, as the commands and the recognizer use it."""
    own = tmp_path / "own.json"
    own.write_text(json.dumps({"encoder_id": pipeline.encoder.encoder_id, "cohort": grouped()}))
    config = tmp_path / "door.toml"
    config.write_text(f'[device]\nstate_dir = "{tmp_path}"\n[model]\ncohort = "{own}"\n[decision]\ntarget_fmr = 0.01\n')
    loaded = load_config(config)
    with Recognizer.open(loaded) as recognizer:
        threshold = recognizer.threshold
        (seen,) = recognizer.identify(collins)
    assert threshold.rate.group == "kin" and seen.decision.rate == threshold.rate
    checked = invoke("--config", str(config), "gallery", "check", "--json")
    assert json.loads(checked)["rate"] == threshold.rate.message()
    text = invoke("--config", str(config), "gallery", "check")
    assert (
        "stated: FMR 1 % against matched strangers (adults of the same sex; worst group: kin); against everybody"
        in text
    )
    said = io.StringIO()
    with contextlib.redirect_stdout(said):
        probe.models(loaded)
    found = {line["check"]: line["message"] for line in map(json.loads, said.getvalue().splitlines())}
    assert "worst group: kin" in found["strangers"]
    own.write_text(json.dumps({"encoder_id": pipeline.encoder.encoder_id, "cohort": fitted()}))
    said = io.StringIO()
    with contextlib.redirect_stdout(said):
        probe.models(loaded)
    assert "no group of 200 people" in said.getvalue()


def test_the_converter_writes_the_groups_from_people_of_another_source() -> None:
    labelled, labels = people_of({"rest": 60, "kin": 60}, seed=61)
    several = crowd(60, 3, seed=62)
    raw = measure(several, COSINE, "p", matched=labelled, labels=labels)
    c = parse_cohort(raw["cohort"], "x")
    assert c.identities == 60 and {n: g.identities for n, g in c.groups.items()} == {
        EVERY_GROUP: 120,
        "kin": 60,
        "rest": 60,
    }
    assert all(g.fnmr_scores == c.fnmr_scores and g.template_exponent == c.template_exponent for g in c.groups.values())
    other = measure(several, COSINE, "p", everybody=labelled, matched=labelled, labels=labels)
    assert parse_cohort(other["cohort"], "x").identities == 120
    assert other["cohort"]["fnmr_scores"] == raw["cohort"]["fnmr_scores"]
    assert other["thresholds"]["points"][1]["threshold"] != raw["thresholds"]["points"][1]["threshold"]


# ---- commands


def invoke(*arguments: str) -> str:
    result = CliRunner().invoke(cli, list(arguments), catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.stdout


def test_model_info_gives_both_figures_and_the_group_that_decides() -> None:
    from edge_oneshot.cli.model import _strangers

    text = "\n".join(_strangers(with_groups()))
    assert "decided by kin" in text and "everybody " in text and "people: all groups 450, kin 210, rest 240" in text
    assert "no group of 200 people" in "\n".join(_strangers(cohort()))


@pytest.fixture
def london(tmp_path: Path) -> Path:
    """The Face Research Lab London Set: london/NNN/*.jpg of 102 adults, and london_info.csv. Skips without it."""
    archive = Path(os.environ.get("EDGE_ONESHOT_DATA", "")) / "london_canada.tar"
    if not archive.is_file():
        pytest.skip("EDGE_ONESHOT_DATA names no folder with london_canada.tar")
    with tarfile.open(archive) as tar:
        tar.extractall(tmp_path, filter="data")
    return tmp_path


def write_labels(folder: Path, people: set[str]) -> Path:
    """labels.csv of these people of the London set. The age of two of the 102 is unknown."""
    lines = ["name,sex,age,group,camera"]
    for row in (folder / "london_info.csv").read_text().split()[1:]:
        name, age, sex, group = row.replace("NA", "").split(",")
        lines += [f"{name},{sex},{age},{group},studio"] * (name in people)
    (folder / "labels.csv").write_text("\n".join(lines) + "\n")
    return folder / "labels.csv"


def test_the_london_set_all_the_way(london: Path) -> None:
    """102 adults before one camera, with their labels: the counts of the report against those of the set."""
    tmp_path, labels = london, write_labels(london, {p.name for p in (london / "london").iterdir()})
    arguments = ["evaluate", "calibration", "--images", str(tmp_path / "london")]
    arguments += ["--labels", str(labels), "--html", str(tmp_path / "page.html"), "--json"]
    r = json.loads(invoke(*arguments))
    populations = {(p["kind"], p["name"]): p for p in r["strangers"]["populations"]}
    everybody, camera = populations["everybody", "everybody"], populations["camera", "studio"]
    n = everybody["people"]
    assert 100 <= n <= 102 and everybody["pairs"] == n * (n - 1) // 2 and n - 2 <= r["identities"] < n, (
        "two ages are unknown"
    )
    assert camera["people"] >= 95 and camera["pairs"] < everybody["pairs"]
    assert {name for kind, name in populations if kind == "group"} >= {"white"}
    at = {o["claimed"]: o for o in everybody["rates"]}
    claim = next(c for c in r["claims"] if c["kind"] == "fmr" and c["claimed"] == 1e-2)
    assert at[1e-2]["enough"] and not at[1e-3]["enough"]
    assert at[1e-2]["fmr"] == pytest.approx(claim["measured"], rel=0.25), "the same rate, counted in another way"
    assert "<svg" in (tmp_path / "page.html").read_text()
    labels.write_text("name,sex\n001,male\n")
    refused = CliRunner().invoke(cli, arguments)
    assert refused.exit_code == 1
    assert "expected a line for each of 102 people" in str(refused.exception or refused.output)


def test_a_cohort_of_a_user_carries_groups_and_says_that_none_decides(london: Path) -> None:
    rows = [line.split(",") for line in (london / "london_info.csv").read_text().split()[1:]]
    women = [name for name, age, sex, group in rows if (sex, group) == ("female", "white") and age != "NA"][:22]
    for name in women:
        (london / "own" / name).mkdir(parents=True)
        (london / "own" / name / "1.jpg").symlink_to(london / "london" / name / "neutral.jpg")
    labels = write_labels(london, set(women))
    text = invoke(
        *("calibrate", "--cohort", str(london / "own"), "--labels", str(labels)),
        *("--out", str(london / "own.json"), "--workers", "1"),
    )
    assert "matched strangers, white: 22 people: does not decide: fewer than 200 people" in text
    assert "no group of 200 people" in text
    written = json.loads((london / "own.json").read_text())["cohort"]
    assert parse_cohort(written, "x").groups["white"].identities == 22


def test_the_default_configuration_asks_for_matched_strangers(encoder_bundle: Any) -> None:
    from edge_oneshot.recognition.compose import build_encoder, build_rule

    encoder = build_encoder(Config())
    found = build_rule(Config(), encoder)
    assert found.strangers == "matched"
    assert build_rule(Config(decision=DecisionConfig(strangers="everybody")), encoder).strangers == "everybody"
