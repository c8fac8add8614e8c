"""Retained topics of an earlier configuration: the device empties what is no longer its own."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from mosquitto import Mosquitto, Subscriber
from mqtt_parts import QUICK, wait_until

from edge_oneshot.cli import cli
from edge_oneshot.config import MqttConfig, parse_config
from edge_oneshot.errors import ConfigError
from edge_oneshot.events.outbox import Outbox
from edge_oneshot.mqtt.client import MqttLink
from edge_oneshot.mqtt.homeassistant import HomeAssistant
from edge_oneshot.mqtt.payloads import Presence
from edge_oneshot.mqtt.publisher import StatePublisher
from edge_oneshot.service.reporter import Reporter


def run_once(broker: Mosquitto, folder: Path, device: str, people: dict[str, str], **keys: Any) -> None:
    """A daemon's life: it connects, publishes its states, and stops."""
    box = Outbox(folder / "outbox-default.sqlite")
    config = MqttConfig(host="127.0.0.1", port=broker.port, **keys)
    link = MqttLink(config, device, box, limits=QUICK)
    home = None
    if config.discovery != "off":
        home = HomeAssistant(link, box.notes, config.discovery, config.discovery_prefix, "Porch", "0.1.0")
    link.publish_with(StatePublisher(link, home))
    link.start()
    Reporter(box.events, link).people(people)
    now = datetime.now(UTC)
    link.post(Presence(identities=tuple(people), unknown=0, since=now, ts=now))
    with Subscriber(broker.port, f"{config.prefix}/{device}/presence") as listener:
        listener.wait("/presence")
    wait_until(lambda: link.status_now == "online" and not link._states.waiting, "all states to be sent")
    link.stop()
    box.close()


def kept(broker: Mosquitto) -> set[str]:
    with Subscriber(broker.port) as latecomer:
        time.sleep(0.3)
        return {h.topic for h in latecomer.heard if h.payload and h.retain}


ALICE = ("person/alice/state", "person/alice/seen")
BEFORE = {"discovery": "device", "prefix": "edge-oneshot", "discovery_prefix": "homeassistant"}


@pytest.mark.parametrize(
    ("device", "change"),
    [
        ("door", {}),
        ("porch", {"prefix": "house"}),
        ("porch", {"discovery_prefix": "ha"}),
        ("porch", {"discovery": "component"}),
        ("porch", {"discovery": "off"}),
        ("door", {"prefix": "house", "discovery_prefix": "ha"}),
    ],
    ids=["slug", "prefix", "discovery-prefix", "mode", "off", "all"],
)
def test_a_changed_configuration_leaves_nothing_behind(
    broker: Mosquitto, tmp_path: Path, device: str, change: dict[str, str]
) -> None:
    """bob is forgotten at the same time: his name must not stay at the broker."""
    run_once(broker, tmp_path, "porch", {"alice": "Alice", "bob": "Bob"}, **BEFORE)
    assert {"edge-oneshot/porch/availability", "edge-oneshot/porch/person/bob/state"} < kept(broker)
    keys = BEFORE | change
    run_once(broker, tmp_path, device, {"alice": "Alice"}, **keys)
    base, node = f"{keys['prefix']}/{device}", f"edge_oneshot_{device}"
    left = kept(broker)
    discovery = {t for t in left if t.endswith("/config")}
    assert left - discovery == {f"{base}/{t}" for t in ("availability", "presence", *ALICE)}
    assert bool(discovery) == (keys["discovery"] != "off") and not any("bob" in t for t in left)
    assert all(t.startswith(f"{keys['discovery_prefix']}/") and f"/{node}/" in t for t in discovery)


def test_the_topics_of_a_slug_that_returns_are_kept(broker: Mosquitto, tmp_path: Path) -> None:
    for device in ("porch", "door", "porch"):
        run_once(broker, tmp_path, device, {"alice": "Alice"})
    assert kept(broker) == {f"edge-oneshot/porch/{t}" for t in ("availability", "presence", *ALICE)}


def test_unpublish_finds_the_topics_of_an_earlier_configuration(broker: Mosquitto, tmp_path: Path) -> None:
    run_once(broker, tmp_path, "porch", {"alice": "Alice"}, **BEFORE)
    config = tmp_path / "default.toml"
    config.write_text(
        f'[device]\nslug = "door"\nstate_dir = "{tmp_path}"\n'
        f'[mqtt]\nhost = "127.0.0.1"\nport = {broker.port}\nprefix = "house"\ndiscovery_prefix = "ha"\n'
    )
    done = CliRunner().invoke(cli, ["--config", str(config), "mqtt", "unpublish"])
    assert done.exit_code == 0, done.output
    assert kept(broker) == set()
    box = Outbox(tmp_path / "outbox-default.sqlite")
    assert box.topics.retained() == []
    box.close()


def test_states_and_discovery_need_prefixes_of_their_own() -> None:
    """HomeAssistant empties what it did not announce below the discovery prefix: those would be the states."""
    with pytest.raises(ConfigError) as caught:
        parse_config({"mqtt": {"prefix": "homeassistant"}})
    assert "mqtt.discovery_prefix" in str(caught.value)
