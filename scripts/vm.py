"""Cuts the power of a virtual machine inside operations of the service, and compares the disk with what was acknowledged.

Freezes: the disk with the state is copied while the machine stands still, as after a cut at that moment; the file system is
repaired as a boot would do it, and this program's code opens the files. Kills: qemu is killed, and the machine boots again.
"""

from __future__ import annotations

import argparse
import json
import random
import subprocess
import sys
import tempfile
import time
import tomllib
from collections import Counter
from dataclasses import dataclass, field, replace
from pathlib import Path

from vm_machine import BOOT_S, Machine
from vm_report import report

CONFIG = """[device]
slug = "porch"
[camera]
uri = "folder:/opt/seen"
fps = 0.5
pace = "camera"
[mqtt]
enabled = true
host = "127.0.0.1"
[decision]
gone_after_s = 10
"""
# Three hours of a face for 32 seconds, and 16 seconds without one.
PICTURES = """mkdir -p /opt/seen && cd /opt/seen && python3 - <<'END'
import os
from PIL import Image
Image.new("RGB", (640, 480), (120, 118, 110)).save("/opt/pictures/wall.jpg")
for n in range(5400):
    name = "wall" if n % 24 >= 16 else f"{n % 24:04}"
    os.symlink(f"/opt/pictures/{name}.jpg", f"{n:06}.jpg")
END"""
KINDS = ("enroll", "replace", "rename", "remove", "publish", "rotate-key")
PROGRAM = "edge-oneshot"
FREEZES = 6  # in one operation
ROTATE = (
    "systemctl stop edge-oneshot; cd /; setpriv --reuid=edge-oneshot --regid=edge-oneshot --clear-groups env HOME=/ "
    "edge-oneshot gallery rotate-key; code=$?; systemctl start edge-oneshot; exit $code"
)
RUNNING = (
    "for i in $(seq 100); do edge-oneshot status >/dev/null && exit 0; "
    "systemctl is-failed -q edge-oneshot && exit 1; sleep 2; done; exit 1"
)


@dataclass(frozen=True)
class State:
    """What was acknowledged. people: identity -> name. events: at least so many wait in the outbox."""

    people: dict[str, str] = field(default_factory=dict)
    events: int = 0


@dataclass
class Run:
    machine: Machine
    rng: random.Random
    state: State = field(default_factory=State)
    number: int = 0
    seconds: dict[str, float] = field(default_factory=dict)  # how long an operation of this kind took

    def draw(self, kind: str) -> tuple[str, State]:
        """A command of this kind, and the state after it."""
        people = self.state.people
        if kind == "rotate-key":
            return ROTATE, self.state
        if kind == "enroll" or (not people and kind != "publish"):
            self.number += 1
            name = f"Person {self.number}"
            after = {**people, f"person-{self.number}": name}
            return f"{PROGRAM} enroll --name '{name}' --image /opt/pictures/collins.png", replace(
                self.state, people=after
            )
        if kind == "publish":  # starts or stops the broker, and counts the events that wait
            start = "mosquitto is started" if self.rng.random() < 0.5 else ""
            if start:
                return "systemctl start mosquitto && sleep 5", replace(self.state, events=0)
            return "systemctl stop mosquitto && sleep 5", self.state
        who = self.rng.choice(sorted(people))
        if kind == "replace":
            return (
                f"{PROGRAM} enroll --name '{people[who]}' --id {who} --image /opt/pictures/collins.png --replace",
                self.state,
            )
        if kind == "rename":
            self.number += 1
            after = {**people, who: f"Renamed {self.number}"}
            return f"{PROGRAM} gallery rename id:{who} 'Renamed {self.number}'", replace(self.state, people=after)
        after = {i: n for i, n in people.items() if i != who}
        return f"{PROGRAM} gallery remove id:{who} --yes", replace(self.state, people=after)

    def complete(self, kind: str) -> None:
        """One operation that is acknowledged."""
        command, after = self.draw(kind)
        start = time.monotonic()
        if "start mosquitto" in command:
            self.state = replace(self.state, events=0)  # from now on they may be delivered
        self.machine.run(command)
        self.seconds[kind] = time.monotonic() - start
        self.state = after
        if "stop mosquitto" in command:
            self.count_events()

    def count_events(self) -> None:
        status = json.loads(self.machine.run(f"{PROGRAM} status --json"))
        self.state = replace(self.state, events=int(status["mqtt"]["outbox"]["depth"]))


