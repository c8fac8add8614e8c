"""Both sides of the check with a real Home Assistant: its process, and the daemon's broker, outbox, link and discovery."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
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
from edge_oneshot.mqtt.payloads import Health, Presence, iso  # noqa: E402

PREFIX = "homeassistant"
# What a user would choose in the form of each blueprint.
BLUEPRINTS = """
- id: edge_oneshot_notify
  alias: Notify
  use_blueprint:
    path: edge-oneshot/notify.yaml
    input:
      people: alice
      unknown: true
      pause: 0
      notify:
        - action: notify.phone
          data: {message: "{{ message }}"}
- id: edge_oneshot_back_door
  alias: Back door
  use_blueprint:
    path: edge-oneshot/door.yaml
    input:
      identity: alice
      factor:
        - trigger: event
          event_type: tag_scanned
          event_data: {tag_id: alice-back-door}
      open:
        - action: lock.unlock
          target: {entity_id: lock.back_door}
"""


class Inside:
    """The Home Assistant process."""

    def __init__(self, python: Path, config_dir: Path, port: int) -> None:
        config_dir.mkdir(parents=True, exist_ok=True)
        examples = ROOT / "deploy" / "examples"
        automations = [(examples / f"home-assistant-{name}.yaml").read_text() for name in ("door", "second-factor")]
        (config_dir / "door.yaml").write_text("".join([*automations, BLUEPRINTS]))
        (blueprints := config_dir / "blueprints" / "automation" / "edge-oneshot").mkdir(parents=True, exist_ok=True)
        for name in ("notify", "door"):
            shutil.copy(examples / f"home-assistant-blueprint-{name}.yaml", blueprints / f"{name}.yaml")
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


class Porch:
    """The daemon's side: a broker, an outbox, the MQTT link and the discovery, with a clock that the checks set."""

    def __init__(self, folder: Path, mode: str) -> None:
        self.broker = Mosquitto(folder / "broker").start()
        self.clock = SetClock()
        self.outbox = Outbox(folder / "outbox.sqlite", clock=self.clock)
        self.config = MqttConfig(host="127.0.0.1", port=self.broker.port)
        self.link = MqttLink(self.config, "porch", self.outbox, clock=self.clock)
        self.discovery = HomeAssistant(
            self.link, self.outbox.notes, mode, PREFIX, "Porch camera", "0.1.0", requests=True, pictures=True
        )
        self.now = datetime.now(UTC)
        self.link.start()

    def people(self, names: dict[str, str], present: set[str]) -> None:
        link = self.link
        self.discovery.announce(names)
        for identity in names:
            link.set_state(link.topics.person_state(identity), "ON" if identity in present else "OFF")
            if identity in present:
                link.set_state(link.topics.person_seen(identity), iso(self.now))
        presence = Presence(identities=tuple(present), unknown=0, since=self.now, ts=self.now)
        link.set_state(link.topics.presence, presence.message())

    def health(self, state: str = "running") -> None:
        health = Health(
            state=state,
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
        self.outbox.events.commit(e)
        self.link.wake()
        while self.outbox.events.status().depth:
            time.sleep(0.02)
