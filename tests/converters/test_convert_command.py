"""The command in a process: it writes a bundle that the device loads, or refuses with an exit code."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from converter_parts import pixels, random_network
from PIL import Image

from converters.command import command
from converters.flatbuffer import parse, serialize
from converters.litert import embed
from edge_oneshot.errors import ModelError
from edge_oneshot.model.bundle import read_bundle, split
from edge_oneshot.model.encoder import TwinEncoder
from edge_oneshot.types import Chip

pytest.importorskip("ai_edge_quantizer", reason="pip install 'edge-oneshot-convert'")

FED = ["--mean", "127.5", "--std", "128", "--colour", "RGB", "--regions", "frame"]


def convert(*arguments: object, path: str = "") -> subprocess.CompletedProcess[str]:
    """path: searched for modules and plug-ins first."""
    environment = {k: v for k, v in os.environ.items() if k != "EDGE_ONESHOT_TFLITE_PYTHON"}
    if path:
        environment["PYTHONPATH"] = os.pathsep.join([path, *filter(None, [environment.get("PYTHONPATH")])])
    return subprocess.run(
        [sys.executable, "-m", "converters", *map(str, arguments)],
        capture_output=True,
        text=True,
        env=environment,
        timeout=170,
        check=False,
    )


def inputs(source: Path, people: Path, out: Path) -> list[object]:
    return [source, "--calibration", people, "--pictures", 40, "--out", out, *FED]


def loosely(people: Path, draws: int) -> list[object]:
    """A certificate whose limits the small random network meets."""
    return ["--certify", people, "--draws", draws, "--max-tar-loss", 20, "--max-eer-loss", 5]


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("source") / "small.tflite"
    path.write_bytes(serialize(random_network()))
    return path


@pytest.fixture(scope="module")
def people(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """130 drawn scenes, two pictures each."""
    folder = tmp_path_factory.mktemp("people")
    rng = np.random.default_rng(4)
    for i, scene in enumerate(pixels(130, seed=11)):
        (folder / f"scene_{i:03d}").mkdir()
        for j in (1, 2):
            seen = np.clip(scene * rng.uniform(0.9, 1.1) + rng.normal(0, 6, scene.shape), 0, 255).astype(np.uint8)
            Image.fromarray(seen).save(folder / f"scene_{i:03d}" / f"scene_{i:03d}_{j:04d}.png")
    return folder


@pytest.fixture(scope="module")
def converted(source: Path, people: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("out") / "small.bundle.tflite"
    done = convert(*inputs(source, people, out), *loosely(people, 20), "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["certified"] is True
    assert "XNNPACK takes every operator" in done.stderr
    return out


def test_the_device_runs_the_bundle(converted: Path) -> None:
    bundle = read_bundle(converted)
    assert bundle.encoder.certified
    chip = Chip(pixels=pixels(1)[0], transform=np.eye(2, 3))
    assert TwinEncoder(bundle).encode(chip).vector.shape == (10,)


def test_mirror_is_on_the_card_and_the_certificate_is_of_the_device_embeddings(
    source: Path, people: Path, converted: Path, tmp_path: Path
) -> None:
    out = tmp_path / "mirrored.tflite"
    done = convert(*inputs(source, people, out), "--mirror", *loosely(people, 2))
    assert done.returncode == 0, done.stderr
    bundle, plain = read_bundle(out), read_bundle(converted)
    assert bundle.encoder.mirror and not plain.encoder.mirror
    assert bundle.model == plain.model and bundle.encoder_id != plain.encoder_id
    picture = pixels(1)[0]
    on_device = TwinEncoder(bundle).encode(Chip(pixels=picture, transform=np.eye(2, 3))).vector
    (certified,) = embed(bundle.model, [picture], mirror=True)
    assert np.allclose(on_device, certified / np.linalg.norm(certified), atol=1e-5)
    scores = [split(p.read_bytes(), p)[1]["certificate"]["int8"]["mated_mean"] for p in (out, converted)]  # type: ignore[index]
    assert scores[0] != scores[1], "the certificate must be of mirrored embeddings"


def test_the_report_stands_alone(converted: Path) -> None:
    html = converted.with_suffix(".html").read_text(encoding="utf-8")
    assert html.count('<svg class="chart"') == 2 and "TAR at FMR 1e-3" in html
    assert "src=" not in html and "href=" not in html and "<script" not in html


def test_same_bytes_twice(converted: Path, source: Path, people: Path, tmp_path: Path) -> None:
    out = tmp_path / converted.name
    done = convert(*inputs(source, people, out), *loosely(people, 20))
    assert done.returncode == 0, done.stderr
    assert out.read_bytes() == converted.read_bytes()


def test_nothing_is_guessed(source: Path, people: Path, tmp_path: Path) -> None:
    done = convert(source, "--calibration", people, "--out", tmp_path / "o.tflite")
    assert done.returncode == 1
    assert done.stderr.strip().startswith("error: expected --mean, --std, --colour, --regions")
    assert done.stderr.count("\n") == 1
    done = convert(source, "--calibration", people, "--out", tmp_path / "o.tflite", *FED[:-1], "face")
    assert "--align" in done.stderr and done.returncode == 1
    assert not (tmp_path / "o.tflite").exists()


def test_refused_with_exit_5_and_forced(source: Path, people: Path, tmp_path: Path) -> None:
    """A limit that no model meets takes the place of a model that int8 has damaged."""
    out = tmp_path / "o.tflite"
    arguments = (*inputs(source, people, out), "--certify", people, "--draws", 5, "--max-tar-loss", -200)
    done = convert(*arguments)
    assert done.returncode == 5, done.stderr
    assert "refused: TAR at FMR" in done.stderr and "layers that lose most" in done.stderr
    assert not out.exists() and out.with_suffix(".html").exists()
    done = convert(*arguments, "--force")
    assert done.returncode == 0, done.stderr
    assert not read_bundle(out).encoder.certified


def test_wrong_sources_and_calibrations(source: Path, people: Path, tmp_path: Path) -> None:
    out = tmp_path / "o.tflite"
    (tmp_path / "broken.tflite").write_bytes(source.read_bytes()[:5000])
    (tmp_path / "empty").mkdir()
    two = parse(source.read_bytes())
    two.outputs.append(two.ops[0].output)
    (tmp_path / "two.tflite").write_bytes(serialize(two))
    cases = [
        ((tmp_path / "broken.tflite", "--calibration", people, *FED), "damage"),
        ((source, "--calibration", tmp_path / "empty", *FED), "expected pictures"),
        (
            (source, "--calibration", people, *FED[:4], "--colour", "L", "--regions", "frame"),
            "expected 1 channels last",
        ),
        ((tmp_path / "two.tflite", "--calibration", people, *FED), "expected one vector, got 2"),
        ((source, "--calibration", people, *FED, "--mean", "1,2"), "--mean: expected one number or 3"),
    ]
    for arguments, words in cases:
        done = convert(*arguments, "--out", out)
        assert done.returncode == 1 and words in done.stderr, (arguments, done.stderr)
        assert done.stderr.count("\n") == 1, done.stderr
        assert not out.exists()


def test_bgr_source(source: Path, people: Path, tmp_path: Path) -> None:
    out = tmp_path / "o.tflite"
    fed = ["--mean", "104,117,123", "--std", "128", "--colour", "BGR", "--regions", "frame"]
    done = convert(source, "--calibration", people, "--pictures", 32, "--out", out, *fed)
    assert done.returncode == 0, done.stderr
    card = read_bundle(out).encoder
    assert card.input.colour == "RGB" and card.input.mean == (123.0, 117.0, 104.0)
    assert "not certified" in done.stderr


def test_one_command_and_a_configuration_and_enroll(converted: Path, people: Path, tmp_path: Path) -> None:
    """The three commands of docs/how-to/own-encoder.md; the first is the fixture's."""
    card = split(converted.read_bytes(), converted)[1]
    assert card is not None and card["thresholds"]["identities"] == 130 and card["cohort"]["identities"] == 130
    (tmp_path / "mine.toml").write_text(f'model.encoder = "{converted}"\ndevice.state_dir = "{tmp_path}"\n')
    program = "from edge_oneshot.cli import main; main()"
    picture = people / "scene_007" / "scene_007_0001.png"
    arguments = ["-c", str(tmp_path / "mine.toml"), "enroll", "--name", "Alice", "--image", str(picture)]
    done = subprocess.run([sys.executable, "-c", program, *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 0 and "enrolled Alice" in done.stdout, done.stderr


def test_the_source_check_is_on_card_and_certificate(converted: Path) -> None:
    card = split(converted.read_bytes(), converted)[1]
    assert card is not None
    check = card["provenance"]["source_check"]
    assert check["framework"].startswith("ai-edge-litert") and check["pictures"] == 40
    assert check["relative_error"] < 1e-5 and card["certificate"]["source"] == check


def test_without_labelled_pictures_it_says_what_is_missing(source: Path, people: Path, tmp_path: Path) -> None:
    done = convert(*inputs(source, people, tmp_path / "o.tflite"))
    assert done.returncode == 0
    assert "`edge-oneshot enroll` refuses this bundle" in done.stderr and "--certify DIR" in done.stderr
    program = "from edge_oneshot.cli import main; main()"
    check = [sys.executable, "-c", program, "model", "check", str(tmp_path / "o.tflite")]
    said = subprocess.run(check, capture_output=True, text=True, check=False)
    assert said.returncode == 0 and "no thresholds: `enroll` refuses it" in said.stdout


def test_pictures_are_needed(source: Path, tmp_path: Path) -> None:
    done = CliRunner().invoke(command, [str(source), "--out", str(tmp_path / "o.tflite"), *FED])
    assert isinstance(done.exception, ModelError) and "expected --calibration or --certify" in str(done.exception)


def test_a_graph_that_differs_from_its_source_is_refused(people: Path, tmp_path: Path) -> None:
    """A plug-in's reader whose graph has other weights than the model that it runs."""
    info = tmp_path / "wrong-1.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: wrong\nVersion: 1\n")
    (info / "entry_points.txt").write_text("[edge_oneshot_convert.sources]\nwrong = wrong_reader:read\n")
    (tmp_path / "wrong_reader.py").write_text(
        "from converters.flatbuffer import parse, serialize\nfrom converters.reference import tflite_reference\n"
        "from converters.sources import Source\n"
        "def read(path):\n"
        "    graph = parse(path.read_bytes())\n"
        "    weights = graph.ops[0].tensor(1)\n"
        "    weights.data = weights.array * 1.01\n"
        "    return Source(graph, reference=lambda: tflite_reference(path.read_bytes()))\n"
    )
    (tmp_path / "net.wrong").write_bytes(serialize(random_network()))
    arguments = (*inputs(tmp_path / "net.wrong", people, tmp_path / "o.tflite"), *loosely(people, 2))
    done = convert(*arguments, path=str(tmp_path))
    assert done.returncode == 5 and "differs from the source in ai-edge-litert" in done.stderr, done.stderr
    assert not (tmp_path / "o.tflite").exists()
    done = convert(*arguments, "--no-source-check", path=str(tmp_path))
    assert done.returncode == 5 and "refused: not compared with the source model" in done.stderr, done.stderr
    done = convert(*arguments, "--no-source-check", "--force", path=str(tmp_path))
    assert done.returncode == 0, done.stderr
    assert not read_bundle(tmp_path / "o.tflite").encoder.certified
    card = split((tmp_path / "o.tflite").read_bytes(), tmp_path)[1]
    assert card is not None and card["provenance"]["source_check"]["framework"] is None
