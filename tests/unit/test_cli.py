"""The command line, called as the entry point calls it: exit codes, JSON on standard output, errors in two lines with the fix."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any, NamedTuple

import click
import pytest

from edge_oneshot import __version__, cli
from edge_oneshot.config import Config, DecisionConfig
from edge_oneshot.doctor import Finding, probe
from edge_oneshot.gallery.schema import SCHEMA
from edge_oneshot.recognition.pipeline import Pipeline
from edge_oneshot.service.daemon import Daemon
from edge_oneshot.storage.database import Database


class Done(NamedTuple):
    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


Call = Callable[..., Done]


@pytest.fixture
def call(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Call:
    """call("gallery", "list"): the entry point with a configuration whose state is below tmp_path."""
    config = tmp_path / "front.toml"
    device = f'slug = "front"\nstate_dir = "{tmp_path}/s"\nsocket = "/tmp/no-daemon-{os.getpid()}.sock"\n'
    config.write_text(f"[device]\n{device}[model]\nthreads = 1\n")

    def run(*arguments: str, config: Path | None = config) -> Done:
        monkeypatch.setattr(sys, "argv", ["edge-oneshot", *(("-c", str(config)) if config else ()), *arguments])
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            cli.main()
        out, err = capsys.readouterr()
        return Done(int(ended.value.code or 0), out, err)

    return run


def commands(group: click.Group = cli.cli, path: tuple[str, ...] = ()) -> list[tuple[str, ...]]:
    context = click.Context(group)
    found: list[tuple[str, ...]] = []
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        assert command is not None, (*path, name)
        found.append((*path, name))
        if isinstance(command, click.Group):
            found += commands(command, (*path, name))
    return found


@pytest.mark.parametrize("path", [(), *commands()], ids=" ".join)
def test_every_command_has_a_help_text(call: Call, path: tuple[str, ...]) -> None:
    done = call(*path, "--help", config=None)
    assert done.code == 0
    assert done.out.startswith("Usage: ")
    group: Any = cli.cli
    for name in path:
        group = group.get_command(click.Context(group), name)
    assert group.help, path
    for option in group.params:
        assert isinstance(option, click.Argument) or option.help, (path, option.name)


def test_the_table_of_commands_is_complete() -> None:
    """The table lets --help list the commands without importing them."""
    names = {path[0] for path in commands()}
    assert names == set(cli.COMMANDS)


def test_version(call: Call) -> None:
    assert call("--version", config=None).out.rstrip().endswith(__version__)


@pytest.mark.parametrize(
    "arguments",
    [
        ("dance",),
        ("enroll",),
        ("enroll", "--name", "a", "--image", "x", "--camera", "y"),
        ("gallery", "dance"),
        ("verify", "--name", "a"),
        ("enroll", "--name", "a", "--timeout", "0"),
        ("--instance", "x", "config", "check"),
    ],
)
def test_wrong_usage_ends_with_2(call: Call, arguments: tuple[str, ...]) -> None:
    done = call(*arguments)
    assert done.code == 2
    assert done.out == ""
    assert "Error: " in done.err


def test_the_configuration_may_follow_the_command(call: Call, tmp_path: Path) -> None:
    """And the commands that an error names have it, too."""
    file = str(tmp_path / "front.toml")
    assert file in call("config", "show", "--config", file, config=None).out
    assert file in call("config", f"--config={file}", "show", config=None).out
    done = call("status", "--config", file, config=None)
    assert f"`edge-oneshot --config {file} run`" in done.err or f"edge-oneshot --config {file} run" in done.err
    done = call("gallery", "show", "nobody", "--config", file, config=None)
    assert f"fix: `edge-oneshot --config {file} gallery list` lists the people" in done.err


def test_the_shipped_default_is_no_warning(pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch) -> None:
    """A rate far below the counts of the card is one."""
    found: list[Finding] = []
    monkeypatch.setattr(probe, "report", found.append)
    for fmr, status in ((DecisionConfig().target_fmr, "ok"), (1e-5, "warning")):
        probe.threshold(Config(decision=DecisionConfig(target_fmr=fmr)), pipeline)
        assert next(f.status for f in reversed(found) if f.check == "threshold") == status


def test_a_faulty_configuration_ends_with_78_and_every_fault(call: Call, tmp_path: Path) -> None:
    (bad := tmp_path / "bad.toml").write_text("[camera]\nfsp = 1\nfps = 0\n")
    for command in (("config", "check"), ("gallery", "list"), ("status",), ("run",)):
        done = call(*command, config=bad)
        assert done.code == 78, command
        assert "camera.fsp: no such key; did you mean fps?" in done.err
        assert "camera.fps: expected a number from 0.1 to 120" in done.err
    assert call("config", "check", config=tmp_path / "absent.toml").code == 78
    assert call("config", "check").code == 0


def test_config_show_and_example(call: Call) -> None:
    from edge_oneshot.config import SECTIONS, example_toml

    shown = call("config", "show", "--json").json
    assert set(SECTIONS) <= set(shown)
    assert shown["device"]["slug"] == "front"
    assert shown["derived"]["gallery"].endswith("/s/gallery.sqlite")
    assert 'slug = "front"' in call("config", "show").out
    assert call("config", "example").out == example_toml()


def test_enroll_verify_identify_gallery(call: Call, portrait_files: dict[str, Path], tmp_path: Path) -> None:
    collins, hopper = str(portrait_files["collins"]), str(portrait_files["hopper"])
    enrolled = call("enroll", "--name", "Zoë", "--image", collins, "--json")
    assert (enrolled.code, enrolled.json["identity"], enrolled.json["name"]) == (0, "zoe", "Zoë")
    assert (
        "enrolled Grace Hopper as grace"
        in call("enroll", "--name", "Grace Hopper", "--id", "grace", "--image", hopper).out
    )
    assert [p["identity"] for p in call("gallery", "list", "--json").json] == ["grace", "zoe"]
    assert "Zoë" in call("gallery", "list").out

    for name, image, code in (("zoe", collins, 0), ("Zoë", collins, 0), ("zoe", hopper, 3)):
        done = call("verify", "--name", name, "--image", image, "--json")
        assert (done.code, done.json["decision"]) == (code, "match" if code == 0 else "non_match")
    assert call("verify", "--name", "zoe", "--image", hopper).out.startswith("non-match: Zoë")
    assert call("identify", "--image", hopper, "--json").json["identity"] == "grace"

    assert call("gallery", "show", "zoe", "--json").json["details"][0]["comparable"] is True
    assert call("gallery", "rename", "zoe", "Zoé", "--json").json["name"] == "Zoé"
    assert call("gallery", "check", "--json").json["look_alikes"] == []
    assert "wrote 2 people" in call("gallery", "export", "--plain", str(tmp_path / "out.json")).out
    assert call("gallery", "remove", "grace", "--yes", "--json").json["identity"] == "grace"
    unknown = call("identify", "--image", hopper, "--json")
    assert (unknown.code, unknown.json["identity"]) == (3, None)
    assert call("identify", "--image", hopper).out.startswith("unknown: ")
    assert "import --missing" in call("gallery", "import", str(tmp_path / "out.json")).err
    assert call("gallery", "import", str(tmp_path / "out.json"), "--missing", "--json").json["identities"] == ["grace"]
    assert "Zoé" in call("gallery", "list").out, "the others stay as they are"
    assert "nothing to migrate" in call("gallery", "migrate").out
    call("gallery", "remove", "grace", "--yes")
    assert call("gallery", "remove", "zoe", "--yes").code == 0
    assert call("gallery", "import", str(tmp_path / "out.json"), "--json").json["identities"] == ["grace", "zoe"]
    assert "Zoë" not in call("gallery", "list").out


def test_errors_state_the_fault_and_the_fix_and_print_no_data(
    call: Call, portrait_files: dict[str, Path], tmp_path: Path
) -> None:
    (junk := tmp_path / "junk.jpg").write_text("no picture")
    name = ("--name", "Eve")
    cases: list[tuple[tuple[str, ...], int, str]] = [
        (("enroll", *name, "--image", str(portrait_files["nobody"])), 4, "no face found"),
        (("enroll", *name, "--image", str(portrait_files["both"])), 4, "2 faces found, exactly 1 needed"),
        (("enroll", *name, "--image", str(junk)), 1, "expected a JPEG"),
        (("enroll", *name, "--image", str(tmp_path / "absent.jpg")), 1, "cannot read"),
        (("enroll", "--name", "李", "--image", str(portrait_files["collins"])), 1, "give one with --id"),
        (("enroll", *name, "--id", "E V E", "--image", str(portrait_files["collins"])), 1, "expected 1 to 64 of a-z"),
        (
            ("verify", *name, "--image", str(portrait_files["collins"])),
            1,
            "no person with the name or id 'Eve' is enrolled",
        ),
        (("identify", "--image", str(portrait_files["nobody"])), 6, "no face found"),
        (("gallery", "show", "eve"), 1, "no person with the name or id 'eve'"),
        (("gallery", "remove", "eve", "--yes"), 1, "no person with the name or id 'eve'"),
        (("gallery", "import", str(junk)), 1, "cannot read"),
        (("status",), 1, "no daemon is running"),
        (("model", "info", str(junk)), 1, "expected a TFLite file|cannot read"),
        (("model", "check", "resnet"), 1, "one of the shipped bundles"),
    ]
    for arguments, code, says in cases:
        done = call(*arguments)
        assert done.code == code, (arguments, done)
        assert done.out == "", arguments
        assert done.err.startswith("error: ") or "\nerror: " in done.err, (arguments, done.err)
        assert "Traceback" not in done.err
        assert any(part in done.err for part in says.split("|")), (arguments, done.err)
        assert "fix: " in done.err, (arguments, done.err)
    assert call("gallery", "list", "--json").json == []


def test_a_removal_asks_first(call: Call, portrait_files: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    import io

    call("enroll", "--name", "Eve", "--image", str(portrait_files["collins"]))
    monkeypatch.setattr(sys, "stdin", io.StringIO("n\n"))
    assert call("gallery", "remove", "eve").code == 130
    assert len(call("gallery", "list", "--json").json) == 1


def test_enroll_from_a_camera_that_the_command_names(
    call: Call, portrait_files: dict[str, Path], tmp_path: Path
) -> None:
    (folder := tmp_path / "camera").mkdir()
    for i, who in enumerate(("nobody", "hopper", "hopper")):
        (folder / f"{i}.png").symlink_to(portrait_files[who])
    done = call("enroll", "--name", "Grace", "--camera", f"folder:{folder}", "--json")
    assert done.json["identity"] == "grace"
    assert "Look at the camera." in done.err
    assert "recognized close up" in done.json["forecast"]["sentences"][0]
    for path in folder.iterdir():
        path.unlink()
    (folder / "0.png").symlink_to(portrait_files["nobody"])
    failed = call("enroll", "--name", "Nobody", "--camera", f"folder:{folder}", "--json")
    assert (failed.code, failed.out) == (4, "")
    assert "no face found" in failed.err and "no usable frame before the camera ended" in failed.err


def test_every_frame_of_the_camera_counts_without_a_daemon(
    call: Call, portrait_files: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The prompt comes before the camera is opened: one frame is enough, however long the loop takes to start."""
    announce = Daemon._announce
    monkeypatch.setattr(Daemon, "_announce", lambda self: (time.sleep(0.5), announce(self)))
    (folder := tmp_path / "camera").mkdir()
    (folder / "0.png").symlink_to(portrait_files["hopper"])
    assert call("enroll", "--name", "Grace", "--camera", f"folder:{folder}", "--json").json["identity"] == "grace"
    out = str(tmp_path / "aim.jpg")
    assert call("camera", "test", "--camera", f"folder:{folder}", "--out", out, "--json").json["faces"]