def judge(copy: Path, before: State, after: State) -> list[str]:
    """What is wrong with a copy of the disk. before, after: without the operation in flight, and with it."""
    from edge_oneshot.events.outbox import Outbox
    from edge_oneshot.gallery.store import Gallery
    from edge_oneshot.storage.keys import Keys

    checked = subprocess.run(["e2fsck", "-fy", str(copy)], capture_output=True, text=True, check=False)
    if checked.returncode not in (0, 1):
        return [f"file system: {checked.stdout[-300:]}"]
    faults = []
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run(["debugfs", "-R", f"rdump / {folder}", str(copy)], capture_output=True, check=True)
        config = Path(folder, "etc", "default.toml").read_text()
        if config != CONFIG or not tomllib.loads(config):
            faults.append(f"configuration: got {config[:100]!r}")
        state = Path(folder, "state")
        keys = Keys(Path(folder, "etc", "keys", "gallery.key"))
        with Gallery(state / "gallery.sqlite", keys) as gallery:
            people = {p.identity.identity_id: p.identity.name for p in gallery.people()}
            if people not in (before.people, after.people):
                faults.append(f"people: expected {before.people} or {after.people}, got {people}")
            if gallery.fault or gallery.set_aside or any(len(p.templates) != 1 for p in gallery.people()):
                faults.append(f"gallery: {gallery.fault}, {gallery.set_aside} set aside, or not one template for each")
        outbox = Outbox(state / "outbox-default.sqlite", max_age_s=1e9, keys=keys)
        status = outbox.events.status()
        if status.fault or status.depth < min(before.events, after.events):
            faults.append(f"outbox: expected {before.events} events, got {status}")
        outbox.close()
    return faults


def install(machine: Machine, suite: str) -> str:
    """Install the package from its repository; the time that it took, and the versions."""
    started = time.monotonic()
    machine.run("install -D -m 0644 /opt/apt/edge-oneshot.asc /etc/apt/keyrings/edge-oneshot.asc")
    machine.run(
        f"rm -f /etc/apt/sources.list.d/* /etc/apt/sources.list; echo 'deb [signed-by=/etc/apt/keyrings/edge-oneshot.asc] "
        f"file:/opt/apt {suite} main' > /etc/apt/sources.list.d/edge-oneshot.list; apt-get update"
    )
    machine.run(PICTURES)
    Path(machine.folder, "config.toml").write_text(CONFIG)
    # Without acceleration one frame takes seconds, and an enrollment half a minute.
    machine.run(
        "mkdir -p /etc/systemd/system/edge-oneshot.service.d; "
        "printf '[Service]\\nWatchdogSec=300\\n' > /etc/systemd/system/edge-oneshot.service.d/slow.conf"
    )
    machine.run(f"cat > /etc/edge-oneshot/default.toml <<'END'\n{CONFIG}END\nsync")
    first = machine.run("apt-cache madison edge-oneshot | awk -F' *[|] *' '$2 !~ /^9/ {print $2}'").strip()
    machine.run(f"DEBIAN_FRONTEND=noninteractive apt-get install -y edge-oneshot={first}", 1800)
    machine.run("systemctl enable --now mosquitto")
    machine.run(RUNNING, 900)
    about = machine.run("systemctl --version | head -n 1; python3 --version; edge-oneshot --version; uname -r").split(
        "\n"
    )
    return f"{', '.join(filter(None, about))}; installed and running after {time.monotonic() - started:.0f} s"


def wait_for_boot(folder: Path) -> Machine:
    machine = Machine(folder)
    try:
        machine.run("true", BOOT_S)
        return machine
    except BaseException:
        machine.cut()
        raise


