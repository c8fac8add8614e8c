"""The Omniglot trainer: distortions, networks, losses, and a short run that is stopped and resumed."""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
import tomllib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from edge_oneshot.errors import EdgeOneshotError
from edge_oneshot.model.bundle import read_bundle
from training.omniglot.data import DataError, Drawings, resized

torch = pytest.importorskip("torch", reason="training needs PyTorch (extra: train)")

from training.losses import (  # noqa: E402
    MarginSoftmax,
    absent_loss,
    distillation_loss,
    group_logits,
    one_shot_loss,
    verification_loss,
)
from training.omniglot import train as trainer  # noqa: E402
from training.omniglot.augment import distort, draw_distortion, koch_affine, warp  # noqa: E402
from training.omniglot.batches import Sampler, turned  # noqa: E402
from training.omniglot.compose import compose  # noqa: E402
from training.omniglot.model import KOCH, Model, TrainConfig, load  # noqa: E402
from training.omniglot.networks import ConvTwin, KochTwin, L1Head, build  # noqa: E402
from training.omniglot.optimiser import KOCH_EPOCH, make_optimizer, set_rates  # noqa: E402
from training.runs import Run  # noqa: E402


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_koch_distortions_come_each_with_probability_one_half() -> None:
    maps = koch_affine(20_000, generator()).numpy()
    assert np.abs(maps[:, :, 2]).max() <= 2 * 2 / 105 + 1e-6  # two pixels of 105, where the picture spans -1..1
    for axis in range(2):
        assert (maps[:, axis, 2] != 0).mean() == pytest.approx(0.5, abs=0.02)
    # rotation, two shears and two scales are independent: all absent in one of 32
    linear = maps[:, :, :2]
    assert (np.abs(linear - np.eye(2)).max((1, 2)) < 1e-7).mean() == pytest.approx(1 / 32, abs=0.006)
    # no shear and no scale in one of 16, and then the map is a rotation of at most 10 degrees
    rotation = np.abs(np.linalg.norm(linear, axis=1) - 1).max(1) < 1e-6
    angles = np.degrees(np.arctan2(linear[rotation, 1, 0], linear[rotation, 0, 0]))
    assert rotation.mean() == pytest.approx(1 / 16, abs=0.01)
    assert np.abs(angles).max() <= 10


def test_distortions_repeat_with_their_generator_and_keep_paper_white() -> None:
    ink = torch.zeros(3, 1, 104, 104)
    ink[:, :, 40:60, 50:53] = 1
    for kind in ("koch", "elastic"):
        (one, large), (two, _) = distort(ink, [60, 76], kind, generator(1)), distort(ink, [60, 76], kind, generator(1))
        assert torch.equal(one, two)
        assert one.shape == (3, 1, 60, 60) and large.shape == (3, 1, 76, 76)
        assert one.min() >= 0 and one.max() <= 1 and one[:, :, 0].max() == 0
        assert not torch.equal(one, distort(ink, [60], kind, generator(2))[0])
        # the same distortion at both resolutions: the ink has the same centre
        for axis, name in ((2, "y"), (3, "x")):
            centres = []
            for drawn in (one, large):
                position = (torch.arange(drawn.shape[-1]) + 0.5) / drawn.shape[-1]
                centres.append((drawn.sum(5 - axis)[:, 0] * position).sum(1) / drawn.sum((1, 2, 3)))
            torch.testing.assert_close(centres[0], centres[1], atol=0.01, rtol=0, msg=name)
    still = warp(ink, torch.eye(2, 3).repeat(3, 1, 1), 104)
    torch.testing.assert_close(still, ink, atol=1e-4, rtol=0)
    coarse, fine = draw_distortion(500, "elastic", generator()).knots
    assert coarse.std().item() == pytest.approx(0.04, rel=0.05) and fine.std().item() == pytest.approx(0.015, rel=0.05)


def test_the_head_is_a_weighted_l1_distance_as_the_device_computes_it() -> None:
    from edge_oneshot.matching.compare import score_all
    from edge_oneshot.model.card import Comparator

    rng = np.random.default_rng(0)
    left, right = rng.normal(size=(2, 6, 16)).astype(np.float32)
    head = L1Head(16, weight=0.5, bias=2.0)
    with torch.no_grad():
        head.raw.add_(torch.from_numpy(rng.normal(size=16).astype(np.float32)))
        got = head(torch.from_numpy(left), torch.from_numpy(right)).numpy()
        weights = head.weights.numpy()
    np.testing.assert_allclose(got, 2.0 - (np.abs(left - right) * weights).sum(1), rtol=1e-5)
    card = Comparator(kind="weighted-l1", weights=tuple(float(w) for w in weights), bias=2.0)
    np.testing.assert_allclose([score_all(card, right[i : i + 1], left[i])[0] for i in range(6)], got, rtol=1e-5)
    assert weights.min() > 0


