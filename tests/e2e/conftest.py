"""A real mosquitto, or a skip with the reason; CI must have it. No test may leave a process or a thread behind."""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from waiting import wait_until

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "mqtt"))

from device import Device
from mosquitto import MOSQUITTO, Mosquitto, Subscriber

from edge_oneshot.cameras.decoder import close_idle


@pytest.fixture
def short_path() -> Iterator[Path]:
    """A folder with a short path: the path of a socket has at most 107 bytes."""
    with tempfile.TemporaryDirectory(prefix="eo-") as folder:
        yield Path(folder)


@pytest.fixture
def broker(short_path: Path) -> Iterator[Mosquitto]:
    if not Path(MOSQUITTO).exists() and shutil.which("mosquitto") is None:
        if os.environ.get("CI") == "true":
            pytest.fail("mosquitto is missing; CI needs it: apt-get install mosquitto")
        pytest.skip("mosquitto is not installed: apt-get install mosquitto")
    process = Mosquitto(short_path / "broker").start()
    yield process
    process.stop()


@pytest.fixture
def subscriber(broker: Mosquitto) -> Iterator[Subscriber]:
    with Subscriber(broker.port) as hears:
        yield hears


@pytest.fixture
def make_device(short_path: Path, broker: Mosquitto) -> Iterator[Callable[..., Device]]:
    with ExitStack() as stack:

        def make(**options: Any) -> Device:
            return stack.enter_context(Device(short_path, broker.port, **options))

        yield make


@pytest.fixture(autouse=True)
def nothing_is_left() -> Iterator[None]:
    threads = set(threading.enumerate())
    yield
    wait_until(
        lambda: not [t for t in threading.enumerate() if t not in threads and t.is_alive()],
        "threads of this test to end",
        15,
    )
    close_idle()  # those that decoded a file of an earlier test
    me = os.getpid()
    children = [p.name for p in Path("/proc").glob("[0-9]*") if _parent(p) == me]
    assert children == [], f"processes left behind: {children}"


def _parent(process: Path) -> int:
    try:
        return int((process / "stat").read_text().rpartition(")")[2].split()[1])
    except (OSError, IndexError, ValueError):
        return 0
