"""A device of a fleet for the tests and scripts/fleet-demo: a daemon and the fleet's agent as real processes."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

from device import Device
from waiting import wait_until

from edge_oneshot.control.requests import List


class Member(Device):
    """Each member has a folder of its own below `folder`, and its name is its account at the broker."""

    def __init__(self, folder: Path, port: int, name: str, *, password: str = "", **sections: dict[str, Any]) -> None:
        own = folder / name
        own.mkdir()
        mqtt = dict(sections.pop("mqtt", {}))
        if password:
            (own / "password").write_text(password)
            mqtt |= {"username": name, "password_file": str(own / "password")}
        super().__init__(own, port, instance=name, pace="camera", mqtt=mqtt, **sections)
        self.name = name
        self.agent: subprocess.Popen[bytes] | None = None

    def start_agent(self) -> None:
        with (self.folder / "agent.log").open("ab") as log:
            self.agent = subprocess.Popen([*self.command, "fleet", "run"], stdout=log, stderr=log, env=self.environment)

    def stop_agent(self) -> int:
        assert self.agent is not None
        self.agent.terminate()
        code = self.agent.wait(30)
        self.agent = None
        return code

    def agent_log(self) -> str:
        path = self.folder / "agent.log"
        return path.read_text(errors="replace") if path.exists() else ""

    def fleet(self, *arguments: str, expect: int = 0) -> Any:
        """The answer of a `fleet` command, as JSON."""
        text = self.call("fleet", *arguments, "--json", expect=expect)
        return json.loads(text) if expect == 0 else text

    def people(self) -> set[str]:
        if self.process is not None:
            return {p.identity for p in self.ask(List()).identities}
        return {p["identity"] for p in json.loads(self.call("gallery", "list", "--json"))}

    def wait_agent(self, condition: Any, what: str, timeout_s: float = 60.0) -> Any:
        """Wait for a condition while the agent runs."""

        def alive() -> Any:
            assert self.agent is not None and self.agent.poll() is None, f"the agent ended: {self.agent_log()[-3000:]}"
            return condition()

        return wait_until(alive, f"{what}; log of {self.name}: {self.agent_log()[-2000:]}", timeout_s)

    def __exit__(self, *exc: object) -> None:
        if self.agent is not None:
            self.agent.kill()
            self.agent.wait(30)
        super().__exit__(*exc)
