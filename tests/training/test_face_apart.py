"""Fine-tuning of the face encoder: the module computes what the runtime computes, and a short run is stopped and resumed."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="training needs PyTorch (extra: train)")

from converters.litert import interpreter  # noqa: E402
from training import runs  # noqa: E402
from training.face import apart  # noqa: E402
from training.face.distort import distort  # noqa: E402
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


def test_the_target_map_centres_strangers_and_shrinks_what_groups_share() -> None:
    random = np.random.default_rng(0)
    shared = np.eye(8)[:2] * 0.8  # each group has a direction of its own
    cells = [apart.unit(random.normal(size=(400, 8)) * 0.3 + shared[k]) for k in (0, 1)]
    everybody = np.concatenate(cells)

    def within(vectors: np.ndarray[tuple[int, ...], np.dtype[np.float64]]) -> float:
        return float(np.mean([vectors[i : i + 400] @ vectors[i : i + 400].T for i in (0, 400)]))

    centred, reduced = (apart.target_map(cells, everybody, share, 8)(everybody) for share in (0.0, 1.0))
    assert within(everybody) > within(centred) > within(reduced) + 0.05, "the score of strangers of one group falls"
    assert abs(within(reduced)) < 0.02
    np.testing.assert_allclose(np.linalg.norm(reduced, axis=1), 1, atol=1e-5)


def test_levelling_goes_into_the_last_layer(student: Path) -> None:
    net, pixels = GraphNet(student), torch.randn(40, 3, 112, 112, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        before = net(pixels).numpy()
        cells = [np.arange(0, 20), np.arange(20, 40)]
        apart.level(net, before, cells, 2, 1.0)
        after = net(pixels).numpy()
    length = np.linalg.norm(before, axis=1, keepdims=True)
    centre, between = apart.group_directions([(before / length)[c] for c in cells], 2)
    assert len(between) == 1, "two cells differ in one direction"
    expected = (before - centre * length.mean()) @ (np.eye(192) - between.T @ between)
    np.testing.assert_allclose(after, expected, atol=2e-3)


def test_two_networks_side_by_side_score_their_mean() -> None:
    random = np.random.default_rng(0)
    own, other = random.normal(size=(2, 3, 6)), random.normal(size=(2, 3, 4))
    vectors = apart.joined((own[0], own[1]), (other[0], other[1]))
    alone = [apart.unit(apart.unit(a[0]) + apart.unit(a[1])) for a in (own, other)]
    np.testing.assert_allclose(vectors @ vectors.T, (alone[0] @ alone[0].T + alone[1] @ alone[1].T) / 2, atol=1e-9)


def test_the_tail_computes_what_the_network_computes_and_starts_near_the_target(student: Path) -> None:
    net, pixels = GraphNet(student), torch.randn(6, 3, 112, 112, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        whole = net(pixels)
        cut = GraphNet(student)
        cut.graph.ops, cut.graph.outputs = cut.graph.ops[:39], [cut.graph.ops[38].output]
        shape = cut.graph.outputs[0].shape
        inner = cut(pixels).reshape(6, shape[3], *shape[1:3])
        tail = apart.Tail(net, 38)
        np.testing.assert_allclose(tail(inner.permute(0, 2, 3, 1)).numpy(), whole.numpy(), atol=1e-3)
        turned = apart.unit(whole.numpy()[:, ::-1])
        apart.start_near(tail, whole.numpy(), turned, ridge=1e-6)
        np.testing.assert_allclose(apart.unit(net(pixels).numpy()), turned, atol=1e-2)


def test_distortions_repeat_with_their_generator_and_stay_pictures() -> None:
    crops = np.random.default_rng(0).integers(0, 256, (6, 144, 144, 3), dtype=np.uint8)
    one, two = (distort(crops, torch.Generator().manual_seed(s)) for s in (1, 1))
    assert torch.equal(one, two) and not torch.equal(one, distort(crops, torch.Generator().manual_seed(2)))
    assert one.shape == (6, 3, 112, 112) and one.min() >= 0 and one.max() <= 255


@pytest.mark.slow
@pytest.mark.timeout(600)  # a minute on a quiet machine
def test_a_short_run_resumes_where_it_stopped(student: Path, tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    lesson = apart.Lesson(
        activations=random.normal(size=(60, 3, 14, 14, 128)).astype(np.float16),
        targets=np.asarray(apart.unit(random.normal(size=(60, 192))), np.float32),
        weights=np.full(60, 1 / 60),
    )
    config = apart.ApartConfig(steps=2, batch=4, every=1, warm_up=1)
    patch = pytest.MonkeyPatch()
    try:
        apart.train(apart.Tail(GraphNet(student), 38), lesson, config, tmp_path / "whole")
        stop = runs.log

        def power_cut(out: Path, row: dict[str, object]) -> None:
            stop(out, row)
            raise KeyboardInterrupt

        patch.setattr(runs, "log", power_cut)
        with pytest.raises(KeyboardInterrupt):
            apart.train(apart.Tail(GraphNet(student), 38), lesson, config, tmp_path / "parts")
        patch.setattr(runs, "log", stop)
        model = apart.train(apart.Tail(GraphNet(student), 38), lesson, config, tmp_path / "parts", resume=True)
    finally:
        patch.undo()
    whole, parts = (
        [{**json.loads(line), "seconds": 0} for line in (tmp_path / d / "log.jsonl").read_text().splitlines()]
        for d in ("whole", "parts")
    )
    assert [r["step"] for r in parts] == [1, 2] and whole == parts
    assert len(model.read_bytes()) > 4_000_000
