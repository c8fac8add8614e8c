"""Portraits from installed packages, LFW when EDGE_ONESHOT_DATA names it, and the shipped models, each loaded once."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from pictures import Lfw, collins_pixels, hopper_pixels, lfw_or_reason

from edge_oneshot.config import Config, DecisionConfig, ModelConfig
from edge_oneshot.gallery.store import Gallery
from edge_oneshot.model.bundle import Bundle, find_bundle, read_bundle
from edge_oneshot.recognition.compose import build_pipeline, build_rule
from edge_oneshot.recognition.pipeline import Pipeline
from edge_oneshot.recognition.recognizer import Recognizer

Pixels = NDArray[np.uint8]


@pytest.fixture(scope="session", autouse=True)
def data_home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """The folder of this user's data is one of this run, so that no test changes which bundles this user trusts."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_DATA_HOME", str(tmp_path_factory.mktemp("data")))
        patch.setenv("XDG_CONFIG_HOME", str(tmp_path_factory.mktemp("config")))
        patch.delenv("CREDENTIALS_DIRECTORY", raising=False)
        yield


@pytest.fixture(scope="session")
def collins() -> Pixels:
    """Eileen Collins, uint8 (512, 512, 3) RGB: one face."""
    return collins_pixels()


@pytest.fixture(scope="session")
def hopper() -> Pixels:
    """Grace Hopper, uint8 (600, 512, 3) RGB: one face."""
    return hopper_pixels()


@pytest.fixture(scope="session")
def portraits(collins: Pixels, hopper: Pixels) -> dict[str, Pixels]:
    return {"collins": collins, "hopper": hopper}


@pytest.fixture(scope="session")
def portrait_files(portraits: dict[str, Pixels], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """collins, hopper, both (side by side), nobody: picture files in a folder of this run."""
    from PIL import Image

    folder = tmp_path_factory.mktemp("portraits")
    c, h = portraits["collins"], portraits["hopper"][:512]
    pictures = {**portraits, "both": np.hstack([c, h]), "nobody": np.full((480, 640, 3), 90, np.uint8)}
    files = {}
    for name, pixels in pictures.items():
        files[name] = folder / f"{name}.png"
        Image.fromarray(pixels).save(files[name])
    return files


@pytest.fixture(scope="session")
def pipeline() -> Pipeline:
    """The shipped models in one thread, with the default quality gates."""
    return build_pipeline(Config(model=ModelConfig(threads=1)))


@pytest.fixture
def make_recognizer(pipeline: Pipeline, tmp_path: Path) -> Iterator[Callable[..., Recognizer]]:
    """make_recognizer(path, pipeline=…, **keys of [decision]): a recognizer on the gallery at `path`, closed after the test.

    Default: gallery.sqlite in tmp_path, the shared pipeline, the default threshold rule.
    """
    with ExitStack() as stack:

        def make(
            path: Path = tmp_path / "gallery.sqlite", *, pipeline: Pipeline = pipeline, **decision: float
        ) -> Recognizer:
            config = Config(decision=DecisionConfig(**decision))  # type: ignore[arg-type]
            rule = build_rule(config, pipeline.encoder)
            return stack.enter_context(Recognizer(pipeline, rule, Gallery(path)))

        yield make


@pytest.fixture
def recognizer(make_recognizer: Callable[..., Recognizer]) -> Recognizer:
    """A recognizer on an empty gallery of this test."""
    return make_recognizer()


@pytest.fixture(scope="session")
def encoder_bundle() -> Bundle:
    return read_bundle(find_bundle("", "encoder"))


@pytest.fixture(scope="session")
def detector_bundle() -> Bundle:
    return read_bundle(find_bundle("", "refiner"))


@pytest.fixture(scope="session")
def lfw() -> Iterator[Lfw]:
    """Labeled Faces in the Wild, sets 1-6. Skips, with the reason, where EDGE_ONESHOT_DATA names no folder with it."""
    found = lfw_or_reason()
    if isinstance(found, str):
        pytest.skip(found)
    yield found
    found.close()
