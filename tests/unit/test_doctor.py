"""The doctor: each line states a finding and its fix; a check that hangs or crashes does not stop the next ones."""

from __future__ import annotations

import json
import os
import socket
import sys
import threading
from pathlib import Path

import pytest
from click.testing import CliRunner

from edge_oneshot.cli import cli
from edge_oneshot.config import Config, DeviceConfig, MqttConfig, parse_config
from edge_oneshot.doctor import PAD, Finding, child, credentials, daemon, device, files, ok, within


def write_config(folder: Path, camera: str, mqtt: str = "enabled = false") -> Path:
    path = folder / "default.toml"
    path.write_text(
        f'[device]\nstate_dir = "{folder}/state"\n[camera]\nuri = "{camera}"\n[decision]\nthreshold = 0.5\n[mqtt]\n{mqtt}\n'
    )
    return path


def findings(config: Path, *options: str) -> tuple[int, dict[str, dict[str, str]]]:
    result = CliRunner().invoke(cli, ["--config", str(config), "doctor", "--json", *options], standalone_mode=False)
    assert result.exception is None, result.output
    report = json.loads(result.stdout)
    assert report["faults"] == sum(f["status"] == "fault" for f in report["findings"])
    assert all(f["fix"] for f in report["findings"] if f["status"] != "ok"), "every warning and fault states its fix"
    return int(result.return_value), {f["check"]: f for f in report["findings"]}


def test_a_sound_device_has_no_fault(tmp_path: Path, portrait_files: dict[str, Path]) -> None:
    folder = tmp_path / "pictures"
    folder.mkdir()
    (folder / "a.png").write_bytes(portrait_files["collins"].read_bytes())
    code, found = findings(write_config(tmp_path, f"folder:{folder}"))
    assert code == 0
    assert found["camera"]["message"] == f"folder:{folder} delivers 512x512, 1 face in the first frame"
    assert "numpy" in found["runtime"]["message"]
    assert "fits its card and ran" in found["model"]["message"]
    assert found["attacks"]["message"].endswith(PAD)
    assert {"config", "daemon", "broker", "clock", "state", "disk"} <= found.keys()


def test_a_damaged_model_is_a_fault_and_the_camera_is_still_checked(
    tmp_path: Path, portrait_files: dict[str, Path]
) -> None:
    broken = tmp_path / "broken.tflite"
    broken.write_bytes(b"no model at all, but long enough")
    path = write_config(tmp_path, f"folder:{portrait_files['collins'].parent}")
    path.write_text(path.read_text() + f'[model]\nencoder = "{broken}"\n')
    code, found = findings(path)
    assert code == 1
    assert found["model"]["status"] == "fault"
    assert "broken.tflite" in found["model"]["message"]
    assert found["camera"]["status"] == "ok"


def test_a_camera_that_does_not_answer_is_a_fault_within_the_time_limit(tmp_path: Path) -> None:
    """A port that accepts connections and sends nothing, like a network camera that hangs."""
    pytest.importorskip("av")
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        path = write_config(tmp_path, f"rtsp://user:secret@127.0.0.1:{silent.getsockname()[1]}/x")
        code, found = findings(path, "--timeout", "15")
    assert code == 1
    assert found["camera"]["status"] == "fault"
    assert "secret" not in json.dumps(found)


def test_every_fault_of_the_configuration_is_listed(tmp_path: Path) -> None:
    path = tmp_path / "default.toml"
    path.write_text('[camera]\nwidth_px = "wide"\nsped = 3\n')
    result = CliRunner().invoke(cli, ["--config", str(path), "doctor"], standalone_mode=False)
    assert result.return_value == 1
    assert "camera.width_px" in result.output
    assert "camera.sped" in result.output


def test_an_unreachable_broker_is_a_fault(tmp_path: Path, portrait_files: dict[str, Path]) -> None:
    with socket.socket() as s:  # a port that is closed after this block
        s.bind(("127.0.0.1", 0))
        port = s.getsockname()[1]
    code, found = findings(
        write_config(tmp_path, f"folder:{portrait_files['collins'].parent}", f'host = "127.0.0.1"\nport = {port}')
    )
    assert code == 1
    assert found["broker"]["status"] == "fault"
    assert "mqtt.host" in found["broker"]["fix"]


def test_a_crash_of_native_code_is_a_finding(tmp_path: Path) -> None:
    code = 'import json, os; print(json.dumps({"step": "camera library"}), flush=True); os.kill(os.getpid(), 11)'
    (found,) = child.run([sys.executable, "-c", code], 30)
    assert (found.check, found.status) == ("camera library", "fault")
    assert "SIGSEGV" in found.message
    assert "numpy" in found.fix


def test_a_hang_of_native_code_is_a_finding_and_earlier_ones_are_kept() -> None:
    first = json.dumps(ok("model", "fine").as_dict())
    code = (
        f"import time; print('noise'); print({first!r}); print('{{\"step\": \"camera\"}}', flush=True); time.sleep(60)"
    )
    before, found = child.run([sys.executable, "-c", code], 3)
    assert before == ok("model", "fine")
    assert (found.check, found.status) == ("camera", "fault")
    assert "3 s" in found.message


