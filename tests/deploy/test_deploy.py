"""The files of deploy/, checked with systemd-analyze and against each other."""

from __future__ import annotations

import configparser
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from edge_oneshot.cameras.decode_child import MAX_MB, MAX_RESULT_PX
from edge_oneshot.config import CameraConfig, Config, MqttConfig, example_toml
from edge_oneshot.control.protocol import MAX_REQUEST_BYTES
from edge_oneshot.control.server import MAX_THREADS, READ_TIMEOUT_S
from edge_oneshot.errors import ConfigError
from edge_oneshot.gallery.schema import BUSY_TIMEOUT_S
from edge_oneshot.service.ip_rules import drop_in

DEPLOY = Path(__file__).parents[2] / "deploy"
UNITS = ("edge-oneshot.service", "edge-oneshot@.service")
PAGE = "edge-oneshot-web.service"
FLEET = "edge-oneshot-fleet.service"


def lines(unit: str) -> list[str]:
    """The settings of a unit, without comments and empty lines."""
    return [line for line in (DEPLOY / unit).read_text().splitlines() if line and not line.startswith("#")]


def settings(unit: str) -> configparser.SectionProxy:
    parser = configparser.ConfigParser(strict=False, interpolation=None, delimiters=("=",))
    parser.optionxform = str  # type: ignore[assignment,method-assign]
    parser.read(DEPLOY / unit)
    return parser["Service"]


def test_the_example_equals_the_output_of_the_program() -> None:
    assert (DEPLOY / "config.example.toml").read_text(encoding="utf-8") == example_toml(), (
        "run: edge-oneshot config example > deploy/config.example.toml"
    )


def test_the_template_differs_from_the_plain_unit_only_by_its_instance() -> None:
    plain = [line for line in lines(UNITS[0]) if not line.startswith("Conflicts=")]
    template = [line.replace("%i", "default").replace(" (default)", "") for line in lines(UNITS[1])]
    assert template == plain


@pytest.mark.parametrize("unit", UNITS)
def test_it_is_restarted_without_limit_except_after_a_faulty_configuration(unit: str) -> None:
    s = settings(unit)
    assert s["Restart"] == "on-failure"
    assert int(s["RestartPreventExitStatus"]) == ConfigError.exit_code
    assert "StartLimitIntervalSec=0" in lines(unit)


@pytest.mark.parametrize("unit", [*UNITS, PAGE, FLEET])
def test_it_uses_no_setting_that_systemd_252_lacks(unit: str) -> None:
    """Bookworm has systemd 252; these settings came with 253 and 254."""
    text = "\n".join(lines(unit))
    assert "notify-reload" not in text
    assert "RestartSteps" not in text
    assert "RestartMaxDelaySec" not in text


@pytest.mark.parametrize("unit", UNITS)
def test_the_watchdog_time_exceeds_the_longest_iteration_of_the_loop(unit: str) -> None:

    assert int(settings(unit)["WatchdogSec"]) > BUSY_TIMEOUT_S + READ_TIMEOUT_S


