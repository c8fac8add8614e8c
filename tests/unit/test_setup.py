"""`edge-oneshot setup`: a configuration from a bare device, each step again, alone or skipped; nothing is lost."""

from __future__ import annotations

import grp
import os
import socket
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from edge_oneshot import installation
from edge_oneshot.cli import cli, finding
from edge_oneshot.config import edit, example_toml, load_config
from edge_oneshot.config.edit import with_keys, write_config
from edge_oneshot.errors import ConfigError

Call = Callable[..., Result]


@pytest.fixture
def path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path / "default.toml"


@pytest.fixture
def call(path: Path) -> Call:
    def run(*arguments: str, answers: str | None = None) -> Result:
        command = ["--config", str(path), "setup", *arguments]
        return CliRunner().invoke(cli, command, input=answers, standalone_mode=False, catch_exceptions=False)

    return run


@pytest.fixture
def listening() -> Iterator[int]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


@pytest.fixture
def camera(tmp_path: Path, portrait_files: dict[str, Path]) -> str:
    folder = tmp_path / "pictures"
    folder.mkdir()
    for i in range(50):
        (folder / f"{i:02}.png").symlink_to(portrait_files["collins"])
    return f"folder:{folder}"


def test_a_whole_set_up_without_a_question(
    call: Call, path: Path, camera: str, portrait_files: dict[str, Path], tmp_path: Path
) -> None:
    path.write_text(f'[device]\nstate_dir = "{tmp_path}/state"  # mine\n')
    picture = str(portrait_files["collins"])
    done = call("--yes", "--camera", camera, "--broker", "off", "--name", "Ada", "--image", picture, "--skip", "doctor")
    assert done.return_value == 0, done.output
    config = load_config(path)
    assert config.camera.uri == camera and not config.mqtt.enabled
    assert "# mine" in path.read_text()
    assert "works: 512x512, faces found: 1" in done.output
    assert (tmp_path / "edge-oneshot-test.jpg").stat().st_mode & 0o777 == 0o600
    assert "enrolled Ada as ada" in done.output
    assert "pairing code: " in done.output
    (backup,) = tmp_path.glob("default.toml.*.bak")
    assert "camera" not in backup.read_text()
    again = call("--yes", "--only", "config")
    assert again.return_value == 0 and "is unchanged" in again.output


@pytest.mark.skipif(os.geteuid() != 0, reason="only root sets up a service of another user")
def test_root_looks_through_the_camera_of_a_service(call: Call, path: Path, camera: str, tmp_path: Path) -> None:
    state = tmp_path / "state"
    state.mkdir()
    os.chown(state, 65534, 65534)
    path.write_text(f'[device]\nstate_dir = "{state}"\n')
    done = call("--yes", "--camera", camera, "--only", "camera")
    assert done.return_value == 0, done.output
    assert "works: 512x512" in done.output
    assert list(state.iterdir()) == []


def test_the_questions_of_a_first_time(call: Call, path: Path, camera: str, listening: int) -> None:
    answers = f"{camera}\n127.0.0.1:{listening}\nanna\nsecret-of-anna\n\n"
    done = call("--skip", "doctor", "--skip", "enroll", "--skip", "page", answers=answers)
    assert done.return_value == 0, done.output
    config = load_config(path)
    assert (config.camera.uri, config.mqtt.host, config.mqtt.port) == (camera, "127.0.0.1", listening)
    assert config.mqtt.username == "anna"
    assert "secret-of-anna" not in path.read_text() and "secret-of-anna" not in done.output
    password = Path(config.mqtt.password_file)
    assert password.read_text() == "secret-of-anna\n" and password.stat().st_mode & 0o777 == 0o600
    assert "# accepted false match rate" in path.read_text(), "the other keys are there with their meaning"


