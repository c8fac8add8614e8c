"""The interpreter: errors, copies of the results, and the same result for any number of threads."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from pictures import Pixels, frame

from edge_oneshot.errors import ModelError
from edge_oneshot.model import runtime
from edge_oneshot.model.bundle import Bundle
from edge_oneshot.model.encoder import TwinEncoder
from edge_oneshot.model.runtime import Runtime
from edge_oneshot.recognition.pipeline import Pipeline
from edge_oneshot.types import Chip


def random_chip(seed: int) -> Chip:
    return Chip(
        pixels=np.random.default_rng(seed).integers(0, 256, (112, 112, 3)).astype(np.uint8), transform=np.eye(2, 3)
    )


def test_tensors_are_described(encoder_bundle: Bundle) -> None:
    model = Runtime(encoder_bundle.model, "x")
    assert model.name in runtime.RUNTIMES
    (tensor,) = model.inputs
    assert (tensor.shape, tensor.dtype, tensor.scale, tensor.zero_point) == ((1, 112, 112, 3), np.int8, 1.0, -128)


@pytest.mark.parametrize("model", [b"", b"no model at all", b"\x1c\0\0\0TFL3" + b"\0" * 100])
def test_bytes_that_are_not_a_model(model: bytes) -> None:
    with pytest.raises(ModelError, match=r"face\.tflite: .* cannot load the model"):
        Runtime(model, "face.tflite")


def test_a_missing_runtime_gets_the_install_command(encoder_bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runtime, "RUNTIMES", {"litert": "no_such_module_a", "tflite": "no_such_module_b"})
    with pytest.raises(
        ModelError, match=r"cannot import a TFLite runtime: litert: .*no_such_module_a.*; tflite: "
    ) as caught:
        Runtime(encoder_bundle.model, "x")
    assert caught.value.hint.endswith("-m pip install 'ai-edge-litert>=2.1'")


def test_a_result_is_a_copy_that_the_next_invoke_does_not_change(encoder_bundle: Bundle) -> None:
    model = Runtime(encoder_bundle.model, "x")
    (first,) = model.invoke(random_chip(1).pixels[None].view(np.int8))
    kept = first.copy()
    (second,) = model.invoke(random_chip(2).pixels[None].view(np.int8))
    assert (first == kept).all()
    assert (first != second).any()


def test_a_view_of_a_result_is_dropped_before_the_next_run(encoder_bundle: Bundle) -> None:
    model, chip = Runtime(encoder_bundle.model, "x"), random_chip(1).pixels
    (copy,) = model.invoke(chip[None].view(np.int8))
    model.input()[0] = chip.view(np.int8)
    (view,) = model.invoke(None)
    assert np.array_equal(view, copy) and not view.flags.owndata
    with pytest.raises(RuntimeError, match="reference to internal data"):
        model.invoke(None)
    del view
    model.invoke(None)


def test_the_number_of_threads_does_not_change_the_result(encoder_bundle: Bundle) -> None:
    one, two = (TwinEncoder(encoder_bundle, threads=n) for n in (1, 2))
    for seed in range(3):
        assert (one.encode(random_chip(seed)).vector == two.encode(random_chip(seed)).vector).all()


def test_an_embedding_has_unit_norm_and_an_encoder_id(encoder_bundle: Bundle) -> None:
    embedding = TwinEncoder(encoder_bundle).encode(random_chip(1))
    assert np.linalg.norm(embedding.vector) == pytest.approx(1.0, abs=1e-5)
    assert embedding.vector.dtype == np.float32
    assert embedding.encoder_id == encoder_bundle.encoder_id


def test_a_chip_of_another_size_is_refused(pipeline: Pipeline) -> None:
    with pytest.raises(ValueError, match=r"pixels: expected \(112, 112, 3\), got \(96, 96, 3\)"):
        pipeline.encoder.encode(Chip(pixels=np.zeros((96, 96, 3), np.uint8), transform=np.eye(2, 3)))


def test_the_same_frame_gives_the_same_embedding_after_another_frame(
    pipeline: Pipeline, collins: Pixels, hopper: Pixels
) -> None:
    def vector(pixels: Pixels) -> np.ndarray:
        return pipeline.encode(pipeline.samples(frame(pixels))[0]).vector

    first = vector(collins)
    vector(hopper)
    assert (vector(collins) == first).all()


def test_threads_that_load_models_keep_standard_error(encoder_bundle: Bundle) -> None:
    """`evaluate --workers 2` loads the models in each thread, and prints its progress to standard error afterwards."""
    before = os.fstat(2)

    def load(_: int) -> None:
        for _ in range(10):
            Runtime(encoder_bundle.model, "x")

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(load, range(4)))
    after = os.fstat(2)
    assert (after.st_dev, after.st_ino) == (before.st_dev, before.st_ino)
