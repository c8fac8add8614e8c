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

from training.omniglot import average as averaging  # noqa: E402
from training.omniglot import train as trainer  # noqa: E402
from training.omniglot.augment import distort, elastic, koch_affine, warp  # noqa: E402
from training.omniglot.batches import epoch_steps, turned  # noqa: E402
from training.omniglot.losses import one_shot_loss, verification_loss  # noqa: E402
from training.omniglot.model import KOCH, Model, TrainConfig, load, save  # noqa: E402
from training.omniglot.networks import KochTwin, L1Head, SmallTwin, build  # noqa: E402
from training.omniglot.optimiser import make_optimizer, set_rates  # noqa: E402


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
        one, two = distort(ink, 60, kind, generator(1)), distort(ink, 60, kind, generator(1))
        assert torch.equal(one, two)
        assert one.shape == (3, 1, 60, 60)
        assert one.min() >= 0 and one.max() <= 1 and one[:, :, 0].max() == 0
        assert not torch.equal(one, distort(ink, 60, kind, generator(2)))
    still = warp(ink, torch.eye(2, 3).repeat(3, 1, 1), 104)
    torch.testing.assert_close(still, ink, atol=1e-4, rtol=0)
    assert elastic(500, 20, generator()).std().item() == pytest.approx(0.04, rel=0.3)


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
    small, koch = build("small"), build("koch")
    assert isinstance(small, SmallTwin) and isinstance(koch, KochTwin)
    assert sum(p.numel() for p in small.parameters()) < 1_000_000  # a byte each in int8
    layers = [m for m in koch.modules() if isinstance(m, torch.nn.Conv2d)]
    assert [(m.out_channels, m.kernel_size[0]) for m in layers] == [(64, 10), (128, 7), (128, 4), (256, 4)]
    assert sum(p.numel() for p in koch.parameters()) == pytest.approx(38.95e6, rel=1e-3)
    with torch.inference_mode():
        assert koch.eval()(torch.zeros(1, 1, 105, 105)).shape == (1, 4096)
        assert small.eval()(torch.zeros(1, 1, 60, 60)).shape == (1, 128)
    with pytest.raises(ValueError, match="small, koch"):
        build("large")


def test_verification_loss_by_hand() -> None:
    embedding = torch.tensor([[0.0], [0.5], [2.0], [2.0]])  # two characters, two drawers each
    head = L1Head(1, weight=1.0, bias=1.0)
    sigmoid = [1 / (1 + math.exp(-logit)) for logit in (0.5, 1.0, -1.0, -0.5)]  # mated: 0-.5, 2-2; non-mated: 0-2, 2-.5
    expected = -(np.log(sigmoid[:2]).mean() + np.log(1 - np.array(sigmoid[2:])).mean()) / 2
    assert verification_loss(head, embedding, [2]).item() == pytest.approx(expected, rel=1e-5)


def test_an_epoch_shows_every_drawing_once_in_groups_of_one_alphabet(drawings: Drawings) -> None:
    config = TrainConfig()
    steps = list(epoch_steps(drawings, config, np.random.default_rng(0)))
    groups = [group for step in steps for group in step]
    shown = np.concatenate([index.ravel() for index, _ in groups])
    assert sorted(shown) == list(range(len(drawings.ink)))
    for index, orientation in groups:
        assert len(index) <= config.group and 0 <= orientation < 4
        assert len(set(drawings.alphabet[index.ravel()])) == 1
        assert (drawings.character[index[:, 0]] == drawings.character[index[:, 1]]).all()
        assert len(set(drawings.drawer[index[:, 0]])) == 1


def test_orientations_are_eight_and_differ() -> None:
    corner = torch.zeros(8, 1, 5, 5)
    corner[:, :, 0, 1] = 1
    seen = turned(corner, torch.arange(8))
    assert len({tuple(picture.ravel().tolist()) for picture in seen}) == 8
    assert torch.equal(seen[0], corner[0])


def test_the_one_shot_loss_is_the_choice_among_the_characters_of_a_group() -> None:
    head = L1Head(2, weight=1.0, bias=0.0)
    alike = torch.tensor([[0.0, 0.0], [0.0, 0.0], [9.0, 0.0], [9.0, 0.0]])  # two characters, two drawers each
    assert one_shot_loss(head, alike, [2]).item() == pytest.approx(math.log1p(math.exp(-9.0)), rel=1e-3)
    swapped = alike[[0, 2, 3, 1]]  # the second drawer's drawings are those of the other character
    assert one_shot_loss(head, swapped, [2]).item() == pytest.approx(9.0, rel=1e-3)
    same = torch.zeros(8, 2)
    assert one_shot_loss(head, same, [4]).item() == pytest.approx(math.log(4.0), rel=1e-5)
    both = one_shot_loss(head, torch.cat([alike, swapped]), [2, 2]).item()
    assert both == pytest.approx((9.0 + math.log1p(math.exp(-9.0)) * 2) / 2, rel=1e-3)


