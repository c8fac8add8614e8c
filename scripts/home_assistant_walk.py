"""Check the discovery messages with a real Home Assistant: its entities, its triggers, and what fires or disappears.

Starts mosquitto, the MQTT link, and Home Assistant (scripts/home_assistant_inside.py, in a virtual environment of its own).
The steps are enroll, match, late match, retained match, forget, a restart of Home Assistant, and unpublish, in both modes.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "tests" / "mqtt")]

from mosquitto import Mosquitto  # noqa: E402
from mqtt_parts import ENCODER, SetClock  # noqa: E402

from edge_oneshot.config import MqttConfig  # noqa: E402
from edge_oneshot.events.outbox import Outbox  # noqa: E402
from edge_oneshot.mqtt.client import MqttLink  # noqa: E402
from edge_oneshot.mqtt.homeassistant import HomeAssistant  # noqa: E402
from edge_oneshot.mqtt.payloads import Health, Presence  # noqa: E402
from edge_oneshot.mqtt.unpublish import unpublish  # noqa: E402


class Inside:
    """The Home Assistant process."""

    def __init__(self, python: Path, config_dir: Path, port: int) -> None:
        config_dir.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / "deploy" / "examples" / "home-assistant-door.yaml", config_dir / "door.yaml")
        (config_dir / "configuration.yaml").write_text(
            "logger:\n  default: warning\nautomation: !include automations.yaml\n"
        )
        (config_dir / "automations.yaml").write_text("[]\n")
        self.log = config_dir / "ha.log"
        command = [python, ROOT / "scripts" / "home_assistant_inside.py", config_dir, str(port)]
        with (config_dir / "stderr").open("w") as errors:
            self._process = subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors, text=True
            )
        self.started = self._read()

    def ask(self, word: str) -> Any:
        assert self._process.stdin is not None
        self._process.stdin.write(word + "\n")
        self._process.stdin.flush()
        return self._read()

    def _read(self) -> Any:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            if line.startswith(("{", "[", '"')) or line.strip().isdigit():
                return json.loads(line)
        raise SystemExit(f"Home Assistant ended:\n{(self.log.parent / 'stderr').read_text()[-3000:]}")

    def until(self, word: str, good: Callable[[Any], bool]) -> Any:
        """Ask until the answer is good, for at most 20 s. Returns the last answer."""
        end = time.monotonic() + 20
        while not good(answer := self.ask(word)) and time.monotonic() < end:
            time.sleep(0.2)
        return answer

    def stop(self) -> None:
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.write("quit\n")
        self._process.stdin.close()
        self._process.wait(60)
        self._process.stdout.close()


class Walk:
    """The checks, and their lines in the report."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.failed = 0

    def check(self, what: str, ok: bool, seen: Any = "") -> None:
        self.failed += not ok
        self.lines.append(f"| {what} | {'yes' if ok else f'**NO**: {seen}'} |")
        print(f"{'ok  ' if ok else 'FAIL'} {what} {'' if ok else seen}", file=sys.stderr, flush=True)

    def show(self, title: str, found: Any) -> None:
        rows = [f"{k}: {v}" for k, v in found.items()] if isinstance(found, dict) else list(found)
        self.lines.append(f"\n{title}:\n\n```\n" + "\n".join(rows) + "\n```\n\n| | |\n|---|---|")


class Porch:
    """The daemon's side: a broker, an outbox, the MQTT link and the discovery, with a clock that the checks set."""

    def __init__(self, folder: Path, mode: str) -> None:
        self.broker = Mosquitto(folder / "broker").start()
        self.clock = SetClock()
        self.outbox = Outbox(folder / "outbox.sqlite", clock=self.clock)
        self.config = MqttConfig(host="127.0.0.1", port=self.broker.port)
        self.link = MqttLink(self.config, "porch", self.outbox, clock=self.clock)
        self.discovery = HomeAssistant(self.link, mode, "homeassistant", "Porch camera", "0.1.0")
        self.now = datetime.now(UTC)
        self.link.start()

    def people(self, names: dict[str, str], present: set[str]) -> None:
        link = self.link
        self.discovery.announce(names)
        for identity in names:
            link.set_state(link.topics.person_state(identity), "ON" if identity in present else "OFF")
        presence = Presence(identities=tuple(present), unknown=0, since=self.now, ts=self.now)
        link.set_state(link.topics.presence, presence.message())

    def health(self) -> None:
        health = Health(
            state="running",
            fps=9.7,
            stages_ms={},
            camera_age_s=0.1,
            temperature_c=51.5,
            throttled=0,
            rss_bytes=1,
            uptime_s=1.0,
            outbox_depth=0,
            outbox_oldest_age_s=None,
            outbox_dropped=0,
            outbox_refused=0,
            outbox_fault="",
            refused_topics={},
            encoder_id=ENCODER,
            identities=1,
            templates=1,
            ts=self.now,
        )
        self.link.set_state(self.link.topics.health, health.message())

    def event(self, kind: str, late: bool = False, **body: Any) -> None:
        """Publish an event that is fresh by the wall clock of this machine, which Home Assistant uses too."""
        clock = self.clock
        clock.forward = (datetime.now(UTC) - clock().wall).total_seconds() + clock.forward
        e = clock.event(kind, **body)
        if late:
            clock.forward += 3.0
        self.outbox.commit(e)
        self.link.wake()
        while self.outbox.status().depth:
            time.sleep(0.02)


