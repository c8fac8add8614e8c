"""Cuts the power of a virtual machine inside operations of the service, and compares the disk with what was acknowledged.

Freezes: the disk with the state is copied while the machine stands still, as after a cut at that moment; the file system is
repaired as a boot would do it, and this program's code opens the files. Kills: qemu is killed, and the machine boots again.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
import time
from dataclasses import dataclass, field, replace
from pathlib import Path

from vm_judge import CONFIG, State, judge
from vm_machine import BOOT_S, Machine
from vm_report import Done, report

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
FREEZES = 10  # in one operation
UPGRADE_S = 90.0  # in which an upgrade is cut
ROTATE = (
    "systemctl stop edge-oneshot; cd /; setpriv --reuid=edge-oneshot --regid=edge-oneshot --clear-groups env HOME=/ "
    "edge-oneshot gallery rotate-key; code=$?; systemctl start edge-oneshot; exit $code"
)
RUNNING = (
    "for i in $(seq 100); do edge-oneshot status >/dev/null && exit 0; "
    "systemctl is-failed -q edge-oneshot && exit 1; sleep 2; done; exit 1"
)


@dataclass
class Run:
    machine: Machine
    rng: random.Random
    state: State = field(default_factory=State)
    number: int = 0
    seconds: dict[str, float] = field(default_factory=dict)  # how long an operation of this kind took
    done: Done = field(default_factory=Done)

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
        self.machine.send(command, 900)
        ended = self.machine.answer(960)
        self.seconds[kind] = time.monotonic() - start
        self.state = after if acknowledged(command, ended) else self.found(after)
        if "stop mosquitto" in command:
            self.count_events()

    def found(self, after: State) -> State:
        """The state after a command that was not acknowledged: this one, or the one it leads to."""
        self.machine.run(RUNNING, 900)
        people = listed(self.machine)
        if people not in (self.state.people, after.people):
            self.done.faults.append(f"expected {self.state.people} or {after.people}, got {people}")
        return State(people, min(self.state.events, after.events))

    def count_events(self) -> None:
        status = json.loads(self.machine.run(f"{PROGRAM} status --json"))
        self.state = replace(self.state, events=int(status["outbox"]["depth"]))


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


def freeze(run: Run, most: int, folder: Path) -> None:
    """At most FREEZES cuts in one operation, since an operation takes long without acceleration."""
    kind = run.rng.choice(KINDS)
    if kind not in run.seconds:
        run.complete(kind)
    command, after = run.draw(kind)
    if "start mosquitto" in command:
        run.state = replace(run.state, events=0)
    moments = sorted(run.rng.uniform(0.0, 1.1 * run.seconds[kind]) for _ in range(min(FREEZES, most)))
    started, ended, copies = time.monotonic(), None, []
    run.machine.send(command)
    for n, moment in enumerate(moments):
        ended = ended or run.machine.answer(max(0.0, started + moment - time.monotonic()))
        copies.append((folder / f"frozen{n}.img", ended is not None and acknowledged(command, ended)))
        run.machine.freeze(copies[-1][0])
    complete = acknowledged(command, ended or run.machine.answer(900))
    run.seconds[kind] = time.monotonic() - started
    for copy, early in copies:
        bad = judge(copy, after if early else run.state, after)
        run.done.faults += [f"freeze inside {kind}: {b}" for b in bad]
        run.done.found[f"freeze, {kind}, {'acknowledged' if early else 'in flight'}"] += 1
    run.done.freezes, run.state = run.done.freezes + len(moments), after if complete else run.found(after)
    if "stop mosquitto" in command:
        run.count_events()
    print(f"{run.done.freezes} freezes, the last in {kind} ({run.seconds[kind]:.0f} s): {len(run.done.faults)} faults")


def kill(run: Run, folder: Path) -> None:
    """Kill qemu in an operation, and boot again."""
    kind = ("upgrade", *KINDS)[run.done.kills % (len(KINDS) + 1)]
    if kind == "upgrade":
        version = run.machine.run("apt-cache madison edge-oneshot | awk -F' *[|] *' '{print $2}' | sort -V")
        installed = run.machine.run("dpkg-query -W -f '${Version}' edge-oneshot").strip()
        other = next(v for v in version.split() if v != installed)
        command = f"DEBIAN_FRONTEND=noninteractive apt-get install -y --allow-downgrades edge-oneshot={other}"
        after, takes = run.state, UPGRADE_S
    else:
        if kind not in run.seconds:
            run.complete(kind)
        command, after = run.draw(kind)
        takes = run.seconds[kind]
    before = replace(run.state, events=0)  # the broker starts with the machine
    moment = run.rng.uniform(0.0, takes)
    run.machine.send(command, 1800)
    ended = run.machine.answer(moment)
    run.machine.cut()
    early = ended is not None and acknowledged(command, ended)
    before = replace(after, events=0) if early else before
    run.done.kills += 1
    run.done.found[f"kill, {kind}, {'acknowledged' if early else 'in flight'}"] += 1
    run.machine = wait_for_boot(folder)
    try:
        program, people = recovered(run.machine)
    except RuntimeError as e:
        run.done.faults.append(f"kill inside {kind}: {e}")
        raise
    if people not in (before.people, after.people):
        run.done.faults.append(f"kill inside {kind}: expected {before.people} or {after.people}, got {people}")
    run.state = State(people)
    copy = folder / "frozen.img"
    run.machine.freeze(copy)
    run.done.faults += [f"kill inside {kind}: {b}" for b in judge(copy, run.state, run.state)]
    print(f"kill {run.done.kills}: {kind} after {moment:.1f} s, {program.strip()}, {len(run.done.faults)} faults")


def recovered(machine: Machine) -> tuple[str, dict[str, str]]:
    """The program's version and the people after a cut, once the service runs. Raises RuntimeError if it does not start."""
    heal = "dpkg --configure -a && DEBIAN_FRONTEND=noninteractive apt-get -y -f install"
    program = machine.run(f"{PROGRAM} --version || ({heal} >/dev/null; {PROGRAM} --version)", 1800)
    machine.run(f"{heal}; {RUNNING}", 2400)
    return program, listed(machine)


