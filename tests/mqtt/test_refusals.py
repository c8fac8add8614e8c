"""A broker that refuses the connection or a publish, and unusable credentials."""

from __future__ import annotations

import logging
import socket
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from link_parts import CONNACK, MakeLink, empty, until
from mosquitto import Mosquitto, Subscriber, passwords
from mqtt_parts import QUICK, event, wait_until

from edge_oneshot.errors import ConfigError
from edge_oneshot.events.outbox import Outbox
from edge_oneshot.mqtt.link_state import LinkState


def test_a_wrong_password_is_logged_once_and_backs_off_to_the_maximum(
    make_broker: Callable[..., Mosquitto],
    tmp_path: Path,
    outbox: Outbox,
    make_link: MakeLink,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.DEBUG)
    secret = tmp_path / "password"
    secret.write_text("hunter-2-wrong\n")
    broker = make_broker(f"password_file {passwords(tmp_path / 'pw', daemon='right')}", anonymous=False).start()
    limits = replace(QUICK, backoff_base_s=1e-3, backoff_max_s=0.5)
    link = make_link(broker.port, username="daemon", password_file=str(secret), limits=limits)
    link.start()
    until(link, "refused")
    assert "Not authorized" in link.status().error or "Bad user name or password" in link.status().error
    outbox.events.commit(event())
    wait_until(
        lambda: broker.log().count("New client connected") + broker.log().count("not authorised") >= 3, "three attempts"
    )
    logged = [r for r in caplog.records if "correct the [mqtt] configuration" in r.message]
    assert len(logged) == 1 and logged[0].levelname == "ERROR"
    assert "hunter-2" not in caplog.text and "hunter-2" not in repr(link.status())
    secret.write_text("right\n")  # read again at each attempt
    until(link, "online")
    empty(outbox)


def test_the_password_may_be_a_systemd_credential(
    make_broker: Callable[..., Mosquitto], tmp_path: Path, make_link: MakeLink, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "credentials").mkdir()
    (tmp_path / "credentials" / "mqtt-password").write_text("right")
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path / "credentials"))
    broker = make_broker(f"password_file {passwords(tmp_path / 'pw', daemon='right')}", anonymous=False).start()
    link = make_link(broker.port, username="daemon", password_file="mqtt-password")
    link.start()
    until(link, "online")


@pytest.mark.parametrize(
    ("content", "expected"), [(None, "No such file"), ("", "got nothing"), ("\nsecond line", "got nothing")]
)
def test_an_unusable_password_file_is_a_configuration_error(
    tmp_path: Path, make_link: MakeLink, content: str | None, expected: str
) -> None:
    path = tmp_path / "password"
    if content is not None:
        path.write_text(content)
    with pytest.raises(ConfigError, match=expected):
        make_link(1, username="daemon", password_file=str(path)).start()


def test_a_publish_that_the_acl_refuses_is_kept_reported_and_sent_again(
    make_broker: Callable[..., Mosquitto],
    tmp_path: Path,
    outbox: Outbox,
    make_link: MakeLink,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """MQTT 5: mosquitto answers the QoS 1 publish with a PUBACK of reason 0x87."""
    acl, secret = tmp_path / "acl", tmp_path / "password"
    admin = "user admin\ntopic readwrite #\n"
    acl.write_text(
        f"user daemon\ntopic write edge-oneshot/porch/availability\ntopic write edge-oneshot/porch/event\n{admin}"
    )
    acl.chmod(0o600)
    secret.write_text("right")
    users = passwords(tmp_path / "pw", daemon="right", admin="a")
    broker = make_broker(f"acl_file {acl}\npassword_file {users}", anonymous=False).start()
    link = make_link(broker.port, username="daemon", password_file=str(secret))
    with Subscriber(broker.port, username="admin", password="a") as listener:
        link.start()
        refused, taken = event("match"), event("gone")
        outbox.events.commit(refused)
        outbox.events.commit(taken)
        link.wake()
        wait_until(lambda: link.status().refused_events == 1, "the refusal")
        wait_until(lambda: outbox.events.status().depth == 1, "the event behind it to be delivered all the same")
        assert link.status().refused_topics == {"edge-oneshot/porch/match/alice": "Not authorized"}
        assert [r.levelname for r in caplog.records if "refuses edge-oneshot/porch/match/alice" in r.message] == [
            "ERROR"
        ]
        assert not listener.on("/match/alice")
        acl.write_text(f"user daemon\ntopic readwrite edge-oneshot/#\n{admin}")
        broker.reload()
        assert listener.wait("/match/alice")[0].json["event_id"] == refused.event_id
        empty(outbox)
        wait_until(lambda: link.status().refused_topics == {}, "the end of the refusal")
        # The log topic had its copy at the first attempt; the second one repeats only the refused copy.
        assert [h.json["event_id"] for h in listener.on("/event")].count(refused.event_id) == 1


def test_two_clients_with_one_id_slow_down_and_report_the_likely_cause(
    broker: Mosquitto, outbox: Outbox, tmp_path: Path, make_link: MakeLink
) -> None:
    """mosquitto 2.0.11 closes the older connection without a reason."""
    limits = replace(QUICK, stable_s=60.0)
    other = Outbox(tmp_path / "other.sqlite")
    links = [make_link(broker.port, limits=limits), make_link(broker.port, limits=limits, box=other)]
    for link in links:
        link.start()
    wait_until(
        lambda: any("another client use this mqtt.client_id" in link.status().error for link in links), "the suspicion"
    )
    for link in links:
        link.stop()
    other.close()


def test_session_taken_over_is_permanent_where_the_broker_sends_the_reason(outbox: Outbox, make_link: MakeLink) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        link = make_link(server.getsockname()[1])
        link.start()
        peer, _ = server.accept()
        peer.recv(1024)
        peer.sendall(CONNACK + b"\xe0\x01\x8e")
        until(link, "refused")
        assert "Session taken over; another client uses this mqtt.client_id" in link.status().error
        link.stop()
        peer.close()


def test_the_list_of_refused_topics_is_bounded(outbox: Outbox) -> None:
    state = LinkState()
    for number in range(1000):
        state.set_refused_topic(f"edge-oneshot/porch/match/{number}", "Not authorized")
    refused = list(state.status(outbox.events.status()).refused_topics)
    assert len(refused) == 200 and refused[-1].endswith("/999")