def walk(python: Path, folder: Path, mode: str, out: Walk) -> str:
    """All checks in one discovery mode. Returns Home Assistant's version."""
    porch = Porch(folder, mode)
    porch.people({"alice": "Alice"}, set())
    porch.health()
    inside = Inside(python, folder / "ha", porch.broker.port)
    version = str(inside.started["version"])
    out.lines.append(f'\n## discovery = "{mode}"\n\n| | |\n|---|---|')
    check_start(inside, out)
    check_enrollment(porch, inside, out)
    check_events(porch, inside, out)
    check_forget(porch, inside, out)
    inside.stop()
    inside = Inside(python, folder / "ha2", porch.broker.port)
    check_restart(porch, inside, out)
    inside.stop()
    lines = [
        line
        for n in ("ha", "ha2")
        for line in (folder / n / "ha.log").read_text().splitlines()
        if "mqtt" in line.lower()
    ]
    complaints = [line for line in lines if " ERROR " in line or " WARNING " in line]
    out.check("Home Assistant's log has no error or warning about MQTT", not complaints, complaints[:3])
    porch.broker.stop()
    porch.outbox.close()
    return version


def check_start(inside: Inside, out: Walk) -> None:
    out.check("the config flow accepts the broker", inside.started["flow"].endswith("create_entry"), inside.started)
    expected = {"off", "9.7", "51.5", "running"}
    found = inside.until(
        "entities", lambda e: expected <= set(e.values()) and e.get("binary_sensor.porch_camera_alice") == "off"
    )
    out.check("Alice has an entity before her first match", any(e.endswith("_alice") for e in found), found)
    out.check("and a trigger", inside.until("triggers", bool) == ["match Alice"], inside.ask("triggers"))
    out.check("her state and the health of the device are shown", expected <= set(found.values()), found)
    out.show("Entities after the start", found)


def check_enrollment(porch: Porch, inside: Inside, out: Walk) -> None:
    porch.people({"alice": "Alice", "zoe": "Zoë"}, {"alice"})
    found = inside.until("entities", lambda e: any(x.endswith("_zoe") for x in e) and "on" in e.values())
    out.check("Zoë has an entity after her enrollment", any(x.endswith("_zoe") for x in found), found)
    out.check("Alice's presence is on", [v for k, v in found.items() if k.endswith("_alice")] == ["on"], found)
    both = inside.until("triggers", lambda t: len(t) == 2)
    out.check("both triggers can be armed", both == ["match Alice", "match Zoë"] and inside.ask("arm") == 2, both)


def check_events(porch: Porch, inside: Inside, out: Walk) -> None:
    porch.event("match")
    out.check("a fresh match fires Alice's trigger once", inside.until("fired", bool) == ["match Alice"])
    opened = inside.until("opened", bool)
    out.check("and the example automation opens the door", opened == [["lock.front_door"]], opened)
    found = inside.until("entities", lambda e: "match" in e.values())
    out.check("the event entity shows match", "match" in found.values(), found)
    out.check("the last person is Alice", "Alice" in found.values(), found)
    time.sleep(6.0)  # the automation's own pause
    porch.event("match", late=True)
    time.sleep(1.0)
    fired = inside.ask("fired")
    out.check("a late match fires no trigger", fired == [], fired)
    porch.clock.synced = False
    porch.event("match")
    porch.clock.synced = True
    time.sleep(1.0)
    fired = inside.ask("fired")
    out.check("a match by an unsynchronised clock fires no trigger", fired == [], fired)
    opened = inside.ask("opened")
    out.check("and the door stays shut on both", opened == [], opened)
    porch.event("gone")
    found = inside.until("entities", lambda e: e.get("event.porch_camera_event") == "gone")
    out.check("the event entity shows gone", found.get("event.porch_camera_event") == "gone", found)


def check_forget(porch: Porch, inside: Inside, out: Walk) -> None:
    porch.people({"zoe": "Zoë"}, set())
    porch.link.clear_state(porch.link.topics.person_state("alice"))
    found = inside.until("entities", lambda e: not any(x.endswith("_alice") for x in e))
    out.check("forget removes Alice's entity from the registry", not any(x.endswith("_alice") for x in found), found)
    left = inside.until("triggers", lambda t: len(t) == 1)
    out.check("and her trigger", left == ["match Zoë"], left)


def check_restart(porch: Porch, inside: Inside, out: Walk) -> None:
    found = inside.until("entities", lambda e: any(x.endswith("_zoe") for x in e))
    names = {x.rsplit("_", 1)[1] for x in found}
    out.check("a new Home Assistant finds Zoë and not Alice", "zoe" in names and "alice" not in names, found)
    inside.ask("arm")
    out.check("and retained messages fire no trigger", inside.ask("fired") == [])
    porch.link.stop()
    found = inside.until("entities", lambda e: set(e.values()) == {"unavailable"})
    out.check("offline makes every entity unavailable", set(found.values()) == {"unavailable"}, found)
    unpublish(porch.config, "porch")
    found = inside.until("entities", lambda e: not e)
    out.check("mqtt unpublish leaves no entity and no trigger", not found and inside.ask("triggers") == [], found)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--python", type=Path, required=True, help="python of a virtual environment with homeassistant")
    parser.add_argument("--out", type=Path, default=ROOT / "benchmarks" / "homeassistant.md")
    options = parser.parse_args()
    out = Walk()
    with tempfile.TemporaryDirectory() as folder:
        for mode in ("device", "component"):
            version = walk(options.python, Path(folder) / mode, mode, out)
    head = f"""# Home Assistant {version}

Written by `scripts/home-assistant` on {datetime.now(UTC):%Y-%m-%d}: the discovery messages in a real Home Assistant, with a
real mosquitto and the daemon's MQTT link."""
    options.out.write_text(head + "\n" + "\n".join(out.lines) + "\n")
    return 1 if out.failed else 0


if __name__ == "__main__":
    sys.exit(main())
