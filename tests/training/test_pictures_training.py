"""The trainer for pictures: losses, trials and networks against their definitions, and small runs with a stop."""

from __future__ import annotations

import json
import math
import os
import shutil
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("ai_edge_quantizer", reason="pip install edge-oneshot-convert")
torch = pytest.importorskip("torch", reason="training needs PyTorch (extra: train)")

from converters.convert import convert  # noqa: E402
from converters.exact import NotExactError, SourceCheck  # noqa: E402
from converters.flatbuffer import serialize  # noqa: E402
from edge_oneshot.errors import ModelError  # noqa: E402
from edge_oneshot.model.bundle import read_bundle  # noqa: E402
from training.losses import choice_loss, group_logits  # noqa: E402
from training.pictures import export as exporting  # noqa: E402
from training.pictures.__main__ import main  # noqa: E402
from training.pictures.augment import distort  # noqa: E402
from training.pictures.folder import find  # noqa: E402
from training.pictures.model import MEAN, SIZES, STD, Backbone, CosineHead, float_graph  # noqa: E402
from training.pictures.train import Sampler  # noqa: E402
from training.pictures.trials import choice, draw_choices, verification  # noqa: E402

ROOT = Path(__file__).parents[2]


def test_the_choice_has_none_of_them_as_an_answer() -> None:
    def head(left: torch.Tensor, right: torch.Tensor) -> torch.Tensor:
        return (left * right).sum(-1)

    alike = torch.tensor([[2.0, 0.0], [2.0, 0.0], [0.0, 2.0], [0.0, 2.0]])  # logits: 4 on the diagonal, 0 elsewhere
    stored = math.log(math.exp(4) + 1 + 1) - 4  # the true class, the other one, none
    absent = math.log(1 + 1)  # the other one, none: both with logit 0
    assert choice_loss(group_logits(head, alike, 2)).item() == pytest.approx((stored + absent) / 2, rel=1e-5)


def test_float_graph_computes_what_torch_computes() -> None:
    torch.manual_seed(0)
    for name, size in SIZES.items():
        backbone = Backbone(size).eval()
        for layer in backbone.modules():
            if isinstance(layer, torch.nn.BatchNorm2d):  # as after training, not the identity of a fresh one
                layer.running_mean.normal_(0, 0.3)
                layer.running_var.uniform_(0.5, 2)
        pixels = np.random.default_rng(0).integers(0, 256, (size.side_px, size.side_px, 3), np.uint8)
        scaled = torch.from_numpy((pixels.astype(np.float32) - MEAN) / STD)
        with torch.inference_mode():
            expected = backbone(scaled.permute(2, 0, 1)[None]).numpy()
        graph = float_graph(backbone)
        from converters.litert import interpreter

        runner = interpreter(serialize(graph))
        runner.set_tensor(runner.get_input_details()[0]["index"], scaled.numpy()[None])
        runner.invoke()
        got = runner.get_tensor(runner.get_output_details()[0]["index"])
        np.testing.assert_allclose(got, expected, atol=1e-4 * np.abs(expected).max(), err_msg=name)
        assert got.shape == (1, size.dimension)


def test_another_graph_than_the_network_is_refused() -> None:
    """The converter's own source check compares the trained network, so the card states what it found."""
    torch.manual_seed(0)
    images = list(np.random.default_rng(0).integers(0, 256, (32, 60, 60, 3), np.uint8))
    backbone = Backbone(SIZES["nano"])
    source = exporting.source_of(backbone)
    check = SourceCheck(source, images, [MEAN] * 3, [STD] * 3)
    check.read()
    reference = convert(source.graph, images[:2], [MEAN] * 3, [STD] * 3).reference
    found = check.passes(reference, ())
    assert found["relative_error"] < 1e-5 and found["pictures"] == 32 and found["framework"].startswith("torch ")
    with torch.no_grad():
        backbone.embed.bias[0] += 0.05
    with pytest.raises(NotExactError, match="the graph as read differs from the source in torch"):
        SourceCheck(replace(source, graph=float_graph(Backbone(SIZES["nano"]))), images, [MEAN] * 3, [STD] * 3).read()
    with pytest.raises(NotExactError, match="the graph after the passes differs"):
        SourceCheck(source, images, [MEAN] * 3, [STD] * 3).passes(reference, ())