def test_a_second_lap_starts_from_the_first_ones_weights(drawings: Drawings, tmp_path: Path) -> None:
    trainer.train(drawings, replace(TINY, epochs=1), tmp_path / "first", validation=drawings)
    first = tmp_path / "first/last.pt"
    still = replace(TINY, epochs=1, rate=0.0, weight_decay=0.0, orientations=8, one_shot_weight=0.5, initial=str(first))
    trainer.train(drawings, still, tmp_path / "second", validation=drawings)
    one, two = load(first)[0], load(tmp_path / "second/last.pt")[0]
    for name, weight in one.encoder.named_parameters():
        torch.testing.assert_close(dict(two.encoder.named_parameters())[name], weight)
    torch.testing.assert_close(two.head.weights, one.head.weights)
    assert (
        two.softmax is not None and one.softmax is not None and len(two.softmax.centres) == 2 * len(one.softmax.centres)
    )
    with pytest.raises(DataError, match="network"):
        trainer.train(drawings, replace(still, network="koch"), tmp_path / "other", validation=drawings)


TINY = TrainConfig(epochs=3, keep=2, seed=7)


@pytest.mark.slow
@pytest.mark.timeout(600)  # a minute on a quiet machine
def test_a_resumed_run_repeats_the_run_without_a_stop(drawings: Drawings, tmp_path: Path) -> None:
    trainer.train(drawings, TINY, tmp_path / "whole", validation=drawings)
    whole = [json.loads(line) for line in (tmp_path / "whole/log.jsonl").read_text().splitlines()]

    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    kept = trainer.draw_curves
    trainer.draw_curves = stop  # the last step of an epoch: simulates a power cut after it
    try:
        with pytest.raises(KeyboardInterrupt):
            trainer.train(drawings, TINY, tmp_path / "parts", validation=drawings)
    finally:
        trainer.draw_curves = kept
    trainer.train(drawings, TINY, tmp_path / "parts", resume=True, validation=drawings)
    parts = [json.loads(line) for line in (tmp_path / "parts/log.jsonl").read_text().splitlines()]
    assert [row["epoch"] for row in parts] == [1, 2, 3]
    for one, two in zip(whole, parts, strict=True):
        assert {**one, "seconds": 0} == {**two, "seconds": 0}
    assert whole[2]["softmax_loss"] < whole[0]["softmax_loss"]
    assert (tmp_path / "parts/curves.png").stat().st_size > 1000

    # The newest epochs are kept for the mean of their weights.
    epochs = [tmp_path / f"parts/epoch-{n:03d}.pt" for n in (2, 3)]
    assert not (tmp_path / "parts/epoch-001.pt").exists()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(averaging, "alphabets", lambda part: drawings.alphabet_names)
        assert set(averaging.average(epochs, drawings, tmp_path / "mean.pt")) == {
            "one_shot_cosine",
            "one_shot_l1",
            "verification",
        }
    mean, one, two = (load(path)[0].encoder.embed.weight for path in (tmp_path / "mean.pt", *epochs))
    torch.testing.assert_close(mean, (one + two) / 2)

    model, config = load(tmp_path / "parts/best.pt")
    assert config == TINY
    assert not model.training
    with pytest.raises(EdgeOneshotError, match="--resume"):
        trainer.train(drawings, TINY, tmp_path / "parts", validation=drawings)
    with pytest.raises(EdgeOneshotError, match="to resume from"):
        trainer.train(drawings, TINY, tmp_path / "none", resume=True, validation=drawings)
    (tmp_path / "broken.pt").write_bytes(b"nothing")
    with pytest.raises(DataError, match="checkpoint"):
        load(tmp_path / "broken.pt")


def test_training_stops_early_without_progress(drawings: Drawings, tmp_path: Path) -> None:
    trainer.train(drawings, replace(TINY, rate=0.0, epochs=9, patience=1), tmp_path, validation=drawings)
    rows = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert len(rows) < 9


def test_koch_rates_are_per_layer_fall_by_a_percent_and_momentum_rises() -> None:
    config = TrainConfig(**KOCH)
    model = Model(config, characters=1)
    assert model.softmax is None
    optimizer = make_optimizer(model, config)
    assert len(optimizer.param_groups) == 6  # four convolutions, the dense layer, the head
    set_rates(optimizer, config, 0.0)
    first = [(g["lr"], g["momentum"]) for g in optimizer.param_groups]
    assert len({rate for rate, _ in first}) > 1 and {momentum for _, momentum in first} == {0.5}
    set_rates(optimizer, config, 10.0)
    for (rate, momentum), group in zip(first, optimizer.param_groups, strict=True):
        assert group["lr"] == pytest.approx(rate * 0.99**10)
        assert group["momentum"] > momentum


def test_float_graph_computes_what_torch_computes(drawings: Drawings) -> None:
    from converters.flatbuffer import serialize
    from converters.litert import embed
    from training.omniglot.graph import float_graph

    torch.manual_seed(0)
    for network in (SmallTwin(), KochTwin()):
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
    with pytest.raises(TypeError, match="SmallTwin or KochTwin"):
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
    save(model, make_optimizer(model, TINY), TINY, [], tmp_path / "small.pt")
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