def test_a_check_that_never_ends_is_abandoned() -> None:
    never = threading.Event()

    def look() -> Finding:
        never.wait()
        return ok("broker", "late")

    try:
        found = within(0.1, "broker", look)
    finally:
        never.set()
    assert (found.check, found.status) == ("broker", "fault")


def test_a_daemon_that_never_answers_is_a_fault(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(daemon, "ANSWER_LIMIT_S", 0.2)
    path = tmp_path / "s.sock"
    with socket.socket(socket.AF_UNIX) as silent:
        silent.bind(str(path))
        silent.listen()
        state, found = daemon.ask_status(Config(device=DeviceConfig(socket=str(path))))
    assert state is None
    assert found.status == "fault"
    assert "has not answered for 0.2 s" in found.message


def test_files_that_others_may_read_are_a_fault(tmp_path: Path) -> None:
    config = Config(device=DeviceConfig(state_dir=str(tmp_path), socket=str(tmp_path / "s.sock")))
    gallery = config.gallery_path
    gallery.touch(mode=0o600)
    assert [f.status for f in device.permissions(config)] == ["ok"]
    gallery.chmod(0o644)
    (found,) = device.permissions(config)
    assert found.status == "fault"
    assert "0644" in found.message
    assert found.fix == f"chmod 600 {gallery}"


@pytest.mark.skipif(os.geteuid() != 0, reason="changing the owner of a file needs root")
def test_a_gallery_of_another_owner_is_a_fault(tmp_path: Path) -> None:
    """As left by `sudo edge-oneshot enroll` without a daemon: the service cannot open it."""
    config = Config(device=DeviceConfig(state_dir=str(tmp_path), socket=str(tmp_path / "s.sock")))
    config.gallery_path.touch(mode=0o600)
    os.chown(config.gallery_path, 12345, -1)
    (found,) = device.permissions(config)
    assert found.status == "fault"
    assert "12345" in found.message


def test_a_socket_that_every_user_may_open_is_a_fault(tmp_path: Path) -> None:
    path = tmp_path / "s.sock"
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(path))
        path.chmod(0o666)
        found = list(
            device.permissions(Config(device=DeviceConfig(state_dir=str(tmp_path / "state"), socket=str(path))))
        )
        assert [f.check for f in found if f.status == "fault"] == ["socket"]


def test_the_password_of_the_service_is_looked_up_in_the_credential_store() -> None:
    from edge_oneshot.doctor import broker

    data = {"mqtt": {"username": "porch", "password_file": "mqtt-password"}}
    stored = broker._credential(parse_config(data, Path("/etc/edge-oneshot/front.toml")))
    assert stored == Path("/etc/credstore/edge-oneshot.front.mqtt-password")
    assert broker._credential(parse_config(data, Path("/home/me/front.toml"))) is None
    elsewhere = MqttConfig(username="porch", password_file="/x/y")
    assert broker._credential(Config(mqtt=elsewhere, path=Path("/etc/edge-oneshot/a.toml"))) is None


@pytest.mark.parametrize("bits", [0o644, 0o640, 0o602])
def test_a_password_that_others_may_read_is_a_warning(tmp_path: Path, bits: int) -> None:
    path = tmp_path / "password"
    path.write_text("secret\n")
    config = Config(mqtt=MqttConfig(username="porch", password_file=str(path)))
    path.chmod(0o600)
    assert [(f.check, f.status) for f in credentials.check(config)] == [("credentials", "ok")]
    path.chmod(bits)
    (found,) = credentials.check(config)
    assert (found.status, found.fix) == ("warning", f"chmod 600 {path}")
    assert f"{bits:04o}" in found.message


def test_every_file_with_a_secret_is_looked_at(tmp_path: Path) -> None:
    """Also the credential that the unit loads, and the configuration itself if a camera's URI has a password in it."""
    data = {
        "camera": {"uri": "rtsp://user:secret@host/x"},
        "mqtt": {"username": "a", "password_file": "mqtt-password", "sign_key_file": "/k/sign", "tls": True},
    }
    path = tmp_path / "front.toml"
    assert credentials.files(parse_config(data, path)) == [
        Path("/etc/credstore/edge-oneshot.front.mqtt-password"),
        Path("/k/sign"),
        path,
    ]
    assert credentials.files(Config(path=path)) == []


@pytest.mark.parametrize("content", [b"garbage\n", bytes(4096), b"SQLite format 3\0" + bytes(range(256)) * 20])
def test_a_gallery_that_holds_garbage_is_a_fault(tmp_path: Path, content: bytes) -> None:
    config = Config(device=DeviceConfig(state_dir=str(tmp_path)))
    config.gallery_path.write_bytes(content)
    (found,) = files.check(config)
    assert (found.status, str(config.gallery_path) in found.message) == ("fault", True)
    assert config.gallery_path.read_bytes() == content, "doctor only reads"
