"""TOML -> Config. Strict: every fault of a file is reported at once."""

from __future__ import annotations

import math
import os
import re
import tomllib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, TypeGuard, get_type_hints

from edge_oneshot import installation
from edge_oneshot.config import plugins
from edge_oneshot.config.host import host_fault
from edge_oneshot.config.paths import expand
from edge_oneshot.config.root import SECTIONS, SYSTEM_DIR, Config, section_keys
from edge_oneshot.config.sections import FPIR_FROM, FPIR_TO, DecisionConfig
from edge_oneshot.errors import ConfigError, did_you_mean
from edge_oneshot.text_file import read_text

MAX_BYTES = 1_000_000  # tomllib needs a hundred times the memory of what it reads
SLUG = re.compile(r"[a-z0-9_-]{1,64}")
# The ways to state the accepted error. A configuration uses one of them.
WAYS = ("target_fmr", "target_fpir", "false_matches_per_day", "threshold")


def load_config(path: Path | None) -> Config:
    """Read and check the file `path`; None gives the defaults. Raises ConfigError with every fault of the file."""
    if path is None:
        return Config()
    try:
        text = read_text(path, MAX_BYTES)
    except FileNotFoundError:
        raise ConfigError(
            f"no configuration at {path}",
            f"create it with `edge-oneshot config example > {path}`, or name another with --config",
        ) from None
    except PermissionError as e:
        fix = installation.how_to_join_group() or "check its permissions and those of its folder"
        raise ConfigError(f"cannot read {path}: {e.strerror}", fix) from None
    except OSError as e:
        raise ConfigError(f"cannot read {path}: {e}", "check the path and its permissions") from None
    except ValueError as e:
        raise ConfigError(f"cannot read {path}: {e}") from None
    try:
        data = tomllib.loads(text)
    except (ValueError, RecursionError) as e:  # also for numbers of thousands of digits and for deep nesting
        raise ConfigError(f"{path} is not valid TOML: {e}", "correct the line named above") from None
    return parse_config(data, path)


def find_config(path: Path | None = None, instance: str | None = None) -> Config:
    """The configuration at `path`; else of `instance`; else $EDGE_ONESHOT_CONFIG, the system's default.toml, the defaults.

    Raises ConfigError.
    """
    if path is not None:
        return load_config(path)
    if instance:
        return load_config(SYSTEM_DIR / f"{instance}.toml")
    if named := os.environ.get("EDGE_ONESHOT_CONFIG"):
        return load_config(Path(named))
    default = SYSTEM_DIR / "default.toml"
    return load_config(default if default.exists() else None)


def parse_config(data: Mapping[str, object], path: Path | None = None) -> Config:
    """Check a parsed TOML document. path: its file, which names the instance. Raises ConfigError with every fault."""
    faults: list[str] = []
    sections: dict[str, Any] = {}
    for name, values in data.items():
        if name not in SECTIONS:
            faults.append(f"[{name}]: no such section{_known(name, SECTIONS)}")
        elif not isinstance(values, dict):
            faults.append(f"{name}: expected a section [{name}], got {values!r}")
        else:
            sections[name] = _parse_section(name, values, faults, path)
    instance = path.stem if path else "default"
    if not SLUG.fullmatch(instance):
        faults.append(f"file name: expected [a-z0-9_-]+.toml, since it names the instance, got {path and path.name}")
    decision = data.get("decision")
    stated = [way for way in WAYS if way in decision] if isinstance(decision, dict) else []
    if len(stated) > 1:
        faults.append(f"decision: expected one of {', '.join(WAYS)}, got {' and '.join(stated)}; keep one of them")
    config = None
    if not faults:
        config = Config(**sections, instance=instance, path=path)
        faults += contradictions(config)
    if faults or config is None:
        where = path or "the configuration"
        raise ConfigError(f"{where} has {len(faults)} fault{'s' * (len(faults) != 1)}", faults=tuple(faults))
    return config


def contradictions(c: Config) -> list[str]:
    """Faults of keys that are valid alone but not together."""
    faults = []
    if c.decision.confirm_frames > c.decision.window_frames:
        faults.append(
            f"decision.confirm_frames: expected at most window_frames ({c.decision.window_frames}), got {c.decision.confirm_frames}"
        )
    if c.decision.gone_after_s < 2 / c.camera.fps:
        faults.append(
            f"decision.gone_after_s: expected at least two frames at camera.fps ({2 / c.camera.fps:g} s), else each frame "
            f"starts a new track, got {c.decision.gone_after_s:g}"
        )
    faults += _strangers(c.decision)
    scheme = re.match(r"([A-Za-z][A-Za-z0-9+.-]+):", c.camera.uri)
    if scheme and scheme[1].lower() not in (schemes := plugins.names(plugins.CAMERAS)):
        faults.append(
            f"camera.uri: expected {', '.join(f'{s}:' for s in schemes)} or a path, "
            f"got {scheme[0]}…{did_you_mean(scheme[1].lower(), schemes)}"
        )
    for section, limits in (("quality", c.quality), ("enrollment", c.enrollment)):
        if limits.min_luma < limits.max_luma:
            continue
        faults.append(f"{section}.min_luma: expected less than max_luma ({limits.max_luma:g}), got {limits.min_luma:g}")
    if fault := host_fault("mqtt.host", c.mqtt.host):
        faults.append(fault)
    if c.mqtt.prefix == c.mqtt.discovery_prefix:
        faults.append(f"mqtt.discovery_prefix: expected another word than mqtt.prefix, got {c.mqtt.prefix!r} for both")
    if c.mqtt.password_file and not c.mqtt.username:
        faults.append("mqtt.username: expected a name together with password_file, got none")
    if (c.mqtt.ca_file or c.mqtt.cert_file) and not c.mqtt.tls:
        faults.append("mqtt.tls: expected true together with ca_file or cert_file, got false")
    if bool(c.mqtt.cert_file) != bool(c.mqtt.key_file):
        faults.append("mqtt.cert_file and mqtt.key_file: expected both or neither, got one")
    return faults + _kept(c)


