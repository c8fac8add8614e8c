"""Check the discovery messages with a real Home Assistant: its entities, its triggers, and what fires or disappears.

Starts mosquitto, the MQTT link, and Home Assistant (scripts/home_assistant_inside.py, in a virtual environment of its own).
The steps are enroll, match, late match, retained match, forget, a restart of Home Assistant, and unpublish, in both modes.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from home_assistant_parts import PREFIX, ROOT, Inside, Porch
from mosquitto import Subscriber

from edge_oneshot.mqtt.unpublish import unpublish

MANY = 70  # more than one discovery message holds


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
    check_requests(porch, inside, out)
    check_rename(porch, inside, out)
    check_forget(porch, inside, out)
    check_many(porch, inside, out)
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
    # Home Assistant warns of a part of the discovery that is emptied after its last component was removed.
    known = "No device components to cleanup for part-"
    complaints = [line for line in lines if (" ERROR " in line or " WARNING " in line) and known not in line]
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
    with Subscriber(porch.broker.port, f"{porch.link.topics.base}/request/#") as requests:
        inside.ask("tag alice-front-door")
        time.sleep(1.0)
        asked = [(h.topic.rsplit("/", 1)[1], h.json) for h in requests.heard]
        inside.ask("tag alice-back-door")
        time.sleep(1.0)
        by_blueprint = [(h.topic.rsplit("/", 1)[1], h.json) for h in requests.heard][len(asked) :]
    out.check("a scanned tag confirms Alice", asked == [("confirm", {"name": "alice", "by": "tag"})], asked)
    ours = [("confirm", {"name": "alice", "by": "home-assistant"})]
    out.check("and so does the blueprint's", by_blueprint == ours, by_blueprint)
    inside.ask("notified")
    porch.event("confirmed")
    opened = inside.until("opened", lambda o: len(o) == 2)
    both = [["lock.back_door"], ["lock.front_door"]]
    out.check("and the confirmed match opens the doors of example and blueprint", sorted(opened) == both, opened)
    porch.event("confirmed", late=True)
    time.sleep(1.0)
    opened = inside.ask("opened")
    out.check("a late one opens none", opened == [], opened)
    for kind in ("match", "unknown"):
        porch.event(kind)
        time.sleep(1.0)
    told = inside.ask("notified")
    expected = ["Alice is at the door.", "An unknown person is at the door."]
    out.check("the blueprint notifies of Alice and of an unknown person", told == expected, told)
    inside.ask("opened")
    inside.ask("fired")
    porch.event("gone")
    found = inside.until("entities", lambda e: e.get("event.porch_camera_event") == "gone")
    out.check("the event entity shows gone", found.get("event.porch_camera_event") == "gone", found)


def check_requests(porch: Porch, inside: Inside, out: Walk) -> None:
    """The switch, the buttons and the text send requests; the enrollment shows its hints."""
    entity = "{}.porch_camera_{}".format
    found = inside.ask("entities")
    out.check("the switch shows that recognition runs", found.get(entity("switch", "recognition")) == "on", found)
    calls = (
        ("pause", {"paused": True}, f"call switch.turn_off {entity('switch', 'recognition')}"),
        ("pause", {"paused": False}, f"call switch.turn_on {entity('switch', 'recognition')}"),
        ("reload", {}, f"call button.press {entity('button', 'reload')}"),
        ("cancel", {}, f"call button.press {entity('button', 'cancel_enrollment')}"),
        ("enroll", {"name": "Zoë"}, f"call text.set_value {entity('text', 'enroll_person')} Zoë"),
        ("enroll", None, f"call button.press {entity('button', 'enroll_mode')}"),
    )
    for verb, arguments, query in calls:
        with Subscriber(porch.broker.port, f"{porch.link.topics.base}/request/#") as requests:
            inside.ask(query)
            time.sleep(0.5)
            asked = [(h.topic.rsplit("/", 1)[1], h.json) for h in requests.heard]
        sent = [(name, {k: v for k, v in values.items() if k != "ts"}) for name, values in asked]
        ok = len(sent) == 1 and sent[0][0] == verb and arguments in (sent[0][1], None)
        out.check(f"{query.split()[1]} sends {verb} {arguments or ''}".rstrip(), ok, asked)
    before = inside.ask("entities").get(entity("image", "last_face"))
    porch.link.picture(bytes.fromhex("ffd8ffe000104a46494600010100000100010000ffd9"))
    shown = inside.until("entities", lambda e: e.get(entity("image", "last_face")) != before)
    last = str(shown.get(entity("image", "last_face")))
    out.check("the image changes with the last face", last.startswith("20"), last)
    porch.health("paused")
    off = inside.until("entities", lambda e: e.get(entity("switch", "recognition")) == "off")
    out.check("and that it is paused", off.get(entity("switch", "recognition")) == "off", off)
    porch.health()
    porch.link.reply(porch.link.topics.response("enroll"), {"status": "progress", "data": {"progress": "Come closer."}})
    found = inside.until("entities", lambda e: e.get(entity("sensor", "enrollment")) == "Come closer.")
    out.check("the hint of an enrollment is shown", found.get(entity("sensor", "enrollment")) == "Come closer.", found)


def check_rename(porch: Porch, inside: Inside, out: Walk) -> None:
    """Entities keep their ids and change their names."""
    seen = inside.ask("entities").get("sensor.porch_camera_alice_last_seen", "")
    out.check("Alice's last sight is a time", seen.startswith("20"), seen)
    porch.people({"alice": "Alicia", "zoe": "Zoë"}, {"alice"})
    key = "binary_sensor.porch_camera_alice"
    names = inside.until("names", lambda n: "Alicia" in n.get(key, ""))
    out.check("a rename changes the names of the entities", names.get(key) == "Porch camera Alicia", names.get(key))
    last = names.get("sensor.porch_camera_alice_last_seen")
    out.check("those of the times as well", last == "Porch camera Alicia last seen", last)
    fired = inside.until("triggers", lambda t: "match Alicia" in t)
    out.check("and of the trigger", fired == ["match Alicia", "match Zoë"], fired)


def check_forget(porch: Porch, inside: Inside, out: Walk) -> None:
    porch.people({"zoe": "Zoë"}, set())
    for topic in porch.link.topics.of_person("alice"):
        porch.link.clear_state(topic)
    found = inside.until("entities", lambda e: not any("_alice" in x for x in e))
    out.check("forget removes Alice's entities from the registry", not any("_alice" in x for x in found), found)
    left = inside.until("triggers", lambda t: len(t) == 1)
    out.check("and her trigger", left == ["match Zoë"], left)


def check_many(porch: Porch, inside: Inside, out: Walk) -> None:
    """Discovery of many people is divided into several messages, which describe one device."""
    many = {f"p{number:02}": f"Person {number:02}" for number in range(MANY)}
    with Subscriber(porch.broker.port, f"{PREFIX}/#") as seen:
        porch.people({"zoe": "Zoë"} | many, set())
        found = inside.until("entities", lambda e: sum("_person_" in x for x in e) >= 3 * MANY)
        sizes = [len(h.payload) for h in {h.topic: h for h in seen.heard if h.payload}.values()]
    out.lines.append(f"| messages for {MANY + 1} people (largest: {max(sizes)} bytes) | {len(sizes)} |")
    people = [x for x in found if x.startswith("binary_sensor.porch_camera_person_")]
    out.check(f"{MANY} more people have an entity each", len(people) == MANY, len(people))
    triggers = inside.until("triggers", lambda t: len(t) == MANY + 1)
    out.check("and a trigger each, Zoë's included", len(triggers) == MANY + 1, triggers)
    porch.people({"zoe": "Zoë"}, set())
    found = inside.until("entities", lambda e: not any(".porch_camera_person_" in x for x in e))
    left = inside.until("triggers", lambda t: len(t) == 1)
    gone = not any(x.startswith("binary_sensor.porch_camera_person_") for x in found)
    out.check("forget removes them all, and Zoë stays", gone and left == ["match Zoë"], (list(found), left))


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
