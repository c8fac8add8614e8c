"""`edge-oneshot listen` as a process, against a real broker."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

from mosquitto import Mosquitto, passwords
from mqtt_parts import event, wait_until

from edge_oneshot.events.outbox import Outbox
from edge_oneshot.mqtt.client import MqttLink
from edge_oneshot.mqtt.payloads import Presence

MakeLink = Callable[..., MqttLink]


def listen(port: int, *options: str) -> subprocess.Popen[str]:
    # A shell starts background jobs with SIGINT ignored, and the processes of this test would inherit that.
    code = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler); from edge_oneshot.cli import main; main()"
    command = [sys.executable, "-c", code, "listen", "--host", "127.0.0.1", "--port", str(port), *options]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def subscribed(broker: Mosquitto) -> None:
    wait_until(lambda: "SUBACK to edge-oneshot-listen" in broker.log(), "the subscription")


def test_lines_count_and_marks(broker: Mosquitto, outbox: Outbox, make_link: MakeLink) -> None:
    link = make_link(broker.port)
    link.start()
    process = listen(broker.port, "--count", "3")
    subscribed(broker)
    for e in (event("match", name="Al\x1b[2Jice"), event("match", ago_s=60), event("unknown")):
        outbox.events.commit(e)
    link.wake()
    out, err = process.communicate(timeout=60)
    first, second, third = out.splitlines()
    assert process.returncode == 0 and err == ""
    assert "porch match alice" in first and "score 0.71 margin +0.19" in first and "\x1b" not in out
    assert "late, expired" in second and "late" not in first
    assert "porch unknown score 0.30 margin -0.22" in third


def test_json_lines_are_the_payloads_as_they_came(broker: Mosquitto, outbox: Outbox, make_link: MakeLink) -> None:
    link = make_link(broker.port)
    link.start()
    process = listen(broker.port, "--json", "--count", "2")
    subscribed(broker)
    made = [event("enrolled"), event("gone")]
    for e in made:
        outbox.events.commit(e)
    link.wake()
    out, _ = process.communicate(timeout=60)
    assert [json.loads(line)["event_id"] for line in out.splitlines()] == [e.event_id for e in made]
    assert '"name":"Zoë"' in out  # compact, as it was sent: a signature would be valid


def test_too_few_events_are_an_error_with_its_fix(broker: Mosquitto) -> None:
    process = listen(broker.port, "--count", "1", "--timeout", "0.5")
    out, err = process.communicate(timeout=60)
    assert process.returncode == 1 and out == "" and "expected 1 events within 0.5 s, got 0" in err and "fix:" in err


def test_refusal_and_absence_are_one_line_and_a_fix(make_broker: Callable[..., Mosquitto], tmp_path: Path) -> None:
    broker = make_broker(f"password_file {passwords(tmp_path / 'pw', me='right')}", anonymous=False)
    _, err = listen(broker.port).communicate(timeout=60)
    assert "cannot be reached" in err and "Traceback" not in err
    broker.start()
    _, err = listen(broker.port).communicate(timeout=60)
    assert "Not authorized" in err and "mqtt.username" in err and "Traceback" not in err
    (tmp_path / "p").write_text("right\n")
    process = listen(broker.port, "--username", "me", "--password-file", str(tmp_path / "p"), "--timeout", "0.2")
    assert process.communicate(timeout=60) == ("", "") and process.returncode == 0


def test_ctrl_c_ends_it_without_a_traceback_and_a_restarted_broker_does_not(
    broker: Mosquitto, outbox: Outbox, make_link: MakeLink
) -> None:
    link = make_link(broker.port)
    link.start()
    process = listen(broker.port)
    subscribed(broker)
    before = broker.log().count("SUBACK to edge-oneshot-listen")
    broker.restart()
    wait_until(lambda: broker.log().count("SUBACK to edge-oneshot-listen") > before, "its return")
    outbox.events.commit(event())
    link.wake()
    assert process.stdout is not None
    assert "porch match alice" in process.stdout.readline()
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 0 and "Traceback" not in err and "connection lost" in err


def test_live_shows_a_row_per_device(broker: Mosquitto, outbox: Outbox, make_link: MakeLink) -> None:
    link = make_link(broker.port)
    now = datetime.now(UTC)
    link.set_state(link.topics.presence, Presence(identities=("alice",), unknown=2, since=now, ts=now).message())
    link.start()
    process = listen(broker.port, "--live", "--count", "1")
    subscribed(broker)
    outbox.events.commit(event())
    link.wake()
    out, err = process.communicate(timeout=60)
    assert process.returncode == 0, err
    head, row = out.splitlines()[-2:]
    assert head.split()[:2] == ["device", "state"]
    assert row.startswith("porch") and "online" in row and "alice, 2 unknown" in row and "match alice 0.71" in row