def _kept(c: Config) -> list[str]:
    """Of what is kept on the disk, and of the names of the device."""
    faults = []
    if wrong := [name for name in c.access.names if not SLUG.fullmatch(name)]:
        faults.append(f"access.doors: expected names of a-z, 0-9, _ and -, separated by commas, got {wrong[0]!r}")
    if c.visits.pictures and not c.decision.explain_tracks:
        faults.append("decision.explain_tracks: expected more than 0 together with visits.pictures, got 0")
    if c.gallery.key_file and c.device.state_dir and c.key_path.is_relative_to(c.state_dir):
        faults.append(
            f"gallery.key_file: expected a file outside device.state_dir, so that no copy of the gallery holds its key, got {c.key_path}"
        )
    return faults


def _strangers(d: DecisionConfig) -> list[str]:
    """false_matches_per_day and expected_strangers_per_day: both or neither, and a ratio that is a valid target_fpir."""
    matches, strangers = d.false_matches_per_day, d.expected_strangers_per_day
    if matches is None and strangers is None:
        return []
    if strangers is None:
        return [
            "decision.expected_strangers_per_day: expected a number together with false_matches_per_day, got none; "
            "estimate how many visits a day are by people who are not enrolled"
        ]
    if matches is None:
        return ["decision.false_matches_per_day: expected a number together with expected_strangers_per_day, got none"]
    if not FPIR_FROM <= matches / strangers <= FPIR_TO:
        return [
            f"decision.false_matches_per_day: expected {FPIR_FROM * strangers:g} to {FPIR_TO * strangers:g} ({FPIR_FROM:g} to "
            f"{FPIR_TO:g} times expected_strangers_per_day, {strangers:g}), got {matches:g}; change one of the two"
        ]
    return []


def _parse_section(name: str, values: Mapping[str, object], faults: list[str], path: Path | None) -> Any:
    cls = get_type_hints(Config)[name]
    hints = get_type_hints(cls)
    known = {f.name: f for f in section_keys(name)}
    accepted: dict[str, object] = {}
    for key, value in values.items():
        if key not in known:
            faults.append(f"{name}.{key}: no such key{_known(key, known)}")
        elif fault := _fault(hints[key], known[key].metadata, value):
            faults.append(f"{name}.{key}: expected {fault}, got {value!r}")
        elif (kind := known[key].metadata["path"]) and value:
            try:
                accepted[key] = _path(str(value), kind, None if path is None else path.parent)
            except ValueError as e:
                faults.append(f"{name}.{key}: expected {e}")
        elif hints[key] in (float, float | None) and _is_number(value):
            accepted[key] = float(value)
        else:
            accepted[key] = value
    return cls(**accepted)


def _path(text: str, kind: str, base: Path | None) -> str:
    """The path as it is used. A name alone, of a shipped bundle or a systemd credential, stays as it is."""
    if kind == "bundle" and "/" not in text and not text.endswith(".tflite"):
        return text
    if kind == "name" and not any(c in text for c in "/~$"):
        credential = Path(os.environ.get("CREDENTIALS_DIRECTORY", "/nowhere")) / text
        if base is None or _may_exist(credential) or not (base / text).is_file():
            return text
    return expand(text, base)


def _may_exist(path: Path) -> bool:
    """Also if this process may not look: systemd hides the credentials of a service from its ExecReload= command."""
    try:
        path.stat()
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError:
        pass
    return True


def _fault(kind: object, meta: Mapping[str, Any], value: object) -> str | None:
    """What was expected; None if `value` is valid. meta: the metadata of the key (sections.py)."""
    word, valid = "a number", _is_number(value)
    if kind is bool:
        word, valid = "true or false", isinstance(value, bool)
    elif kind is int:
        word, valid = "a whole number", isinstance(value, int) and not isinstance(value, bool)
    elif kind is str:
        word, valid = "text", isinstance(value, str)
    if not valid:
        return word
    if meta["choices"] and value not in meta["choices"]:
        return f"one of {', '.join(map(str, meta['choices']))}"
    if meta["low"] is not None and not (isinstance(value, (int, float)) and meta["low"] <= value <= meta["high"]):
        return f"{word} from {meta['low']:g} to {meta['high']:g}"
    if meta["slug"] and value and not SLUG.fullmatch(str(value)):
        return "at most 64 characters of a-z, 0-9, _ and -"
    return None


def _is_number(value: object) -> TypeGuard[float]:
    """Whether `value` is a finite number that fits a float. Integers in TOML may have hundreds of digits."""
    try:
        return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
    except OverflowError:
        return False


def _known(word: str, known: Iterable[str]) -> str:
    return did_you_mean(word, known) or f"; known: {', '.join(known)}"
