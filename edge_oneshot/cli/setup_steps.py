"""The steps of `edge-oneshot setup`. Each can be skipped and repeated."""

from __future__ import annotations

import importlib.util
import os
import subprocess
from collections.abc import Callable

import click

from edge_oneshot import installation
from edge_oneshot.cli import as_called
from edge_oneshot.cli.common import perform, read_picture
from edge_oneshot.cli.setup_places import Setup, broker, camera, load, password_path
from edge_oneshot.errors import ConfigError, EdgeOneshotError


def _store_password(s: Setup) -> None:
    """Write the password with mode 0600."""
    file = password_path(s)
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
        if s.password and s.agrees(f"  replace the password in {password_path(s)}?"):
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
            click.echo(f"  {found.status}: {found.check}: {found.message}\n    fix: {as_called(found.fix)}")
    if faults:
        raise EdgeOneshotError(
            f"doctor found {faults} faults", "fix them as shown, then: edge-oneshot setup --only doctor"
        )
    click.echo("  no faults found")


def _service(s: Setup) -> None:
    unit = installation.unit_of(s.config.instance)
    if not (s.config.system and installation.has_unit(unit)):
        click.echo(as_called("  start the daemon yourself: edge-oneshot run"))
        return
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
        click.echo(as_called("  later: edge-oneshot enroll --name NAME"))
        return
    if (sealed := seal_new(s.config)) is not None:
        click.echo(f"  sealed with the key {sealed.key}: copy it to a place that is not on this device")
    elif importlib.util.find_spec("cryptography") is None:
        click.echo(f"  the gallery is not encrypted: {installation.how_to_add('cryptography>=42')}, then seal it")
    picture = read_picture(s.image) if s.image else None
    if picture is None:
        click.echo("  look at the camera and hold still")
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
    unit = s.config.system and installation.has_unit("edge-oneshot-web")
    start = "sudo systemctl enable --now edge-oneshot-web" if unit else as_called("edge-oneshot web run")
    click.echo(
        f"  start it: {start}\n  address: http://127.0.0.1:8420/ on this device; for a phone see docs/how-to/page.md"
    )
    if not accounts.all and s.agrees("  create a pairing code now? It is valid for 10 minutes"):
        click.echo(f"  pairing code: {accounts.new_code('owner')}")


DO: dict[str, Callable[[Setup], None]] = {
    "camera": camera,
    "broker": broker,
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
