"""The face distillation: the module computes what the runtime computes, and a short run is stopped and resumed."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="training needs PyTorch (extra: train)")

from converters.litert import interpreter  # noqa: E402
from training.face import distil as face  # noqa: E402
from training.face.network import GraphNet  # noqa: E402


@pytest.fixture(scope="module")
def student() -> Path:
    data = os.environ.get("EDGE_ONESHOT_DATA")
    if not data:
        pytest.skip("EDGE_ONESHOT_DATA is not set: the float MobileFaceNet is needed")
    return Path(data) / "weights" / "mobilefacenet_float.tflite"


def run(model: bytes, pixels: torch.Tensor) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
    made = interpreter(model)
    made.set_tensor(made.get_input_details()[0]["index"], pixels.permute(0, 2, 3, 1).contiguous().numpy())
    made.invoke()
    return np.asarray(made.get_tensor(made.get_output_details()[0]["index"]))


def normalise(pixels: torch.Tensor) -> torch.Tensor:
    return (pixels - 127.5) / 128


def test_module_and_runtime_agree_also_after_writing_back(student: Path) -> None:
    net = GraphNet(student)
    pixels = torch.randn(1, 3, 112, 112, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        expected = net(pixels).numpy()
        np.testing.assert_allclose(run(net.to_tflite(), pixels), expected, atol=2e-3)
        last = max(int(name[1:]) for name in net.weights if name.startswith("b"))
        net.weights[f"b{last}"].add_(1.0)
        np.testing.assert_allclose(run(net.to_tflite(), pixels), expected + 1.0, atol=2e-3)


def test_the_target_moves_the_student_towards_the_other_network() -> None:
    random = np.random.default_rng(0)
    own = random.normal(size=(40, 6))
    turn = np.linalg.qr(random.normal(size=(6, 6)))[0]
    np.testing.assert_allclose(
        face.joint_target((own, own), (own @ turn, own @ turn), np.arange(30)), face.unit(own), atol=1e-6
    )
    other = own @ turn + random.normal(size=(40, 6)) * 0.5
    target, back = face.joint_target((own, own), (other, other), np.arange(40)), face.unit(other @ turn.T)
    for towards in (face.unit(own), back):
        assert float((target * towards).sum(1).mean()) > float((face.unit(own) * back).sum(1).mean())
    mirrored = face.joint_target((own, own[:, ::-1]), (own, own), np.arange(40), weight=0.0)
    np.testing.assert_allclose(mirrored, face.unit(face.unit(own) + face.unit(own[:, ::-1])), atol=1e-6)


def test_distortions_repeat_with_their_generator_and_stay_pictures() -> None:
    crops = np.random.default_rng(0).integers(0, 256, (6, 144, 144, 3), dtype=np.uint8)
    one, two = (face.distort(crops, torch.Generator().manual_seed(s)) for s in (1, 1))
    assert torch.equal(one, two) and not torch.equal(one, face.distort(crops, torch.Generator().manual_seed(2)))
    assert one.shape == (6, 3, 112, 112) and one.min() >= 0 and one.max() <= 255


@pytest.mark.slow
@pytest.mark.timeout(600)  # a minute on a quiet machine
def test_a_short_run_resumes_where_it_stopped(student: Path, tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    crops = random.integers(0, 256, (12, 144, 144, 3), dtype=np.uint8)
    rows, people = np.arange(12), np.repeat(np.arange(6), 2)
    targets = np.asarray(face.unit(random.normal(size=(12, 192))), np.float32)
    lesson = face.Lesson(crops=crops, targets=targets, people=people, train=rows, validate=rows)
    config = face.DistilConfig(steps=2, batch=4, every=1, warm_up=1)
    patch = pytest.MonkeyPatch()
    patch.setattr(face, "measure", lambda vectors, people: {})  # twelve pictures resolve no rate
    try:
        face.distil(GraphNet(student), lesson, config, normalise, tmp_path / "whole")
        short = face.DistilConfig(steps=2, batch=4, every=1, warm_up=1)
        stop = face.runs.log

        def power_cut(out: Path, row: dict[str, object]) -> None:
            stop(out, row)
            raise KeyboardInterrupt

        patch.setattr(face.runs, "log", power_cut)
        with pytest.raises(KeyboardInterrupt):
            face.distil(GraphNet(student), lesson, short, normalise, tmp_path / "parts")
        patch.setattr(face.runs, "log", stop)
        model = face.distil(GraphNet(student), lesson, short, normalise, tmp_path / "parts", resume=True)
    finally:
        patch.undo()
    whole, parts = (
        [{**json.loads(line), "seconds": 0} for line in (tmp_path / d / "log.jsonl").read_text().splitlines()]
        for d in ("whole", "parts")
    )
    assert [r["step"] for r in parts] == [1, 2] and whole == parts
    assert len(model.read_bytes()) > 4_000_000