def test_a_request_that_is_refused_does_not_open_the_camera(call: Call, portrait_files: dict[str, Path]) -> None:
    call("enroll", "--name", "Grace", "--image", str(portrait_files["hopper"]))
    taken = call("enroll", "--name", "Grace", "--camera", "folder:/nowhere/at/all")
    assert taken.code == 1 and "already enrolled" in taken.err


def test_a_camera_that_is_lost_without_a_daemon_ends_the_command(call: Call, tmp_path: Path) -> None:
    (folder := tmp_path / "camera").mkdir()
    done = call("enroll", "--name", "Grace", "--camera", f"folder:{folder}", "--json")
    assert (done.code, done.out) == (1, "")
    assert "no image in" in done.err
    assert "error: the camera is lost: " in done.err and " doctor`" in done.err


def test_templates_of_another_encoder_are_not_compared_and_the_command_reports_them(
    call: Call, portrait_files: dict[str, Path], tmp_path: Path
) -> None:
    """As after an upgrade that ships another encoder."""
    collins, hopper = str(portrait_files["collins"]), str(portrait_files["hopper"])
    call("enroll", "--name", "Zoë", "--image", collins)
    (file,) = (tmp_path / "s").rglob("*gallery*.sqlite")
    with closing(Database(file, SCHEMA)) as db:
        db.execute("UPDATE templates SET encoder_id = 'sha256:' || hex(zeroblob(32))")
    nobody = call("identify", "--image", collins)
    assert (nobody.code, nobody.out.strip()) == (3, "unknown: the gallery holds no template that can be compared")
    assert "not compared: 1 template(s) of an unknown encoder; `edge-oneshot gallery check`" in nobody.err
    assert "enroll again: zoe (template of an unknown encoder, not compared)" in call("gallery", "check").out
    call("enroll", "--name", "Grace", "--image", hopper)
    found = call("identify", "--image", hopper)
    assert found.code == 0 and "not compared: 1 template(s)" in found.err
    assert call("identify", "--image", hopper, "--json").json["templates_of_another_encoder"] == 1
    call("enroll", "--name", "Zoë", "--id", "zoe", "--replace", "--image", collins)
    assert "not compared" not in call("identify", "--image", collins).err


