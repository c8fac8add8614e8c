"""The configuration: all faults at once, suggestions, contradictions, derived paths and the example file."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest

from edge_oneshot.config import SECTIONS, SYSTEM_DIR, Config, example_toml, load_config, parse_config, section_keys
from edge_oneshot.errors import ConfigError

ROOT = Path(__file__).resolve().parents[2]


def faults_of(text: str) -> tuple[str, ...]:
    with pytest.raises(ConfigError) as caught:
        parse_config(tomllib.loads(text))
    return caught.value.faults


def test_an_empty_document_gives_the_defaults() -> None:
    assert parse_config({}) == Config() == load_config(None)


def test_all_faults_are_reported_at_once() -> None:
    faults = faults_of("""
        colour = 3
        [camra]
        [camera]
        width = 640
        fps = "fast"
        rotation = 45
        mirror = 1
        [decision]
        target_fmr = 2.0
        threshold = nan
        [device]
        slug = "Front Door"
        [model]
        threads = 2.5
    """)
    expected = (
        r"^\[?colour\]?: ",
        r"\[camra\]: no such section; did you mean camera\?",
        r"camera\.width: no such key; did you mean width_px\?",
        r"camera\.fps: expected a number, got 'fast'",
        r"camera\.rotation: expected one of 0, 90, 180, 270, got 45",
        r"camera\.mirror: expected true or false, got 1",
        r"decision\.target_fmr: expected a number from 1e-07 to 0\.5, got 2\.0",
        r"decision\.threshold: expected a number, got nan",
        r"device\.slug: expected at most 64 characters of a-z.*got 'Front Door'",
        r"model\.threads: expected a whole number, got 2\.5",
        r"decision: expected one of target_fmr, .*got target_fmr and threshold; keep one of them",
    )
    for pattern in expected:
        assert any(re.search(pattern, f) for f in faults), pattern
    assert len(faults) == len(expected)


def test_a_key_that_resembles_no_other_is_reported_with_the_list() -> None:
    (fault,) = faults_of("[model]\nxyzzy = 1")
    assert fault.endswith("no such key; known: " + ", ".join(k.name for k in section_keys("model")))


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("[decision]\nconfirm_frames = 6\nwindow_frames = 5", "decision.confirm_frames"),
        ("[quality]\nmin_luma = 235", "quality.min_luma"),
        ("[enrollment]\nmin_luma = 225", "enrollment.min_luma"),
        ('[mqtt]\npassword_file = "x"', "mqtt.username"),
        ('[mqtt]\nca_file = "x"', "mqtt.tls"),
    ],
)
def test_contradictions(text: str, names: str) -> None:
    (fault,) = faults_of(text)
    assert fault.startswith(names)


@pytest.mark.parametrize("section", SECTIONS)
def test_bounds_are_inclusive(section: str) -> None:
    bounded = [k for k in section_keys(section) if k.metadata["low"] is not None]
    for key in bounded:
        low, high = key.metadata["low"], key.metadata["high"]
        fault = (
            f"{section}.{key.name}: expected a {'whole ' * isinstance(key.default, int)}number from {low:g} to {high:g}"
        )
        for value, good in ((low, True), (high, True), (low - 1, False), (high + 1, False)):
            try:
                parse_config({section: {key.name: value}})
                faults: tuple[str, ...] = ()
            except ConfigError as e:
                faults = e.faults
            assert any(f.startswith(fault) for f in faults) != good, (key.name, value, faults)


def test_numbers_too_large_for_a_float_are_faults() -> None:
    (fault,) = faults_of(f"[camera]\nfps = 1{'0' * 400}")
    assert fault.startswith("camera.fps: expected a number")


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"[camera\n", "is not valid TOML"),
        (b"\xff\xfe", "cannot read"),
        (b"a = " + b"[" * 5000, "is not valid TOML"),
        (b"a = 1" + b"0" * 5000, "is not valid TOML"),
    ],
    ids=["syntax", "not utf-8", "nested", "number"],
)
def test_unreadable_files_are_config_errors(content: bytes, says: str, tmp_path: Path) -> None:
    path = tmp_path / "front.toml"
    path.write_bytes(content)
    with pytest.raises(ConfigError, match=says):
        load_config(path)


def test_a_missing_file_and_a_folder_are_config_errors(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no configuration at"):
        load_config(tmp_path / "absent.toml")
    with pytest.raises(ConfigError, match="cannot read"):
        load_config(tmp_path)


def test_the_file_name_is_the_instance_and_must_be_a_slug(tmp_path: Path) -> None:
    path = tmp_path / "front.toml"
    path.write_text('[device]\nstate_dir = "/srv/x"\n')
    config = load_config(path)
    assert config.instance == "front"
    assert config.socket_path == Path("/srv/x/front.sock")
    assert config.outbox_path == Path("/srv/x/outbox-front.sqlite")
    assert config.gallery_path == Path("/srv/x/gallery.sqlite")
    (bad := tmp_path / "Front Door.toml").write_text("")
    with pytest.raises(ConfigError) as caught:
        load_config(bad)
    assert "file name" in caught.value.faults[0]


def test_the_state_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("STATE_DIRECTORY", raising=False)
    monkeypatch.setenv("XDG_DATA_HOME", "/home/me/data")
    assert Config().state_dir == Path("/home/me/data/edge-oneshot")
    system = Config(path=SYSTEM_DIR / "front.toml", instance="front")
    assert system.state_dir == Path("/var/lib/edge-oneshot")
    assert system.socket_path == Path("/run/edge-oneshot/front.sock")
    monkeypatch.setenv("STATE_DIRECTORY", "/var/lib/a:/var/lib/b")
    assert system.state_dir == Path("/var/lib/a")


def test_the_device_slug_comes_from_the_host_and_the_instance(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("socket.gethostname", lambda: "Küche Pi.local")
    assert Config().device_slug == "k-che-pi"
    assert Config(instance="front").device_slug == "k-che-pi-front"


def test_the_example_has_every_key_at_its_default() -> None:
    text = example_toml()
    assert parse_config(tomllib.loads(text)) == Config()
    uncommented = tomllib.loads(re.sub(r"(?m)^#(\w+ = )", r"\1", text))
    assert {s: set(uncommented[s]) for s in SECTIONS} == {s: {k.name for k in section_keys(s)} for s in SECTIONS}
    for section in SECTIONS:
        for key in section_keys(section):
            if key.default is not None:
                assert uncommented[section][key.name] == key.default
            assert key.metadata["doc"] in text
    for one_of in ("threshold", "target_fpir", "false_matches_per_day", "expected_strangers_per_day"):
        uncommented["decision"].pop(one_of)
    assert parse_config(uncommented) == Config()


def test_the_example_in_deploy_is_the_generated_one() -> None:
    path = ROOT / "deploy" / "config.example.toml"
    assert path.read_text() == example_toml(), "edge-oneshot config example > deploy/config.example.toml"


def test_an_unknown_kind_of_camera_is_a_fault() -> None:
    with pytest.raises(ConfigError) as caught:
        parse_config({"camera": {"uri": "foldr:x"}})
    assert "foldr:" in caught.value.faults[0]
    assert parse_config({"camera": {"uri": "/a/plain/path"}}).camera.uri == "/a/plain/path"


def test_a_frame_rate_too_low_for_a_track_is_a_fault() -> None:
    with pytest.raises(ConfigError) as caught:
        parse_config({"camera": {"fps": 0.4}})
    assert "gone_after_s" in caught.value.faults[0]
    parse_config({"camera": {"fps": 0.4}, "decision": {"gone_after_s": 6.0}})
