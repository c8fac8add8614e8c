"""Brokers, outboxes and links that end with the test, and a check that no test leaves a thread behind."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from mosquitto import Mosquitto
from mqtt_parts import QUICK, wait_until

from edge_oneshot.config import MqttConfig
from edge_oneshot.events.outbox import Outbox
from edge_oneshot.mqtt.client import MqttLink
from edge_oneshot.mqtt.shared import Limits


@pytest.fixture(autouse=True)
def no_thread_is_left() -> Iterator[None]:
    before = set(threading.enumerate())
    yield
    wait_until(
        lambda: not [t for t in threading.enumerate() if t not in before and t.is_alive()],
        "threads of this test to end",
        15,
    )


@pytest.fixture
def make_broker(tmp_path: Path) -> Iterator[Callable[..., Mosquitto]]:
    with ExitStack() as stack:

        def make(config: str = "", **options: Any) -> Mosquitto:
            broker = Mosquitto(tmp_path / "broker", config, **options)
            stack.callback(broker.stop)
            return broker

        yield make


@pytest.fixture
def broker(make_broker: Callable[..., Mosquitto]) -> Mosquitto:
    return make_broker().start()


@pytest.fixture
def outbox(tmp_path: Path) -> Iterator[Outbox]:
    box = Outbox(tmp_path / "outbox.sqlite")
    yield box
    box.close()


@pytest.fixture
def make_link(outbox: Outbox) -> Iterator[Callable[..., MqttLink]]:
    """make_link(port, limits=…, sign=…, **keys of [mqtt]); the link is not started."""
    with ExitStack() as stack:

        def make(
            port: int, limits: Limits = QUICK, box: Outbox = outbox, clock: Any = None, sign: Any = None, **config: Any
        ) -> MqttLink:
            extra = {"clock": clock} if clock else {}
            link = MqttLink(
                MqttConfig(host="127.0.0.1", port=port, **config), "porch", box, limits=limits, sign=sign, **extra
            )
            stack.callback(link.stop)
            return link

        yield make
