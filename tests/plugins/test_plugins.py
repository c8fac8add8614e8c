"""Plug-ins as distributions: pip installs the examples of this folder, and the command line uses them."""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import edge_oneshot
from edge_oneshot.cameras import camera_opener
from edge_oneshot.config import CameraConfig, parse_config, plugins
from edge_oneshot.errors import CameraError, ConfigError
from edge_oneshot.vision.pad import find_pad

HERE = Path(__file__).parent
EXAMPLES = ("demo_camera", "demo_pad")


@pytest.fixture(scope="session")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder into which pip has installed both examples, without a network."""
    if absent := [module for module in ("pip", "setuptools") if importlib.util.find_spec(module) is None]:
        pytest.skip(f"installing a plug-in needs {' and '.join(absent)}")
    work = tmp_path_factory.mktemp("plugins")
    for name in EXAMPLES:  # a build leaves files beside its source
        shutil.copytree(HERE / name, work / name)
    options = ["--quiet", "--disable-pip-version-check", "--no-deps", "--no-index", "--no-build-isolation"]
    command = [sys.executable, "-m", "pip", "install", *options, "--target", str(work / "site")]
    subprocess.run([*command, *(str(work / name) for name in EXAMPLES)], check=True, timeout=150)
    return work / "site"


@pytest.fixture
def path_entry(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An empty folder on sys.path, for distributions that a test writes."""
    site = tmp_path / "site"
    site.mkdir()
    monkeypatch.syspath_prepend(str(site))
    plugins._installed.cache_clear()
    yield site
    plugins._installed.cache_clear()


def distribution(site: Path, name: str, group: str, entry: str, **modules: str) -> None:
    """The files of an installed distribution: its metadata with one entry point, and its modules."""
    info = site / f"{name}-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(f"[{group}]\n{entry}\n")
    for module, text in modules.items():
        (site / f"{module}.py").write_text(text)
    importlib.invalidate_caches()


