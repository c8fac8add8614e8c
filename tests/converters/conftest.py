"""The real network, if EDGE_ONESHOT_DATA names the folder with the data."""

from __future__ import annotations

import os
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def data() -> Path:
    folder = os.environ.get("EDGE_ONESHOT_DATA")
    if not folder:
        pytest.skip("EDGE_ONESHOT_DATA is not set: it names the folder with weights/ and lfw_dev.tar")
    return Path(folder)


@pytest.fixture(scope="session")
def mobilefacenet(data: Path) -> Path:
    return data / "weights" / "mobilefacenet_float.tflite"