def test_the_networks_are_those_announced() -> None:
    small, base, teacher, koch = (build(name) for name in ("small", "base", "teacher", "koch"))
    assert isinstance(small, ConvTwin) and isinstance(koch, KochTwin)
    assert sum(p.numel() for p in base.parameters()) < 1_000_000  # a byte each in int8
    layers = [m for m in koch.modules() if isinstance(m, torch.nn.Conv2d)]
    assert [(m.out_channels, m.kernel_size[0]) for m in layers] == [(64, 10), (128, 7), (128, 4), (256, 4)]
    assert sum(p.numel() for p in koch.parameters()) == pytest.approx(38.95e6, rel=1e-3)
    with torch.inference_mode():
        assert koch.eval()(torch.zeros(1, 1, 105, 105)).shape == (1, 4096)
        assert small.eval()(torch.zeros(1, 1, 60, 60)).shape == (1, 128)
        assert base.eval()(torch.zeros(1, 1, 60, 60)).shape == (1, 224)
        ink = torch.rand(4, 1, 76, 76)
        assert torch.equal(teacher.eval()(ink), teacher(ink))
        assert not torch.equal(teacher.train()(ink), teacher(ink))  # it leaves channels and branches out
    with pytest.raises(ValueError, match="small, base, teacher, koch"):
        build("large")


def test_verification_loss_by_hand() -> None:
    embedding = torch.tensor([[0.0], [0.5], [2.0], [2.0]])  # two characters, two drawers each
    head = L1Head(1, weight=1.0, bias=1.0)
    sigmoid = [1 / (1 + math.exp(-logit)) for logit in (0.5, 1.0, -1.0, -0.5)]  # mated: 0-.5, 2-2; non-mated: 0-2, 2-.5
    expected = -(np.log(sigmoid[:2]).mean() + np.log(1 - np.array(sigmoid[2:])).mean()) / 2
    assert verification_loss(group_logits(head, embedding, 2)).item() == pytest.approx(expected, rel=1e-5)


