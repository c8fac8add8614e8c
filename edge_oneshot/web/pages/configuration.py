"""The configuration of a camera: all keys with their meaning; owners change the safe ones, and the daemon takes them at once."""

from __future__ import annotations

import dataclasses
import hashlib
from typing import Any

from starlette.responses import Response

from edge_oneshot.config import SECTIONS, Config, load_config, section_keys, toml_value
from edge_oneshot.config.edit import SAFE, change_config, check_writable, safe_keys, value_of
from edge_oneshot.control import requests as rq
from edge_oneshot.control.responses import Reloaded
from edge_oneshot.errors import ConfigError, EdgeOneshotError
from edge_oneshot.shown import redact, redact_uri
from edge_oneshot.web.call import Call
from edge_oneshot.web.cameras import Camera, Stopped
from edge_oneshot.web.faults import FormError


def show(call: Call, fault: EdgeOneshotError | None = None, section: str = "", answer: Any = None) -> Response:
    """section: whose form is shown again with what was typed. answer: of the daemon, after a change."""
    camera = call.site.cameras.find(call.query("camera") or call.form.get("camera", ""))
    return call.page(
        "configuration.html",
        422 if fault else 200,
        camera=camera,
        sections=_sections(camera.config),
        stamp=_stamp(camera),
        typed=call.form if section else {},
        failed=section,
        answer=answer,
        fault=fault,
    )


def _sections(config: Config) -> list[tuple[str, list[dict[str, Any]], bool]]:
    """Each section with its keys: name, value, default, whether it was changed, what it means; and whether some can be changed.
    Those come first. No passwords."""
    found = []
    for section in SECTIONS:
        values, keys, safe = getattr(config, section), [], safe_keys(section) if config.path else ()
        for key in section_keys(section):
            value = getattr(values, key.name)
            changed = key.default is not dataclasses.MISSING and value != key.default
            shown = redact(str("" if value is None else toml_value(value) if isinstance(value, bool) else value))
            shown = redact_uri(value) if key.name == "uri" else shown
            choices = ("true", "false") if isinstance(value, bool) else key.metadata["choices"]
            keys.append({"name": key.name, "value": shown, "changed": changed, "doc": key.metadata["doc"]})
            keys[-1] |= {"safe": key.name in safe, "choices": choices, "toml": toml_value(value).strip('"')}
        found.append((section, keys, bool(safe)))
    order = list(SAFE)
    return sorted(found, key=lambda s: order.index(s[0]) if s[2] else len(order))


def _stamp(camera: Camera) -> str:
    """Changes with the file; "" without one."""
    try:
        return "" if camera.config.path is None else hashlib.sha256(camera.config.path.read_bytes()).hexdigest()[:16]
    except OSError:
        return ""


def do_change(call: Call) -> Response:
    """The keys of one section that differ from the file."""
    camera, section = call.site.cameras.find(call.form.get("camera", "")), call.form.get("section", "")
    path = camera.config.path
    if path is None or not safe_keys(section):
        return show(call, FormError("fault.form", ""))
    try:
        with call.site.edits:
            if call.form.get("stamp", "") != _stamp(camera):
                camera.config = load_config(path)
                raise FormError("device.configuration_changed", "")
            now = getattr(load_config(path), section)
            values = {
                (section, key): value
                for key in safe_keys(section)
                if key in call.form and (value := value_of(call.form[key])) != getattr(now, key)
            }
            if not values:
                return call.go(f"/device/configuration?camera={camera.slug}", "device.configuration_same")
            _check_may_write(camera, values)
            _, answer = change_config(path, values, lambda: _take(camera))
            camera.config = load_config(path)
    except EdgeOneshotError as e:
        return show(call, e, section)
    changes = ", ".join(f"{section}.{key} = {toml_value(value)}" for (_, key), value in values.items())
    call.record("configuration changed", f"{camera.slug}: {changes}")
    camera.visits_changed()
    return show(call, answer=answer or "stopped")


def _take(camera: Camera) -> Reloaded | None:
    """The answer of the daemon; None if it does not run, and takes the file at its next start."""
    try:
        return camera.ask(rq.Reload(), 30.0)
    except Stopped:
        return None


def _check_may_write(camera: Camera, values: dict[tuple[str, str], object]) -> None:
    """Raises FormError with the command that does it, where the page has no right to: as a service it has none."""
    assert camera.config.path is not None
    try:
        check_writable(camera.config.path)
    except ConfigError:
        keys = " ".join(f"{section}.{key}={toml_value(value)}" for (section, key), value in values.items())
        name = f"--instance {camera.slug}" if camera.config.system else f"--config {camera.config.path}"
        command = f"sudo edge-oneshot {name} config set {keys}"
        raise FormError("device.configuration_command", "", file=camera.config.path, command=command) from None
