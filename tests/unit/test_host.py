"""mqtt.host: a name or an address, and for everything else the fault says what was probably meant."""

from __future__ import annotations

import dataclasses

import pytest
from click.testing import CliRunner

from edge_oneshot.cli import cli
from edge_oneshot.config import MqttConfig, parse_config
from edge_oneshot.errors import BrokerUnreachable, ConfigError
from edge_oneshot.mqtt.subscriber import Subscriber
from edge_oneshot.mqtt.walk import walk


@pytest.mark.parametrize(
    "host",
    [
        "localhost",
        "broker.example",
        "broker.example.",
        "192.168.1.5",
        "::1",
        "fe80::1%eth0",
        "my_broker",
        "xn--bcher-kva.example",
        "a",
        "3com.example",
    ],
)
def test_names_and_addresses(host: str) -> None:
    assert parse_config({"mqtt": {"host": host}}).mqtt.host == host


@pytest.mark.parametrize(
    ("host", "advice"),
    [
        ("mqtt://localhost", "without mqtt://"),
        ("mqtts://broker:8883", "tls = true"),
        ("192.168.1.5:1883", "write 192.168.1.5, and mqtt.port = 1883"),
        ("broker:1883", "mqtt.port = 1883"),
        ("[::1]", "without brackets"),
        ("[::1]:1883", "without brackets"),
        (" localhost ", "remove the spaces"),
        ("localhost\n", "remove the spaces"),
        ("me:secret@broker", "mqtt.password_file"),
        ("mqtt://me:secret@broker", "without mqtt://"),
        ("", ""),
        (" ", ""),
        ("a b", ""),
        ("a..b", ""),
        ("-a", ""),
        ("x" * 64, ""),
        ("a." * 127 + "b", ""),
        ("192.168.1", ""),
        ("300.1.1.1", ""),
        ("a\x00b", ""),
        ("bücher.example", ""),
        ("host/path", ""),
    ],
)
def test_everything_else_is_a_fault(host: str, advice: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_config({"mqtt": {"host": host}})
    (fault,) = caught.value.faults
    assert fault.startswith("mqtt.host: expected a host name or an IP address") and advice in fault
    assert "secret" not in str(caught.value)
    done = CliRunner().invoke(cli, ["listen", "--host", host])
    assert done.exit_code == 2 and "secret" not in done.output


@pytest.mark.parametrize("host", ["x" * 64, "a..b", ""])
def test_a_name_that_cannot_be_looked_up_is_an_answer(host: str) -> None:
    """A host that came past the configuration: the resolver raises UnicodeError, paho ValueError."""
    config = dataclasses.replace(MqttConfig(), host=host)
    with pytest.raises(BrokerUnreachable):
        Subscriber(config, ["x"], lambda m: None, "t").connect()
    (step,) = walk(config, "porch")
    assert step.ok is False
