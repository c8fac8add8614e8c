"""Enroll from the camera of a running daemon as another user: one in its group, and one outside."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from device import Device
from pictures import Pixels, view

DAEMON, MEMBER, OUTSIDER, GROUP = 47111, 47112, 47113, 47110  # ids that need no entry anywhere
HOME = {"HOME": "/nonexistent", "XDG_CONFIG_HOME": "/nonexistent", "XDG_DATA_HOME": "/nonexistent"}
ENVIRONMENT = {"PYTHONPATH": os.pathsep.join(p for p in sys.path if p), **HOME}
MAIN = "from edge_oneshot.cli import main; main()"


@pytest.fixture(scope="module")
def command() -> list[str]:
    """The command of these users: this Python, or the system's if they may not read root's folders."""
    if os.geteuid() != 0:
        pytest.skip("needs root, to act as other users")
    for python in (sys.executable, f"/usr/bin/python3.{sys.version_info.minor}"):
        try:
            done = subprocess.run(
                [python, "-c", "import edge_oneshot.service.compose"],
                user=MEMBER,
                group=GROUP,
                extra_groups=[],
                timeout=120,
                capture_output=True,
                cwd="/",
                env={**os.environ, **ENVIRONMENT},
            )
        except OSError:
            continue
        if done.returncode == 0:
            return [python, "-c", MAIN]
    pytest.skip(f"another user cannot run {sys.executable}, nor the system's Python with its packages")


def test_a_member_of_the_group_enrolls_and_an_outsider_gets_the_fix(
    make_device: Callable[..., Device], short_path: Path, hopper: Pixels, command: list[str]
) -> None:
    run = short_path / "run"
    device = make_device(
        pace="camera",
        user=DAEMON,
        group=GROUP,
        command=command,
        environment=ENVIRONMENT,
        device={"socket": str(run / "front.sock")},
        mqtt={"enabled": False},
    )
    device.camera.show([view(hopper, i) for i in range(8)] * 200)
    for folder, mode in ((run, 0o750), (device.state, 0o700)):
        folder.mkdir()
        folder.chmod(mode)
        os.chown(folder, DAEMON, GROUP)
    short_path.chmod(0o755)
    device.notify.path.chmod(0o666)
    device.start()
    assert (run / "front.sock").stat().st_gid == GROUP

    enrolled = device.call(
        "enroll", "--name", "Grace", "--timeout", "60", user=MEMBER, group=MEMBER, extra_groups=[GROUP], cwd="/"
    )
    assert "enrolled Grace as grace" in enrolled
    assert (device.state / "gallery.sqlite").stat().st_uid == DAEMON

    refused = device.call("gallery", "list", expect=1, user=OUTSIDER, group=OUTSIDER, extra_groups=[], cwd="/")
    assert "no permission to use the control socket" in refused
    assert "use sudo, or " in refused
    assert device.stop() == 0