def test_models(call: Call) -> None:
    info = call("model", "info", "--json").json
    assert info["card"]["kind"] == "encoder"
    assert info["encoder_id"].startswith("sha256:")
    for bundle in ("", "blazeface_full_range", "blazeface_short_range", "face_landmarks", "omniglot"):
        assert "the model agrees with its card" in call("model", "check", *([bundle] if bundle else [])).out
        assert "licence" in call("model", "info", *([bundle] if bundle else [])).out


def test_evaluate_on_the_two_portraits(call: Call, portrait_files: dict[str, Path], tmp_path: Path) -> None:
    for person, file in (("Eileen", "collins"), ("Grace", "hopper")):
        (tmp_path / "pictures" / person).mkdir(parents=True)
        for number in (1, 2):
            (tmp_path / "pictures" / person / f"{person}_{number:04d}.png").symlink_to(portrait_files[file])
    done = call(
        "evaluate", "verification", "--images", str(tmp_path / "pictures"), "--pairs", "all", "--workers", "1", "--json"
    )
    report = done.json
    assert (report["pairs"], report["mated_pairs"], report["identities"], report["failures_to_acquire"]) == (6, 2, 2, 0)
    assert report["at_threshold"] == {"tar": 1.0, "fmr": 0.0}
    assert report["tar_at_fmr"]["1e-3"] is None  # 4 non-mated pairs resolve no such rate