@pytest.mark.parametrize("unit", UNITS)
def test_memory_and_tasks_suffice_for_the_largest_requests(unit: str) -> None:
    """The measured figures are in docs/reference/service.md. Other limits of the code need other values here."""
    s = settings(unit)
    idle_mb, python_mb, camera_mb = 97, 30, 100
    picture_mb = (MAX_REQUEST_BYTES * 3 // 4 + MAX_RESULT_PX * 3) / 1e6  # the file, and its pixels
    request_mb = 2.2 * MAX_REQUEST_BYTES / 1e6  # while it is read and parsed
    most_mb = idle_mb + camera_mb + max(request_mb, picture_mb + python_mb + MAX_MB)
    assert most_mb < float(s["MemoryMax"].removesuffix("M")) * 1.048576 < 1.2 * most_mb
    assert int(s["TasksMax"]) > 64 + MAX_THREADS + 16  # model.threads = 16; clients; camera, MQTT and child processes
    assert s["OOMPolicy"] == "continue", "otherwise a picture that needs too much memory ends the daemon"


@pytest.mark.parametrize("unit", UNITS)
def test_the_hardening_allows_reading_the_state_of_the_clock(unit: str) -> None:
    """ProtectClock= forbids adjtimex, and then every event is marked unsynced."""
    assert "ProtectClock" not in settings(unit)
    assert any(line.startswith("SystemCallFilter=") and "adjtimex" in line for line in lines(unit))


@pytest.mark.parametrize("unit", [*UNITS, PAGE, FLEET])
def test_systemd_finds_no_fault(unit: str, tmp_path: Path) -> None:
    analyze = shutil.which("systemd-analyze")
    if analyze is None:
        pytest.skip("systemd-analyze is missing: apt-get install systemd")
    for name in (*UNITS, PAGE, FLEET):
        text = re.sub(r"^(Exec\w+=)edge-oneshot ", r"\1/bin/true ", (DEPLOY / name).read_text(), flags=re.MULTILINE)
        (tmp_path / name).write_text(text)
    # A template is checked as one of its instances.
    checked = tmp_path / unit.replace("@", "@front")
    if checked.name != unit:
        checked.write_text((tmp_path / unit).read_text())
    answer = subprocess.run([analyze, "verify", str(checked)], capture_output=True, text=True, timeout=60, check=False)
    ours = [line for line in answer.stderr.splitlines() if "edge-oneshot" in line]
    assert (answer.returncode, ours) == (0, [])


@pytest.mark.parametrize("unit", UNITS)
@pytest.mark.parametrize(
    ("config", "most"),
    [
        (Config(), 15),
        (Config(mqtt=MqttConfig(host="192.0.2.1"), camera=CameraConfig(uri="rtsp://a:b@192.0.2.2/x")), 15),
    ],
)
def test_its_exposure_is_low(unit: str, config: Config, most: int, tmp_path: Path) -> None:
    """With the IP address rules of the configuration, also for a camera and a broker on the network."""
    analyze = shutil.which("systemd-analyze")
    if analyze is None:
        pytest.skip("systemd-analyze is missing: apt-get install systemd")
    path = tmp_path / unit
    rules = drop_in(config).partition("[Service]\n")[2]
    path.write_text((DEPLOY / unit).read_text().replace("[Service]\n", f"[Service]\n{rules}"))
    answer = subprocess.run(
        [analyze, "security", "--offline=yes", f"--threshold={most}", str(path)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert answer.returncode == 0, answer.stdout[-300:] + answer.stderr[-300:]


@pytest.mark.parametrize("unit", [PAGE, FLEET])
def test_the_exposure_of_page_and_fleet_is_low(unit: str) -> None:
    analyze = shutil.which("systemd-analyze")
    if analyze is None:
        pytest.skip("systemd-analyze is missing: apt-get install systemd")
    command = [analyze, "security", "--offline=yes", "--threshold=20", str(DEPLOY / unit)]
    answer = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert answer.returncode == 0, answer.stdout[-300:] + answer.stderr[-300:]


def test_user_and_folders_fit_the_unit() -> None:
    s = settings(UNITS[0])
    users = (DEPLOY / "sysusers.d/edge-oneshot.conf").read_text()
    folders = (DEPLOY / "tmpfiles.d/edge-oneshot.conf").read_text()
    assert re.search(rf"^u {s['User']} ", users, re.MULTILINE)
    assert re.search(rf"^m {s['User']} video$", users, re.MULTILINE), "camera devices belong to root:video"
    assert re.search(
        rf"^d /run/{s['RuntimeDirectory']} {s['RuntimeDirectoryMode']} {s['User']} {s['Group']} ", folders, re.MULTILINE
    )
    assert re.search(
        rf"^d /var/lib/{s['StateDirectory']} {s['StateDirectoryMode']} {s['User']} {s['Group']} ", folders, re.MULTILINE
    )
    assert s["RuntimeDirectoryPreserve"] == "yes", "otherwise an instance that stops removes the sockets of the others"


def test_the_page_has_a_user_who_may_ask_the_daemons_and_cannot_read_the_gallery() -> None:
    s = settings(PAGE)
    users = (DEPLOY / "sysusers.d/edge-oneshot.conf").read_text()
    folders = (DEPLOY / "tmpfiles.d/edge-oneshot.conf").read_text()
    assert s["User"] != settings(UNITS[0])["User"] and settings(UNITS[0])["StateDirectoryMode"] == "0700"
    assert re.search(rf"^u {s['User']} ", users, re.MULTILINE)
    assert re.search(rf"^m {s['User']} edge-oneshot$", users, re.MULTILINE)
    assert "edge-oneshot" in s["SupplementaryGroups"].split()
    assert f"d /var/lib/{s['StateDirectory']} 0700 {s['User']} " in folders
    assert s["PrivateDevices"] == "yes", "it needs no camera"


def test_the_installer_is_a_valid_shell_script_with_complete_help() -> None:
    script = DEPLOY / "install.sh"
    assert subprocess.run(["sh", "-n", str(script)], check=False).returncode == 0
    answer = subprocess.run(["sh", str(script), "--help"], capture_output=True, text=True, check=False)
    assert answer.returncode == 0
    options = set(re.findall(r"^ +(--[a-z-]+)\)", script.read_text(), re.MULTILINE))
    assert options == {
        "--wheel",
        "--with-web",
        "--with-mosquitto",
        "--no-start",
        "--rollback",
        "--uninstall",
        "--purge",
    }
    assert all(option in answer.stdout for option in options)


@pytest.mark.parametrize(
    ("arguments", "word"),
    [(["--nonsense"], "no such option"), (["--purge"], "add --uninstall"), (["--wheel"], "expected a file")],
)
def test_the_installer_refuses_unknown_and_incomplete_options(arguments: list[str], word: str) -> None:
    answer = subprocess.run(["sh", str(DEPLOY / "install.sh"), *arguments], capture_output=True, text=True, check=False)
    assert answer.returncode == 2
    assert "error: " in answer.stderr
    assert word in answer.stderr
    assert "fix: " in answer.stderr


@pytest.mark.parametrize(
    ("output", "word"),
    [
        ("WARNING: Retrying after connection broken\nERROR: [Errno 28] No space left on device", "disk is full"),
        ("E: You don't have enough free space in /var/cache/apt/archives/.", "disk is full"),
        ("OSError: [Errno 30] Read-only file system: '/opt/x'", "read-only"),
        (
            "ERROR: THESE PACKAGES DO NOT MATCH THE HASHES FROM THE REQUIREMENTS FILE.",
            "not have the hash that this release expects",
        ),
        ("E: Could not get lock /var/lib/dpkg/lock-frontend.", "another program"),
        ("E: dpkg was interrupted, you must manually run 'dpkg --configure -a'", "interrupted"),
        ("Temporary failure in name resolution\nERROR: No matching distribution found for av==1", "cannot be reached"),
        ("ERROR: No matching distribution found for av==1", "does not have"),
        ("Killed", "ended with an error"),
    ],
)
def test_the_reason_of_a_failed_installation_is_named(tmp_path: Path, output: str, word: str) -> None:
    """A full disk is not reported as a network that cannot be reached, although pip reports that, too."""
    (tmp_path / "log").write_text(output)
    script = f'. "{DEPLOY}/reasons.sh"; reason "{tmp_path}/log" /'
    answer = subprocess.run(["sh", "-c", script], capture_output=True, text=True, check=True)
    why, fix = answer.stdout.splitlines()
    assert word in why
    assert "run this again" in fix


def test_the_launcher_names_the_fix_when_the_system_got_another_python(tmp_path: Path) -> None:
    """Bookworm to Trixie: bin/python3 of the environment is then another Python, which does not see its packages."""
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin/python3").symlink_to(sys.executable)
    text = (DEPLOY / "launcher.py").read_text().replace("@PREFIX@", str(tmp_path))
    command = tmp_path / "bin/edge-oneshot"
    for version, code, word in (("3.9", 78, "installed for Python 3.9"), (f"3.{sys.version_info[1]}", 0, "version")):
        command.write_text(text.replace("@PYTHON@", version))
        command.chmod(0o755)
        answer = subprocess.run(
            [command, "--version"], env={"PYTHONPATH": str(DEPLOY.parent)}, capture_output=True, text=True, check=False
        )
        assert (answer.returncode, word in answer.stdout + answer.stderr) == (code, True)
        assert "fix: " in answer.stderr or code == 0


def test_operations_states_the_exposure_that_systemd_gives() -> None:
    analyze = shutil.which("systemd-analyze")
    if analyze is None:
        pytest.skip("systemd-analyze is missing: apt-get install systemd")
    version = subprocess.run([analyze, "--version"], capture_output=True, text=True, check=True).stdout.split()[1]
    if version != "252":
        pytest.skip(f"the documented figure is from systemd 252, this is {version}")
    stated = re.search(
        r"rates its exposure ([\d.]+) of 10", (DEPLOY.parent / "docs/reference/service.md").read_text(encoding="utf-8")
    )
    answer = subprocess.run(
        [analyze, "security", "--offline=yes", str(DEPLOY / UNITS[0])],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    found = re.search(r"exposure level for \S+: ([\d.]+)", answer.stdout)
    assert stated and found
    assert stated[1] == found[1]


def test_the_ip_rules_allow_the_hosts_of_the_configuration_and_nothing_else() -> None:
    broker, camera = MqttConfig(host="192.0.2.1"), CameraConfig(uri="rtsp://user:p@ss/:word@[2001:db8::1]:554/x")
    text = drop_in(Config(mqtt=broker, camera=camera))
    assert re.findall(r"^IPAddress.*", text, re.MULTILINE) == [
        "IPAddressDeny=any",
        "IPAddressAllow=localhost",
        "IPAddressAllow=192.0.2.1",
        "IPAddressAllow=2001:db8::1",
    ]
    assert "p@ss" not in text
    without = drop_in(
        Config(mqtt=MqttConfig(enabled=False, host="192.0.2.1"), camera=CameraConfig(uri="v4l2:/dev/video0"))
    )
    assert "192.0.2.1" not in without
    with pytest.raises(ConfigError, match="cannot resolve"):
        drop_in(Config(mqtt=MqttConfig(host="no.such.host.invalid")))


def test_every_secret_of_the_configuration_can_be_a_credential() -> None:
    for unit in UNITS:
        names = re.findall(r"^LoadCredential=([\w-]+):", (DEPLOY / unit).read_text(), re.MULTILINE)
        assert names == ["mqtt-password", "tls-key", "sign-key"]


def test_both_purges_delete_every_secret_and_all_data() -> None:
    """Of a password, TLS key, signing key or gallery key nothing may be left on a device that changes its owner."""
    installer = (DEPLOY / "install.sh").read_text()
    purge = installer[installer.index("removing configuration, gallery") : installer.index("# attempt WHAT")]
    purge = purge.replace('"$config"', "/etc/edge-oneshot").replace('"$state"', "/var/lib/edge-oneshot")
    package = (DEPLOY / "debian" / "postrm").read_text()
    for script in (purge, package[package.index("    purge)") :]):
        deleted = " ".join(line for line in script.splitlines() if line.strip().startswith("rm ")).split()
        assert {
            *("/etc/edge-oneshot", "/var/lib/edge-oneshot", "/var/lib/edge-oneshot-web"),
            *("/etc/credstore/edge-oneshot.*", "/etc/credstore.encrypted/edge-oneshot.*"),
            *(f"/etc/systemd/system/edge-oneshot{unit}.service.d" for unit in ("", "@*", "-web", "-fleet")),
        } <= set(deleted)


def test_a_purge_names_the_secrets_elsewhere_that_it_keeps(tmp_path: Path) -> None:
    path = tmp_path / "default.toml"
    path.write_text(
        '[mqtt]\npassword_file = "mqtt-password"\nkey_file = "/root/door.key"  # of the broker\n'
        '#sign_key_file = "/root/unused"\n  sign_key_file="/srv/sign"\n[gallery]\nkey_file = "/root/gallery.key"\n'
    )
    script = f'. "{DEPLOY}/reasons.sh"; outside_secrets "{path}"'
    answer = subprocess.run(["sh", "-c", script], capture_output=True, text=True, check=True)
    assert answer.stdout.split() == ["/root/door.key", "/root/gallery.key", "/srv/sign"]


def test_the_fleet_owns_the_gallery_like_the_daemon_and_reads_the_same_clock() -> None:
    fleet, daemon = settings(FLEET), settings(UNITS[0])
    for name in ("User", "Group", "StateDirectory", "StateDirectoryMode", "ReadWritePaths", "LoadCredentialEncrypted"):
        assert fleet[name] == daemon[name], name
    assert "ProtectClock" not in fleet, "it forbids adjtimex, and then every record is marked unsynced"
    assert int(fleet["RestartPreventExitStatus"]) == ConfigError.exit_code
    assert fleet["PrivateDevices"] == "yes", "it needs no camera"