def freezes(run: Run, number: int, folder: Path, found: Counter[str], faults: list[str]) -> None:
    """Several in one operation, since it takes long without acceleration."""
    done = 0
    while done < number:
        kind = run.rng.choice(KINDS)
        if kind not in run.seconds:
            run.complete(kind)
        command, after = run.draw(kind)
        if "start mosquitto" in command:
            run.state = replace(run.state, events=0)
        moments = sorted(run.rng.uniform(0.0, 1.1 * run.seconds[kind]) for _ in range(min(FREEZES, number - done)))
        started, ended, copies = time.monotonic(), None, []
        run.machine.send(command)
        for n, moment in enumerate(moments):
            ended = ended or run.machine.answer(max(0.0, started + moment - time.monotonic()))
            copies.append((folder / f"frozen{n}.img", ended is not None))
            run.machine.freeze(copies[-1][0])
        ended = ended or run.machine.answer(900)
        if ended is None or ended[0]:
            raise RuntimeError(f"{command}: {ended}")
        run.seconds[kind] = time.monotonic() - started
        for copy, acknowledged in copies:
            bad = judge(copy, after if acknowledged else run.state, after)
            faults += [f"freeze inside {kind}: {b}" for b in bad]
            found[f"freeze, {kind}, {'acknowledged' if acknowledged else 'in flight'}"] += 1
        done, run.state = done + len(moments), after
        if "stop mosquitto" in command:
            run.count_events()
        print(f"{done} of {number} freezes, the last in {kind}: {len(faults)} faults", file=sys.stderr, flush=True)


def kill(run: Run, done: int, folder: Path, found: Counter[str], faults: list[str]) -> None:
    kind = ("upgrade", *KINDS)[done % (len(KINDS) + 1)]
    if kind == "upgrade":
        version = run.machine.run("apt-cache madison edge-oneshot | awk -F' *[|] *' '{print $2}' | sort -V")
        installed = run.machine.run("dpkg-query -W -f '${Version}' edge-oneshot").strip()
        other = next(v for v in version.split() if v != installed)
        command = f"DEBIAN_FRONTEND=noninteractive apt-get install -y --allow-downgrades edge-oneshot={other}"
        after, takes = run.state, 60.0
    else:
        if kind not in run.seconds:
            run.complete(kind)
        command, after = run.draw(kind)
        takes = run.seconds[kind]
    before = replace(run.state, events=0)  # the broker starts with the machine
    run.machine.send(command, 1800)
    early = run.machine.answer(run.rng.uniform(0.0, takes))
    run.machine.cut()
    before = replace(after, events=0) if early else before
    run.machine = wait_for_boot(folder)
    heal = "dpkg --configure -a && DEBIAN_FRONTEND=noninteractive apt-get -y -f install"
    program = run.machine.run(f"{PROGRAM} --version || ({heal} >/dev/null; {PROGRAM} --version)", 1800)
    run.machine.run(f"{heal}; {RUNNING}", 2400)
    listed = json.loads(run.machine.run(f"{PROGRAM} gallery list --json"))
    people = {p["identity"]: p["name"] for p in listed}
    if people not in (before.people, after.people):
        faults.append(f"kill {done} inside {kind}: expected {before.people} or {after.people}, got {people}")
    run.state = State(people)
    copy = folder / "frozen.img"
    run.machine.freeze(copy)
    faults += [f"kill {done} inside {kind}: {b}" for b in judge(copy, run.state, run.state)]
    found[f"kill, {kind}, {'acknowledged' if early else 'in flight'}"] += 1
    print(f"kill {done + 1}: {kind}, {program.strip()}, {len(faults)} faults", file=sys.stderr, flush=True)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--suite", required=True)
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--version", required=True, help="commit of the packages")
    parser.add_argument("--kills", type=int, default=12)
    parser.add_argument("--freezes", type=int, default=90)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path("benchmarks/power-cuts.md"))
    options = parser.parse_args()
    started, found, faults = time.monotonic(), Counter[str](), list[str]()
    machine = wait_for_boot(options.folder)
    about = install(machine, options.suite)
    print(about, file=sys.stderr, flush=True)
    run = Run(machine, random.Random(options.seed))

    def save() -> None:
        kinds = (*KINDS, "upgrade")
        options.out.write_text(report(options, about, kinds, found, faults, time.monotonic() - started))

    try:
        run.complete("enroll")
        run.complete("enroll")
        freezes(run, options.freezes, options.folder, found, faults)
        for number in range(options.kills):
            save()  # a kill takes minutes
            kill(run, number, options.folder, found, faults)
        run.machine.shut_down()
    finally:
        run.machine.cut()
    save()
    print(options.out.read_text())
    return bool(faults)


if __name__ == "__main__":
    sys.exit(main())