def test_evaluate_uses_the_threshold_of_the_gallery_as_gallery_check_prints_it(
    call: Call, portrait_files: dict[str, Path], tmp_path: Path
) -> None:
    """It was the threshold of an empty gallery: with target_fpir a lower one than the daemon's."""
    config = tmp_path / "fpir.toml"
    config.write_text(f'[device]\nstate_dir = "{tmp_path / "fpir"}"\n[decision]\ntarget_fpir = 0.01\n')
    folder = tmp_path / "pictures"
    for person, file in (("Eileen", "collins"), ("Grace", "hopper")):
        call("enroll", "--name", person, "--image", str(portrait_files[file]), config=config)
        (folder / person).mkdir(parents=True)
        for number in (1, 2):
            (folder / person / f"{person}_{number:04d}.png").symlink_to(portrait_files[file])
    arguments = ("evaluate", "verification", "--images", str(folder), "--pairs", "all", "--workers", "1", "--json")
    in_force = call("gallery", "check", "--json", config=config).json["threshold"]
    assert call(*arguments, config=config).json["threshold"] == in_force
    other = tmp_path / "empty.toml"
    other.write_text(f'[device]\nstate_dir = "{tmp_path / "empty"}"\n[decision]\ntarget_fpir = 0.01\n')
    assert call(*arguments, config=other).json["threshold"] < in_force
    assert not (tmp_path / "empty").exists(), "evaluating creates no gallery"


def test_the_installed_command_is_this_one() -> None:
    """Once as a process: the entry point of the installed package, its exit code, and both streams."""
    command = str(Path(sys.executable).with_name("edge-oneshot"))
    done = subprocess.run([command, "gallery", "dance"], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout) == (2, "")
    piped = subprocess.run([command, "config", "example"], stdout=subprocess.PIPE, text=True, timeout=60)
    assert (piped.returncode, piped.stdout.splitlines()[0][:1]) == (0, "#")


ROOT = Path(__file__).resolve().parents[2]


def test_every_command_is_documented() -> None:
    prose = "\n".join(p.read_text(encoding="utf-8") for p in (ROOT / "README.md", *(ROOT / "docs").rglob("*.md")))
    missing = [" ".join(path) for path in commands() if f"edge-oneshot {' '.join(path)}" not in prose]
    assert missing == []