def test_a_network_that_confuses_the_classes_gives_no_bundle(pattern_folder: Path) -> None:
    folder = find(pattern_folder)
    torch.manual_seed(0)
    backbone = Backbone(SIZES["nano"]).eval()
    colour = np.random.default_rng(0).integers(0, 256, (len(folder.classes), 1, 1, 3), np.uint8)
    images = np.broadcast_to(colour[folder.owner], (len(folder.owner), 60, 60, 3))  # each class has a colour of its own
    exporting._separates(folder, images, backbone, Path("run/last.pt"))
    shuffled = images[np.random.default_rng(0).permutation(len(images))]
    with pytest.raises(ModelError, match="separates the validation classes with an equal error rate of at most 20%"):
        exporting._separates(folder, shuffled, backbone, Path("run/last.pt"))


def test_distortions_repeat_with_their_generator_and_stay_pictures() -> None:
    pixels = torch.rand(64, 3, 24, 24, generator=torch.Generator().manual_seed(3))

    def drawn(seed: int, mirror: bool = False) -> torch.Tensor:
        return distort(pixels.clone(), torch.Generator().manual_seed(seed), turn_deg=10, mirror=mirror)

    assert torch.equal(drawn(1), drawn(1)) and not torch.equal(drawn(1), drawn(2))
    assert drawn(1).min() >= 0 and drawn(1).max() <= 1 and torch.isfinite(drawn(1)).all()
    ramp = torch.linspace(0, 1, 24).expand(400, 3, 24, 24)  # brighter to the right
    for mirror, expected in ((False, 0.0), (True, 0.5)):
        seen = distort(ramp.clone(), torch.Generator().manual_seed(1), turn_deg=0, mirror=mirror)
        left = (seen[..., :8].mean((1, 2, 3)) > seen[..., 16:].mean((1, 2, 3))).float().mean().item()
        assert left == pytest.approx(expected, abs=0.08)


def test_a_step_has_pairs_of_one_class_by_two_pictures(pattern_folder: Path) -> None:
    folder = find(pattern_folder)
    sampler = Sampler(folder, 64)
    rows, label = sampler.draw(np.random.default_rng(0))
    assert len(rows) == len(label) == 2 * sampler.group * sampler.groups and len(rows) <= 64
    assert (label[0::2] == label[1::2]).all() and (rows[0::2] != rows[1::2]).all()
    assert (folder.owner[rows[0::2]] == folder.owner[rows[1::2]]).all()
    assert {folder.part[c] for c in folder.owner[rows]} == {"train"}


def test_trials_by_hand() -> None:
    owner = np.repeat(np.arange(6), 3)
    drawn = draw_choices(owner, seed=0, runs=5, ways=4)
    assert drawn.stored.shape == (5, 4) and (drawn.stored != np.take_along_axis(drawn.probe, drawn.answer, 1)).any()
    for r in range(5):
        assert (owner[drawn.probe[r]] == owner[drawn.stored[r]][drawn.answer[r]]).all()
        assert not set(drawn.probe[r]) & set(drawn.stored[r])
    vectors = np.eye(6, dtype=np.float32)[owner]  # cosine 1 within a class, 0 between classes
    found = choice(vectors, owner, 0.5, seed=0)
    assert [found[k]["rate"] for k in ("right", "known_right", "known_none", "absent_none")] == [1, 1, 0, 1]
    found = choice(vectors, owner, 1.5, seed=0)
    assert [found[k]["rate"] for k in ("right", "known_right", "known_none", "absent_none")] == [1, 0, 1, 1]


def test_verification_rates_by_hand() -> None:
    from converters.scores import all_pairs

    pairs = all_pairs([str(c) for c in np.repeat(np.arange(40), 2)])
    scores = np.where(pairs.mated, 0.8, 0.2).astype(np.float32)
    wrong = np.flatnonzero(pairs.mated)[:10]  # a quarter of the mated pairs
    scores[wrong] = 0.1
    found = verification(scores, pairs, 0.5)
    assert (found["fmr"], found["fnmr"]) == (0.0, 0.25)
    assert found["tar"]["0.1"]["rate"] == 0.75
    assert found["tar"]["0.1"]["ci95"][0] < 0.75 < found["tar"]["0.1"]["ci95"][1]


def command(folder: Path, out: Path, *more: str) -> list[str]:
    options = ["--size", "nano", "--steps", "6", "--batch", "32", "--threads", "1"]
    return [sys.executable, "-u", "-m", "training.pictures", str(folder), "--out", str(out), *options, *more]


def trained(folder: Path, out: Path, *more: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command(folder, out, *more), cwd=ROOT, capture_output=True, text=True, timeout=500, check=False
    )