def acknowledged(command: str, ended: tuple[int, str] | None) -> bool:
    """Whether a command has succeeded. Without acceleration a daemon can need longer than a client waits.

    Raises RuntimeError for any other failure.
    """
    if ended is not None and ended[0] == 0:
        return True
    if ended is not None and "has not answered for" in ended[1]:
        return False
    raise RuntimeError(f"{command}: {ended or 'no answer'}")


def listed(machine: Machine) -> dict[str, str]:
    """identity -> name, as the running daemon lists the people."""
    return {p["identity"]: p["name"] for p in json.loads(machine.run(f"{PROGRAM} gallery list --json"))}


def begin(options: argparse.Namespace, progress: Path) -> Run:
    """A machine with the package, its service running and two people in its gallery; --resume: that of the run before."""
    machine = wait_for_boot(options.folder)
    if options.resume:
        done = Done.read(progress)
        machine.run(RUNNING, 900)
        people, number = (
            listed(machine),
            done.number + 100,
        )  # the names of an operation that was cut off are not used again
        return Run(machine, random.Random(f"{options.seed} {done}"), State(people), number, done=done)
    run = Run(machine, random.Random(options.seed), done=Done(about=install(machine, options.suite)))
    print(run.done.about)
    run.complete("enroll")
    run.complete("enroll")
    return run


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--suite", required=True)
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--version", required=True, help="commit of the packages")
    parser.add_argument("--kills", type=int, default=10)
    parser.add_argument("--freezes", type=int, default=90)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--resume", action="store_true", help="go on with the machine of a run that was interrupted")
    parser.add_argument("--out", type=Path, default=Path("benchmarks/power-cuts.md"))
    options = parser.parse_args()
    sys.stdout.reconfigure(line_buffering=True)  # type: ignore[union-attr]  # a file or a terminal
    started, progress = time.monotonic(), options.folder / "progress.json"
    run = begin(options, progress)
    before_s = run.done.spent_s

    def save() -> None:
        run.done.spent_s, run.done.number = before_s + time.monotonic() - started, run.number
        progress.write_text(json.dumps(vars(run.done)))
        options.out.write_text(report(options, (*KINDS, "upgrade"), run.done))

    try:
        while run.done.kills < options.kills or run.done.freezes < options.freezes:
            # In turn, so that a run which is interrupted has cuts of both kinds.
            if (
                run.done.freezes * options.kills <= run.done.kills * options.freezes
                and run.done.freezes < options.freezes
            ):
                freeze(run, options.freezes - run.done.freezes, options.folder)
            else:
                kill(run, options.folder)
            save()
        run.machine.shut_down()
    except (RuntimeError, ConnectionError):
        save()
        raise
    finally:
        run.machine.cut()
    print(options.out.read_text())
    return bool(run.done.faults)


if __name__ == "__main__":
    sys.exit(main())
