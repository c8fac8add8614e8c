"""The camera and the broker of `edge-oneshot setup`: found or asked for, and tried. A wrong answer is asked for again."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

from edge_oneshot.cli import as_called
from edge_oneshot.cli.common import perform
from edge_oneshot.errors import ConfigError, EdgeOneshotError

if TYPE_CHECKING:
    from edge_oneshot.config import Config


@dataclass(slots=True)
class Setup:
    """The options, and what was found so far. values: (section, key) -> value of the new configuration. password: for the
    broker, stored together with the configuration."""

    path: Path
    config: Config
    yes: bool
    camera: str | None
    broker: str | None
    username: str | None
    password_file: Path | None
    name: str | None
    image: Path | None
    values: dict[tuple[str, str], object] = field(default_factory=dict)
    password: str = ""

    def agrees(self, question: str, default: bool = True) -> bool:
        return default if self.yes else click.confirm(question, default=default)

    def answers(self, question: str, default: str = "", hide: bool = False) -> str:
        if self.yes:
            return default
        shown = bool(default) and not hide
        return str(click.prompt(question, default=default, hide_input=hide, show_default=shown)).strip()


def load(path: Path) -> Config:
    from edge_oneshot.config import Config, load_config

    return load_config(path) if path.exists() else Config(path=path, instance=path.stem)


def show_fault(e: EdgeOneshotError) -> None:
    """A fault with its reasons and its fix, below the step that it ends."""
    click.echo(f"  failed: {e.message}", err=True)
    for fault in getattr(e, "faults", ()):
        click.echo(f"    {fault}", err=True)
    if e.hint:
        click.echo(f"  fix: {as_called(e.hint)}", err=True)


# ---- camera

OTHERS = (
    "  other answers: v4l2:/dev/video0, rtsp://user:password@camera/stream, file:VIDEO, or folder:DIR?loop (pictures that take the "
    "place of a camera)"
)


def camera(s: Setup) -> None:
    """Choose a camera, and take a test picture."""
    uri = s.camera or _chosen_camera(s)
    while True:
        if not uri:
            raise EdgeOneshotError(
                "no camera was found",
                "connect one, or name it with --camera; people can be enrolled from pictures without it",
            )
        s.values["camera", "uri"] = uri
        s.config = replace(s.config, camera=replace(s.config.camera, uri=uri))
        try:
            return _look(s)
        except EdgeOneshotError as e:
            if s.yes or s.camera:
                raise
            show_fault(e)
            another = s.answers("  another camera, empty to keep this one")
            if not another:
                hint = "connect it, or change it: edge-oneshot setup --only camera"
                raise EdgeOneshotError("the camera is kept, although it does not work yet", hint) from None
            uri = another


def _chosen_camera(s: Setup) -> str | None:
    from edge_oneshot.cameras.found import find_cameras

    found = [c for c in find_cameras() if not c["note"]]
    for number, entry in enumerate(found, 1):
        click.echo(f"  {number}: {entry['name']}  ({entry['uri']})")
    if not found:
        click.echo("  no camera is connected")
    if not s.yes:
        click.echo(OTHERS)
    answer = s.answers("  number or address of the camera", "1" if found else "")
    if answer.isdecimal() and 1 <= int(answer) <= len(found):
        return found[int(answer) - 1]["uri"]
    return answer or None


def _look(s: Setup) -> None:
    """Write a test picture. If the daemon uses this camera, the daemon takes it."""
    from edge_oneshot.cli.draw import draw, save
    from edge_oneshot.control.client import ask
    from edge_oneshot.control.requests import Capture, Status
    from edge_oneshot.shown import redact_uri

    saved = load(s.path).camera.uri
    running = ask(s.config.socket_path, Status(), lambda text: None, 5.0) is not None
    click.echo(f"  trying {redact_uri(s.config.camera.uri)} …")
    request = Capture(timeout_s=15.0)
    if running and s.config.camera.uri == saved:
        captured = perform(s.config, request)
    else:
        # A state folder of its own: root sets up a service whose gallery belongs to another user.
        with tempfile.TemporaryDirectory() as folder:
            config = replace(s.config, device=replace(s.config.device, state_dir=folder))
            captured = perform(config, request, direct=True)
    picture = Path.cwd() / "edge-oneshot-test.jpg"
    save(draw(captured.jpeg, captured.faces), picture)
    faces = len(captured.faces)
    click.echo(f"  works: {captured.size[0]}x{captured.size[1]}, faces found: {faces}; look at {picture}")


# ---- broker


def broker(s: Setup) -> None:
    from edge_oneshot.cli import finding

    place = _place(s.broker) if s.broker is not None else _chosen_broker(s)
    if place is None:
        s.values["mqtt", "enabled"] = False
        click.echo("  no broker: events are only logged")
        return
    host, port = place
    s.values |= {("mqtt", "enabled"): True, ("mqtt", "host"): host}
    if port != finding.MQTT_PORT:
        s.values["mqtt", "port"] = port
    _credentials(s)
    if finding.home_assistant_at(host) and s.agrees("  Home Assistant was found; announce this device to it?"):
        s.values["mqtt", "discovery"] = "device"
        click.echo("  Home Assistant will discover this device")


def _chosen_broker(s: Setup) -> tuple[str, int] | None:
    """Asks until a broker answers, or the person wants the one that does not, or none."""
    from edge_oneshot.cli import finding

    places = [f"{host}:{port}" for host, port in finding.find_brokers()]
    for found in places:
        click.echo(f"  found: {found}")
    while True:
        answer = s.answers("  broker as host or host:port, or off for none", places[0] if places else "off")
        try:
            place = _place(answer)
        except ConfigError as e:
            if s.yes:
                raise
            show_fault(e)
            continue
        if place is None or answer in places or finding.answers(*place):
            return place
        if s.agrees(f"  nothing answers at {place[0]} port {place[1]}; use it anyway?", default=False):
            return place


def _place(answer: str) -> tuple[str, int] | None:
    """(host, port); None for `off`. Raises ConfigError."""
    from edge_oneshot.cli.finding import MQTT_PORT

    if answer == "off":
        return None
    host, _, port = answer.rpartition(":") if answer.count(":") == 1 else (answer, "", "")
    if not host or (port and not (port.isdecimal() and 0 < int(port) < 65536)):
        raise ConfigError(f"--broker: expected HOST or HOST:PORT, got {answer!r}", "write it as broker.local:1883")
    return host, int(port or MQTT_PORT)


def _credentials(s: Setup) -> None:
    user = s.username if s.username is not None else s.answers("  user name at the broker, empty for none")
    if not user:
        return
    if s.password_file is not None:
        s.password = _first_line(s.password_file)
    else:
        s.password = s.answers("  password", hide=True)
    s.values["mqtt", "username"] = user
    if s.password:
        s.values["mqtt", "password_file"] = "mqtt-password" if s.config.system else str(password_path(s).absolute())


def _first_line(file: Path) -> str:
    from edge_oneshot.text_file import read_text

    try:
        return read_text(file, 4096).partition("\n")[0].strip()
    except (OSError, ValueError) as e:
        raise ConfigError(f"--password-file {file}: {e}", "give a text file whose first line is the password") from None


def password_path(s: Setup) -> Path:
    if s.config.system:
        return Path("/etc/credstore") / f"edge-oneshot.{s.config.instance}.mqtt-password"
    return s.path.with_name(f"{s.path.stem}.mqtt-password")