def rows(out: Path) -> list[dict[str, object]]:
    lines = (out / "log.jsonl").read_text(encoding="utf-8").splitlines()
    return [{k: v for k, v in json.loads(line).items() if k != "seconds"} for line in lines]


@pytest.fixture(scope="module")
def whole(pattern_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run without a stop."""
    out = tmp_path_factory.mktemp("pictures") / "whole"
    done = trained(pattern_folder, out)
    assert done.returncode == 0, done.stderr
    assert "step 1 of 6, loss" in done.stderr and "left" in done.stderr  # progress before the first interval ends
    assert "class not stored: none" in done.stdout
    return out


@pytest.mark.slow
@pytest.mark.timeout(1500)  # half a minute on a quiet machine
@pytest.mark.xdist_group("pictures")
def test_a_stopped_and_resumed_run_ends_in_the_same_bundle_which_enrolls(
    pattern_folder: Path, tmp_path: Path, whole: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    parts = tmp_path / "parts"
    with subprocess.Popen(
        command(pattern_folder, parts), cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as running:
        assert running.stdout is not None
        while not running.stdout.readline().startswith('{"step": 2'):
            assert running.poll() is None
        running.send_signal(signal.SIGINT)
        _, errors = running.communicate(timeout=300)
    assert running.returncode == 130, errors
    assert "of 6; continue with --resume" in errors and "Traceback" not in errors
    assert not list(parts.glob("*.tflite"))

    for more, message in (
        ((), "--resume continues it"),
        (("--resume", "--turn", "90"), "turn_deg 15.0, got turn_deg 90.0"),
    ):
        assert main(command(pattern_folder, parts, *more)[4:]) == 1
        assert message in capsys.readouterr().err
    done = trained(pattern_folder, parts, "--resume")
    assert done.returncode == 0, done.stderr
    assert rows(parts) == rows(whole)
    bundle = whole / "patterns-nano.tflite"
    assert (parts / bundle.name).read_bytes() == bundle.read_bytes()

    card = read_bundle(bundle).encoder
    assert card.regions == "frame" and card.thresholds is not None and card.probability is not None
    assert card.provenance["source_check"]["relative_error"] < 1e-4
    assert "data:image/jpeg;base64," in (whole / "report.html").read_text(encoding="utf-8")
    report = json.loads((whole / "report.json").read_text(encoding="utf-8"))
    assert report["one_shot"]["trials"] == 250 * report["one_shot"]["ways"]

    def device(*words: str) -> subprocess.CompletedProcess[str]:
        program = "from edge_oneshot.cli import main; main()"
        return subprocess.run(
            [sys.executable, "-c", program, "--config", str(whole / "device.toml"), *words],
            cwd=ROOT, env={**os.environ}, capture_output=True, text=True, timeout=200, check=False,
        )  # fmt: skip

    folder = find(pattern_folder)
    known = pattern_folder / folder.paths[folder.rows("report")[0]]
    assert device("enroll", "--name", "One", "--image", str(known)).returncode == 0
    answer = json.loads(device("identify", "--image", str(known), "--json").stdout)
    assert answer["identity"] == "one"


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.xdist_group("pictures")
def test_a_changed_folder_is_not_resumed(
    pattern_folder: Path, tmp_path: Path, whole: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root, out = tmp_path / "patterns", tmp_path / "run"
    shutil.copytree(pattern_folder, root)
    shutil.copytree(whole, out)
    shutil.copytree(root / "pattern-00", root / "pattern-99")
    assert main(command(root, out, "--resume")[4:]) == 1
    error = capsys.readouterr().err
    assert "a changed folder" in error and error.count("\n") <= 3


def test_what_cannot_be_used_is_one_line(
    pattern_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("")
    for words, message in (
        ([str(tmp_path / "none")], "expected a folder with one folder of pictures per class, got none"),
        ([str(pattern_folder), "--out", str(tmp_path / "file" / "run")], "Not a directory"),
    ):
        assert main(words) == 1
        error = capsys.readouterr().err
        assert error.startswith("error: ") and message in error and error.count("\n") == 1


def test_the_head_is_a_logit_of_the_cosine() -> None:
    head = CosineHead()
    with torch.no_grad():
        head.scale.fill_(10.0)
        head.bias.fill_(-4.0)
        logit = head(torch.tensor([3.0, 0.0]), torch.tensor([1.0, 1.0])).item()
    assert logit == pytest.approx(10 / math.sqrt(2) - 4, rel=1e-5)