def run(site: Path, folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """`edge-oneshot` in a process of its own that finds the plug-ins in `site`; state and gallery are in `folder`."""
    path = folder / "default.toml"
    if not path.exists():
        path.write_text(f'[device]\nstate_dir = "{folder}/state"\n[model]\npad = "demo"\n[mqtt]\nenabled = false\n')
    package = str(Path(edge_oneshot.__file__).parents[1])
    code = "from edge_oneshot.cli import main; main()"
    return subprocess.run(
        [sys.executable, "-c", code, "--config", str(path), *arguments],
        env=os.environ | {"PYTHONPATH": os.pathsep.join([str(site), package])},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def test_an_installed_camera_takes_a_picture(installed: Path, tmp_path: Path) -> None:
    out = tmp_path / "a.png"
    result = run(installed, tmp_path, "camera", "test", "--camera", "demo:50", "--out", str(out), "--json")
    assert result.returncode == 0, result.stderr
    assert json.loads(result.stdout)["size"] == [160, 120]
    assert np.abs(np.asarray(Image.open(out)).astype(int) - 128).max() <= 2


def test_the_configuration_accepts_the_scheme_of_an_installed_camera(installed: Path, tmp_path: Path) -> None:
    (tmp_path / "default.toml").write_text('[camera]\nuri = "demo:5"\n')
    assert run(installed, tmp_path, "config", "check").returncode == 0
    (tmp_path / "default.toml").write_text('[camera]\nuri = "demoo:5"\n')
    result = run(installed, tmp_path, "config", "check")
    assert result.returncode == ConfigError.exit_code
    assert "folder:, demo: or a path, got demoo:…; did you mean demo?" in result.stderr


def test_a_camera_plugin_reports_a_fault_of_its_address(installed: Path, tmp_path: Path) -> None:
    result = run(installed, tmp_path, "camera", "test", "--camera", "demo:x", "--out", str(tmp_path / "a.png"))
    assert (result.returncode, result.stdout) == (1, "")
    assert result.stderr == "error: camera.uri: expected demo:COUNT, got 'demo:x'\nfix: write demo:100\n"


def test_an_installed_pad_method_refuses_enrollment_and_identification(
    installed: Path, tmp_path: Path, portrait_files: dict[str, Path], collins: np.ndarray
) -> None:
    bright = tmp_path / "bright.png"
    Image.fromarray(np.minimum(collins.astype(int) + 60, 255).astype(np.uint8)).save(bright)
    refused = run(installed, tmp_path, "enroll", "--name", "Eileen", "--image", str(bright))
    assert refused.returncode == 4
    assert "demo-pad 1 (an example, detects nothing)" in refused.stderr
    enrolled = run(installed, tmp_path, "enroll", "--name", "Eileen", "--image", str(portrait_files["collins"]))
    assert enrolled.returncode == 0, enrolled.stderr
    found = run(installed, tmp_path, "identify", "--image", str(portrait_files["collins"]), "--json")
    assert (found.returncode, json.loads(found.stdout)["pad"]) == (0, "bona_fide")
    assert run(installed, tmp_path, "identify", "--image", str(bright)).returncode == 6


def test_an_unknown_pad_method_ends_with_a_configuration_error(installed: Path, tmp_path: Path) -> None:
    (tmp_path / "default.toml").write_text(f'[device]\nstate_dir = "{tmp_path}/state"\n[model]\npad = "dmeo"\n')
    (tmp_path / "x.png").touch()
    result = run(installed, tmp_path, "identify", "--image", str(tmp_path / "x.png"))
    assert result.returncode == ConfigError.exit_code
    assert "error: model.pad: expected one of demo, got 'dmeo'; did you mean demo?\nfix: " in result.stderr


def test_without_a_name_there_is_no_pad_method() -> None:
    assert find_pad("") is None


def test_no_plugin_is_installed_where_none_is(path_entry: Path) -> None:
    with pytest.raises(ConfigError, match=r"model\.pad: expected one of none \(no plug-in is installed\), got 'demo'"):
        find_pad("demo")


def test_a_plugin_that_cannot_be_imported_is_named_with_its_distribution(path_entry: Path) -> None:
    distribution(path_entry, "bad-camera", plugins.CAMERAS, "bad = bad_camera:f", bad_camera="import no_such_module\n")
    with pytest.raises(CameraError, match=r"cannot import the plug-in 'bad' \(bad-camera 1\.0\): ModuleNotFoundError"):
        camera_opener(CameraConfig(uri="bad:"))
    distribution(path_entry, "raw-camera", plugins.CAMERAS, "raw = raw_camera:f", raw_camera="f = 5\n")
    plugins._installed.cache_clear()
    with pytest.raises(CameraError, match=r"'raw' \(raw-camera 1\.0\): expected a factory to call, got int"):
        camera_opener(CameraConfig(uri="raw:"))


def test_a_name_that_two_distributions_claim_is_refused(path_entry: Path) -> None:
    distribution(path_entry, "one", plugins.CAMERAS, "twin = one:f", one="")
    distribution(path_entry, "two", plugins.CAMERAS, "twin = two:f", two="")
    with pytest.raises(CameraError, match=r"one plug-in named 'twin', got 2: (one 1\.0, two 1\.0|two 1\.0, one 1\.0)"):
        camera_opener(CameraConfig(uri="twin:"))


def test_a_plugin_cannot_replace_a_built_in_camera(path_entry: Path, tmp_path: Path) -> None:
    distribution(path_entry, "mine", plugins.CAMERAS, "folder = mine:f", mine="def f(address, config): ...\n")
    with pytest.raises(CameraError, match=r"got 2: built in: edge_oneshot\.cameras\.schemes:folder, mine 1\.0"):
        camera_opener(CameraConfig(uri=f"folder:{tmp_path}"))


@pytest.mark.parametrize(
    ("factory", "message"),
    [
        ("int", "expected a PAD method with `name` and `judge`, got int"),
        ("lambda: type('M', (), {'name': 'm 1'})()", "got M"),
        ("lambda: type('N', (), {'judge': print})()", "got N"),
    ],
)
def test_a_factory_that_gives_no_pad_method_is_refused(path_entry: Path, factory: str, message: str) -> None:
    distribution(path_entry, "odd", plugins.PAD, "odd = odd_pad:f", odd_pad=f"f = {factory}\n")
    sys.modules.pop("odd_pad", None)
    with pytest.raises(ConfigError, match=message):
        find_pad("odd")


def test_installing_a_plugin_runs_none_of_its_code(path_entry: Path) -> None:
    distribution(path_entry, "loud", plugins.CAMERAS, "loud = loud:f", loud="raise RuntimeError('was imported')\n")
    assert plugins.names(plugins.CAMERAS)[-1] == "loud"
    assert parse_config({"camera": {"uri": "loud:"}}).camera.uri == "loud:"
    assert "loud" not in sys.modules


@pytest.mark.parametrize("scheme", plugins.BUILT_IN[plugins.CAMERAS])
def test_every_built_in_camera_is_found_through_the_table(scheme: str) -> None:
    assert callable(plugins.load(plugins.CAMERAS, scheme, "camera.uri", CameraError))