def test_discovery_is_switched_on_where_home_assistant_is(
    call: Call, path: Path, listening: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(finding, "HOME_ASSISTANT_PORT", listening)
    done = call("--yes", "--broker", f"127.0.0.1:{listening}", "--only", "broker", "--only", "config")
    assert done.return_value == 0, done.output
    assert load_config(path).mqtt.discovery == "device"


def test_a_broker_that_listens_is_found(listening: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(finding, "MQTT_PORT", listening)
    assert ("127.0.0.1", listening) in finding.find_brokers(("127.0.0.1", "nothing.invalid"))
    assert not finding.answers("nothing.invalid", 1883)


def test_a_step_that_fails_says_the_fix_and_the_next_goes_on(call: Call, path: Path) -> None:
    done = call("--yes", "--camera", "folder:/nothing", "--broker", "off", "--skip", "doctor", "--skip", "page")
    assert done.return_value == 1
    assert "failed: " in done.output and "fix: " in done.output
    assert "failed steps: 1; repeat a step with --only STEP" in done.output
    assert not load_config(path).mqtt.enabled


def test_a_broker_address_that_is_none_is_refused(call: Call, path: Path) -> None:
    done = call("--yes", "--broker", "host:door", "--only", "broker")
    assert done.return_value == 1 and "expected HOST or HOST:PORT" in done.output


def test_enroll_without_a_camera_names_every_way(tmp_path: Path) -> None:
    path = tmp_path / "default.toml"
    path.write_text(f'[device]\nstate_dir = "{tmp_path}"\n[camera]\nuri = "folder:/nothing"\n[mqtt]\nenabled = false\n')
    with pytest.raises(Exception) as raised:
        CliRunner().invoke(
            cli, ["-c", str(path), "enroll", "--name", "Ada"], standalone_mode=False, catch_exceptions=False
        )
    hint = getattr(raised.value, "hint", "")
    for way in ("--image FILE", "--camera URI", " camera list", "rtsp://", " web run", " setup"):
        assert way in hint


# ---- the file


@pytest.mark.parametrize("text", ["", "[camera]\n", example_toml(), '[camera]\nuri = "x:"  # old\nfps = 5\n[mqtt]\n'])
def test_a_key_is_set_in_its_section_alone(text: str) -> None:
    new = with_keys(text, {("camera", "uri"): 'folder:a"b', ("mqtt", "port"): 1884})
    data = tomllib.loads(new)
    assert data["camera"]["uri"] == 'folder:a"b' and data["mqtt"]["port"] == 1884
    before = tomllib.loads(text)
    assert {k: v for k, v in data["camera"].items() if k != "uri"} == {
        k: v for k, v in before.get("camera", {}).items() if k != "uri"
    }
    assert with_keys(new, {("camera", "uri"): 'folder:a"b', ("mqtt", "port"): 1884}) == new


def test_a_faulty_configuration_is_not_written(tmp_path: Path) -> None:
    path = tmp_path / "default.toml"
    path.write_text("[camera]\nfps = 5\n")
    with pytest.raises(ConfigError):
        write_config(path, "[camera]\nfps = -1\n")
    assert path.read_text() == "[camera]\nfps = 5\n"
    assert list(tmp_path.iterdir()) == [path]


def test_mode_and_backup(tmp_path: Path) -> None:
    path = tmp_path / "default.toml"
    assert write_config(path, "[camera]\nfps = 5\n") is None
    assert path.stat().st_mode & 0o777 == 0o640
    path.chmod(0o600)
    backup = write_config(path, "[camera]\nfps = 6\n")
    assert backup is not None and backup.read_text() == "[camera]\nfps = 5\n"
    assert path.stat().st_mode & 0o777 == backup.stat().st_mode & 0o777 == 0o600


@pytest.mark.skipif(os.geteuid() != 0, reason="only root writes the configuration of a service")
def test_the_service_may_read_a_new_configuration(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the umask of root: the daemon's group reads it, others do not."""
    monkeypatch.setattr(edit, "SYSTEM_DIR", tmp_path)
    monkeypatch.setattr(edit, "GROUP", "nogroup")
    before = os.umask(0o077)
    try:
        write_config(tmp_path / "front.toml", "[camera]\nfps = 5\n")
    finally:
        os.umask(before)
    at = (tmp_path / "front.toml").stat()
    assert at.st_mode & 0o777 == 0o640 and at.st_gid == grp.getgrnam("nogroup").gr_gid


def test_without_the_configuration_no_password_is_stored(call: Call, path: Path, listening: int) -> None:
    broker = ("--broker", f"127.0.0.1:{listening}", "--username", "anna", "--only", "broker", "--only", "config")
    done = call(*broker, answers="secret-of-anna\nn\n")
    assert done.return_value == 0 and "write" in done.output
    assert list(path.parent.iterdir()) == []


def test_a_password_file_that_is_no_text_is_named(call: Call, path: Path, tmp_path: Path) -> None:
    (secret := tmp_path / "secret").write_bytes("pässwort\n".encode("utf-16"))
    done = call(
        "--yes", "--broker", "127.0.0.1", "--username", "anna", "--password-file", str(secret), "--only", "broker"
    )
    assert done.return_value == 1
    assert f"--password-file {secret}: " in done.output and "fix: give a text file" in done.output


# ---- what a newcomer met


def test_the_commands_that_it_prints_name_the_configuration(
    call: Call, path: Path, camera: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    done = call("--camera", camera, "--broker", "off", "--skip", "doctor", answers="\n\n\n")
    for words in ("run", "enroll --name NAME", "web run"):
        assert f"edge-oneshot --config {path} {words}" in done.output
    assert "systemctl" not in done.output
    monkeypatch.setattr("edge_oneshot.installation.SYSTEMD", path.parent)
    monkeypatch.setattr("edge_oneshot.installation.UNITS", (path.parent,))
    (path.parent / "edge-oneshot@.service").touch()
    assert (
        installation.how_to_start("door", Path("/etc/edge-oneshot/door.toml"))
        == "sudo systemctl start edge-oneshot@door"
    )
    assert installation.how_to_start("default", Path("/etc/edge-oneshot/default.toml")) == "edge-oneshot run", (
        "no such unit"
    )


def test_a_wrong_answer_is_asked_for_again(call: Call, path: Path, camera: str, listening: int) -> None:
    answers = f"folder:/nothing\n{camera}\nhost:door\n127.0.0.1:9\nn\n127.0.0.1:{listening}\n\n\n"
    done = call("--only", "camera", "--only", "broker", "--only", "config", answers=answers)
    assert done.return_value == 0, done.output
    config = load_config(path)
    assert (config.camera.uri, config.mqtt.port) == (camera, listening)
    for scheme in ("v4l2:", "rtsp://", "file:", "folder:"):
        assert scheme in done.output
    assert "nothing answers at 127.0.0.1 port 9" in done.output


def test_it_stops_where_the_configuration_cannot_be_written(
    call: Call, path: Path, camera: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(edit, "check_writable", lambda path: None)
    path.with_name(f".{path.name}.part").mkdir()
    done = call("--yes", "--camera", camera, "--broker", "off", "--name", "Ada")
    assert done.return_value == 1 and "cannot write" in done.output
    assert "not done, since they need the configuration: doctor, service, enroll, page" in done.output
    assert "[4/7]" not in done.output


def test_a_configuration_that_cannot_be_written_is_said_before_the_questions(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    command = ["setup", "--config", str(tmp_path / "file" / "default.toml")]
    with pytest.raises(ConfigError, match="cannot write"):
        CliRunner().invoke(cli, command, standalone_mode=False, catch_exceptions=False)