def test_a_step_has_groups_of_one_alphabet_each_class_by_two_drawers(drawings: Drawings) -> None:
    config = TrainConfig(group=16, batch=320)
    sampler = Sampler(drawings, config, torch.device("cpu"))
    groups = sampler.choose(np.random.default_rng(0))
    assert groups.character.shape == (10, 16) and (groups.drawers[:, 0] != groups.drawers[:, 1]).all()
    alphabet = dict(zip(drawings.character, drawings.alphabet, strict=True))
    composed = groups.part >= 0
    assert 0 < composed.all(1).sum() < 10 and (composed.any(1) == composed.all(1)).all()
    for characters, parts in zip(groups.character, groups.part, strict=True):
        assert len({alphabet[c] for c in characters} | {alphabet[p] for p in parts if p >= 0}) == 1
        assert len(set(zip(characters, parts, strict=True))) == 16  # no class twice
    (ink, large), label = sampler.pictures(groups, [60, 76], generator())
    assert ink.shape == (320, 1, 60, 60) and large.shape == (320, 1, 76, 76)
    assert ((label < 0).numpy() == np.repeat(composed.ravel(), 2)).all()
    plain = label[label >= 0].numpy()
    assert (plain // 8 == np.repeat(groups.character[~composed], 2)).all()
    # alphabets with too few characters for a group: the rest of it is composed
    few = Sampler(drawings, replace(config, group=24, composed=0.0), torch.device("cpu")).choose(
        np.random.default_rng(0)
    )
    assert ((few.part >= 0).sum(1) == 4).all()


def test_a_composed_character_has_both_parts_in_their_boxes() -> None:
    first, second = torch.zeros(1, 1, 105, 105), torch.zeros(1, 1, 105, 105)
    first[:, :, 20:85, 50:54] = 1
    second[:, :, 50:54, 20:85] = 1
    boxes = torch.tensor([[-0.5, 0.0, 0.5, 1.0, 0.5, 0.0, 0.5, 1.0]])  # side by side
    both = compose(first, second, boxes)[0, 0]
    left, right = both[:, :52], both[:, 53:]
    assert left.amax(1).gt(0.4).sum() > 55 and right.amax(0).gt(0.4).sum() > 25
    assert left.amax(0).gt(0.4).sum() < 6 and right.amax(1).gt(0.4).sum() < 8


def test_orientations_are_eight_and_differ() -> None:
    corner = torch.zeros(1, 1, 5, 5)
    corner[:, :, 0, 1] = 1
    seen = [turned(corner, orientation) for orientation in range(8)]
    assert len({tuple(picture.ravel().tolist()) for picture in seen}) == 8
    assert torch.equal(seen[0], corner)


def test_pictures_without_a_class_do_not_count_in_the_softmax() -> None:
    torch.manual_seed(0)
    softmax, embedding = MarginSoftmax(4, 3, 24.0, 0.25), torch.randn(4, 4)
    alone = softmax(embedding[:2], torch.tensor([2, 0]))
    torch.testing.assert_close(softmax(embedding, torch.tensor([2, 0, -1, -1])), alone)
    assert softmax(embedding, torch.full((4,), -1)).item() == 0.0


def test_the_one_shot_loss_is_the_choice_among_the_characters_of_a_group() -> None:
    head = L1Head(2, weight=1.0, bias=0.0)
    alike = torch.tensor([[0.0, 0.0], [0.0, 0.0], [9.0, 0.0], [9.0, 0.0]])  # two characters, two drawers each
    swapped = alike[[0, 2, 3, 1]]  # the second drawer's drawings are those of the other character

    def loss(embedding: torch.Tensor, size: int) -> float:
        value: float = one_shot_loss(group_logits(head, embedding, size)).item()
        return value

    assert loss(alike, 2) == pytest.approx(math.log1p(math.exp(-9.0)), rel=1e-3)
    assert loss(swapped, 2) == pytest.approx(9.0, rel=1e-3)
    assert loss(torch.zeros(8, 2), 4) == pytest.approx(math.log(4.0), rel=1e-5)
    assert loss(torch.cat([alike, swapped]), 2) == pytest.approx((9.0 + math.log1p(math.exp(-9.0)) * 2) / 2, rel=1e-3)


def test_the_open_set_loss_wants_the_own_class_above_zero_and_all_others_together_below() -> None:
    logits = torch.tensor([[[3.0, -2.0, -1.0], [-2.0, 3.0, -2.0], [-1.0, -2.0, 3.0]]])
    others = [math.log(math.exp(-2) + math.exp(-1)), math.log(2 * math.exp(-2)), math.log(math.exp(-2) + math.exp(-1))]
    expected = (math.log1p(math.exp(-3.0)) + np.mean([math.log1p(math.exp(o)) for o in others])) / 2
    assert absent_loss(logits).item() == pytest.approx(expected, rel=1e-5)


def test_a_learner_that_answers_as_the_teachers_do_has_the_least_loss() -> None:
    logits = torch.randn(3, 4, 4, generator=generator()).requires_grad_()
    value = distillation_loss(logits, logits.detach().sigmoid(), logits.detach())
    (slope,) = torch.autograd.grad(value, logits)
    assert slope.abs().max() < 1e-6
    assert distillation_loss(logits + torch.eye(4), logits.detach().sigmoid(), logits.detach()) > value


TINY = TrainConfig(steps=3, every=1, batch=48, group=12, warm_up=1, network="small", seed=7)


def test_a_run_starts_from_a_checkpoint_and_learns_from_teachers(drawings: Drawings, tmp_path: Path) -> None:
    trainer.train(drawings, TINY, tmp_path / "first", validation=drawings)
    first = tmp_path / "first/last.pt"
    still = replace(TINY, steps=1, rate=0.0, decay=0.0, initial=str(first), teachers=(str(first),))
    trainer.train(drawings, still, tmp_path / "second", validation=drawings)
    one, two = load(first)[0], load(tmp_path / "second/last.pt")[0]
    for name, weight in one.encoder.named_parameters():
        torch.testing.assert_close(dict(two.encoder.named_parameters())[name], weight)
    torch.testing.assert_close(two.head.weights, one.head.weights)
    alone, taught = (
        json.loads((tmp_path / name / "log.jsonl").read_text().splitlines()[-1])["loss"] for name in ("first", "second")
    )
    assert alone != taught
    with pytest.raises(DataError, match="network"):
        trainer.train(drawings, replace(still, network="base"), tmp_path / "other", validation=drawings)


@pytest.mark.slow
@pytest.mark.timeout(600)  # a minute on a quiet machine
def test_a_resumed_run_repeats_the_run_without_a_stop(
    drawings: Drawings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trainer.train(drawings, TINY, tmp_path / "whole", validation=drawings)
    measured = trainer.validate

    def power_cut(*_: object) -> dict[str, float]:
        if len((tmp_path / "parts/log.jsonl").read_text().splitlines()) == 2:
            raise RuntimeError("power cut")
        return measured(*_)  # type: ignore[arg-type]

    (tmp_path / "parts").mkdir()
    (tmp_path / "parts/log.jsonl").touch()
    with monkeypatch.context() as patch:
        patch.setattr(trainer, "validate", power_cut)
        with pytest.raises(RuntimeError, match="power cut"):
            trainer.train(drawings, TINY, tmp_path / "parts", validation=drawings)
    trainer.train(drawings, TINY, tmp_path / "parts", resume=True, validation=drawings)
    whole, parts = (
        [{**json.loads(line), "seconds": 0} for line in (tmp_path / name / "log.jsonl").read_text().splitlines()]
        for name in ("whole", "parts")
    )
    assert [row["step"] for row in parts] == [1, 2, 3]
    assert parts == whole
    assert (tmp_path / "parts/curves.png").stat().st_size > 1000
    model, config = load(tmp_path / "parts/last.pt")
    assert config == TINY
    assert not model.training
    with pytest.raises(EdgeOneshotError, match="--resume"):
        trainer.train(drawings, TINY, tmp_path / "parts", validation=drawings)
    with pytest.raises(EdgeOneshotError, match="to resume from"):
        trainer.train(drawings, TINY, tmp_path / "none", resume=True, validation=drawings)
    (tmp_path / "broken.pt").write_bytes(b"nothing")
    with pytest.raises(DataError, match="checkpoint"):
        load(tmp_path / "broken.pt")


def test_koch_rates_are_per_layer_fall_by_a_percent_and_momentum_rises() -> None:
    config = TrainConfig(**KOCH)
    model = Model(config, characters=1)
    assert model.softmax is None
    optimizer = make_optimizer(model, config)
    assert len(optimizer.param_groups) == 6  # four convolutions, the dense layer, the head
    set_rates(optimizer, config, 0)
    first = [(g["lr"], g["momentum"]) for g in optimizer.param_groups]
    assert len({rate for rate, _ in first}) > 1 and {momentum for _, momentum in first} == {0.5}
    set_rates(optimizer, config, 10 * KOCH_EPOCH)
    for (rate, momentum), group in zip(first, optimizer.param_groups, strict=True):
        assert group["lr"] == pytest.approx(rate * 0.99**10)
        assert group["momentum"] > momentum


def test_float_graph_computes_what_torch_computes(drawings: Drawings) -> None:
    from converters.flatbuffer import serialize
    from converters.litert import embed
    from training.omniglot.graph import float_graph

    torch.manual_seed(0)
    for network in (ConvTwin(), build("base"), KochTwin()):
        for layer in network.modules():
            if isinstance(layer, torch.nn.BatchNorm2d):  # as after training, not the identity of a fresh one
                layer.running_mean.normal_(0, 0.3)
                layer.running_var.uniform_(0.5, 2)
                torch.nn.init.normal_(layer.weight, 1, 0.2)
                torch.nn.init.normal_(layer.bias, 0, 0.3)
        pixels = resized(drawings.ink[:2], network.side_px)[..., None]
        got = embed(serialize(float_graph(network)), pixels)
        expected = trainer.encode(network, drawings.ink[:2])
        np.testing.assert_allclose(got, expected, atol=1e-4)
    with pytest.raises(TypeError, match="ConvTwin or KochTwin"):
        float_graph(torch.nn.Identity())


def test_a_checkpoint_is_a_source_of_the_converter(drawings: Drawings, tmp_path: Path) -> None:
    """By the entry point in training/pyproject.toml, in a process of its own, as the command finds it once installed."""
    pytest.importorskip("ai_edge_quantizer", reason="pip install edge-oneshot-convert")
    root = Path(__file__).parents[2]
    points = tomllib.loads((root / "training/pyproject.toml").read_text())["project"]["entry-points"]
    info = tmp_path / "edge_oneshot_training-0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: edge-oneshot-training\nVersion: 0\n")
    (info / "entry_points.txt").write_text(
        "".join(f"[{group}]\n" + "".join(f"{k} = {v}\n" for k, v in p.items()) for group, p in points.items())
    )
    model = Model(TINY, 40)
    Run(model, make_optimizer(model, TINY), TINY, TINY.average).save(tmp_path / "small.pt")
    (tmp_path / "pictures").mkdir()
    for i, picture in enumerate(resized(drawings.ink[:32], 105)):
        Image.fromarray(picture).save(tmp_path / "pictures" / f"{i}.png")

    def convert(source: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "converters", source, "--calibration", "pictures", "--out", "small.tflite"],
            cwd=tmp_path, env={**os.environ, "PYTHONPATH": os.pathsep.join([str(tmp_path), str(root)])},
            capture_output=True, text=True, timeout=170, check=False,
        )  # fmt: skip

    done = convert("small.pt")
    assert done.returncode == 0, done.stderr
    card = read_bundle(tmp_path / "small.tflite").encoder
    assert card.comparator.kind == "weighted-l1" and card.regions == "frame" and card.input.colour == "L"
    (tmp_path / "broken.pt").write_bytes(b"nothing")
    done = convert("broken.pt")
    assert done.returncode == 1 and done.stderr.startswith("error: broken.pt: expected a network with its graph")
    assert done.stderr.count("\n") == 1
