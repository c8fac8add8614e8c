"""The steps of `edge-oneshot setup`. Each can be skipped and repeated."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

from edge_oneshot import installation
from edge_oneshot.cli.common import perform, read_picture
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


# ---- the steps


def _camera(s: Setup) -> None:
    """Choose a camera, and take a test picture."""
    uri = s.camera or _chosen_camera(s)
    if uri is None:
        raise EdgeOneshotError(
            "no camera was found",
            "connect one, or name it with --camera; people can be enrolled from pictures without it",
        )
    s.values["camera", "uri"] = uri
    s.config = replace(s.config, camera=replace(s.config.camera, uri=uri))
    _look(s)


def _chosen_camera(s: Setup) -> str | None:
    from edge_oneshot.cameras.found import find_cameras

    found = [c for c in find_cameras() if not c["note"]]
    for number, entry in enumerate(found, 1):
        click.echo(f"  {number}: {entry['name']}  ({entry['uri']})")
    if not found:
        click.echo(
            "  no camera is connected; a network camera has an address such as rtsp://user:password@camera/stream"
        )
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


def _broker(s: Setup) -> None:
    from edge_oneshot.cli import finding

    answer = s.broker
    if answer is None:
        found = finding.find_brokers()
        places = [f"{host}:{port}" for host, port in found]
        for place in places:
            click.echo(f"  found: {place}")
        default = places[0] if places else "off"
        answer = s.answers("  broker as host or host:port, or off for none", default)
    if answer == "off":
        s.values["mqtt", "enabled"] = False
        click.echo("  no broker: events are only logged")
        return
    host, _, port = answer.rpartition(":") if answer.count(":") == 1 else (answer, "", "")
    if port and not port.isdecimal():
        raise ConfigError(f"--broker: expected HOST or HOST:PORT, got {answer!r}", "write it as broker.local:1883")
    s.values |= {("mqtt", "enabled"): True, ("mqtt", "host"): host}
    if port and int(port) != finding.MQTT_PORT:
        s.values["mqtt", "port"] = int(port)
    _credentials(s)
    if finding.home_assistant_at(host) and s.agrees("  Home Assistant was found; announce this device to it?"):
        s.values["mqtt", "discovery"] = "device"
        click.echo("  Home Assistant will discover this device")


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
        s.values["mqtt", "password_file"] = "mqtt-password" if s.config.system else str(_password_path(s).absolute())


def _first_line(file: Path) -> str:
    from edge_oneshot.text_file import read_text

    try:
        return read_text(file, 4096).partition("\n")[0].strip()
    except (OSError, ValueError) as e:
        raise ConfigError(f"--password-file {file}: {e}", "give a text file whose first line is the password") from None


def _password_path(s: Setup) -> Path:
    if s.config.system:
        return Path("/etc/credstore") / f"edge-oneshot.{s.config.instance}.mqtt-password"
    return s.path.with_name(f"{s.path.stem}.mqtt-password")


def _store_password(s: Setup) -> None:
    """Write the password with mode 0600."""
    file = _password_path(s)
    try:
        file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with os.fdopen(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w", encoding="utf-8") as opened:
            os.fchmod(opened.fileno(), 0o600)
            opened.write(s.password + "\n")
    except OSError as e:
        raise ConfigError(f"cannot write {file}: {e.strerror}", "run the command with sudo") from None
    click.echo(f"  stored the password in {file} with mode 0600")


def _config(s: Setup) -> None:
    from edge_oneshot.config import example_toml
    from edge_oneshot.config.edit import with_keys, write_config
    from edge_oneshot.text_file import read_text

    exists = s.path.exists()
    before = read_text(s.path) if exists else example_toml()
    text = with_keys(before, s.values)
    if exists and text == before:
        click.echo(f"  {s.path} is unchanged")
        if s.password and s.agrees(f"  replace the password in {_password_path(s)}?"):
            _store_password(s)
        return
    for (section, key), value in s.values.items():
        click.echo(f"  {section}.{key} = {_masked(value)}")
    if not s.agrees(f"  write {s.path}?"):
        return
    if s.password:
        _store_password(s)
    backup = write_config(s.path, text)
    s.config = load(s.path)
    click.echo(f"  wrote {s.path}" + (f"; the previous file is {backup}" if backup else ""))


def _masked(value: object) -> object:
    from edge_oneshot.shown import redact_uri

    return redact_uri(value) if isinstance(value, str) else value


def _doctor(s: Setup) -> None:
    from edge_oneshot.doctor import examine

    faults = 0
    for found in examine(s.config):
        faults += found.status == "fault"
        if found.status != "ok":
            click.echo(f"  {found.status}: {found.check}: {found.message}\n    fix: {found.fix}")
    if faults:
        raise EdgeOneshotError(
            f"doctor found {faults} faults", "fix them as shown, then: edge-oneshot setup --only doctor"
        )
    click.echo("  no faults found")


def _service(s: Setup) -> None:
    if not (s.config.system and Path("/run/systemd/system").is_dir()):
        click.echo(f"  start the daemon yourself: edge-oneshot --config {s.path} run")
        return
    unit = "edge-oneshot" if s.config.instance == "default" else f"edge-oneshot@{s.config.instance}"
    if not s.agrees(f"  start the service {unit} now, and at each boot?"):
        return
    for words in (["enable", "--quiet", unit], ["restart", unit]):
        try:
            done = subprocess.run(["systemctl", *words], capture_output=True, text=True, timeout=200, check=False)
        except subprocess.TimeoutExpired:
            raise EdgeOneshotError(
                f"systemctl {words[0]} {unit}: no answer within 200 s", f"journalctl -u {unit}"
            ) from None
        if done.returncode:
            raise EdgeOneshotError(f"systemctl {words[0]} {unit}: {done.stderr.strip()}", f"journalctl -u {unit}")
    click.echo(f"  {unit} is running")


def _enroll(s: Setup) -> None:
    from edge_oneshot.cli.enroll import describe, tell, ways
    from edge_oneshot.control.requests import Enroll
    from edge_oneshot.service.sealing import seal_new

    name = s.name or s.answers("  name of the first person, empty to skip")
    if not name:
        click.echo("  later: edge-oneshot enroll --name NAME")
        return
    if (sealed := seal_new(s.config)) is not None:
        click.echo(f"  what is stored about people is sealed with the key {sealed.key}: keep a copy of it elsewhere")
    if s.image is None:
        click.echo("  look at the camera and hold still")
    picture = read_picture(s.image) if s.image else None
    with ways(picture is None):
        result = perform(s.config, Enroll(name=name, image=picture, source=str(s.image or "the camera")))
    click.echo(f"  enrolled {result.name} as {result.identity}: {describe(result.quality)}")
    tell(result, "  ")


def _page(s: Setup) -> None:
    if importlib.util.find_spec("starlette") is None:
        click.echo(f"  its packages are not installed: {installation.how_to_add(*installation.PAGE)}")
        return
    from edge_oneshot.web.accounts import Accounts
    from edge_oneshot.web.cameras import state_folder

    accounts = Accounts(state_folder(s.config) / "accounts.json")
    click.echo(
        f"  start it: {'sudo systemctl enable --now edge-oneshot-web' if s.config.system else 'edge-oneshot web run'}"
    )
    click.echo("  address: http://127.0.0.1:8420/ on this device; for a phone see docs/how-to/page.md")
    if not accounts.all and s.agrees("  create a pairing code now? It is valid for 10 minutes"):
        click.echo(f"  pairing code: {accounts.new_code('owner')}")


DO: dict[str, Callable[[Setup], None]] = {
    "camera": _camera,
    "broker": _broker,
    "config": _config,
    "doctor": _doctor,
    "service": _service,
    "enroll": _enroll,
    "page": _page,
}
TITLES = {
    "camera": "Camera",
    "broker": "Broker and Home Assistant",
    "config": "Configuration",
    "doctor": "Check",
    "service": "Service",
    "enroll": "First person",
    "page": "Page in the browser",
}
