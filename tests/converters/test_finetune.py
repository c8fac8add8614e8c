"""--finetune: the student rounds as the int8 model does, and training it wins back what int8 lost."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from converter_parts import MEAN, STD, outlier_network, pixels, random_network
from PIL import Image

from converters.command import command
from converters.convert import Conversion, convert
from converters.flatbuffer import parse, serialize
from converters.litert import embed
from edge_oneshot.errors import EXIT_NOT_CERTIFIED, ModelError
from edge_oneshot.model.bundle import read_bundle

torch = pytest.importorskip("torch", reason="--finetune trains with torch")

from converters.finetune import distance, finetune  # noqa: E402  after the check for torch
from converters.student import Student, rounded  # noqa: E402


@pytest.fixture(scope="module")
def conversion() -> Conversion:
    return convert(outlier_network(), pixels(40), MEAN, STD)


@pytest.mark.parametrize("network", [random_network, outlier_network])
def test_the_student_rounds_as_the_int8_model_does(network: object) -> None:
    converted = convert(network(), pixels(40), MEAN, STD)  # type: ignore[operator]
    probes = pixels(16, seed=9)
    student, batch = Student(converted), torch.from_numpy(np.stack(probes)).float()
    exact, int8 = embed(converted.reference, probes), embed(converted.model, probes)
    teacher = student.teacher(batch).numpy()
    np.testing.assert_allclose(teacher, exact, atol=1e-4 * np.abs(exact).max())
    with torch.no_grad():
        simulated = student(batch).numpy()
    lost = distance(exact, int8, unit=False)[1]
    assert distance(int8, simulated, unit=False)[1] < 0.3 * lost, "the rest is rounding inside kernels"
    untrained = embed(student.int8(pixels(40)), probes)
    assert distance(int8, untrained, unit=False)[1] < 0.3 * lost


def test_what_int8_lost_is_won_back(conversion: Conversion) -> None:
    said: list[str] = []
    found = finetune(conversion, pixels(80, seed=5), steps=50, say=said.append)
    probes = pixels(40, seed=9)
    exact = embed(conversion.reference, probes)
    before, after = (distance(exact, embed(c.model, probes)) for c in (conversion, found.conversion))
    assert before[0] < 0.96 and 1 - after[0] < 0.6 * (1 - before[0]) and after[1] < 0.8 * before[1]
    assert found.record is not None and found.record["steps"] == 50 and found.record["pictures"] == 64
    assert found.record["held_out"] == 16 and found.record["cosine"]["after"] > found.record["cosine"]["before"]
    assert found.conversion.reference == conversion.reference, "the float model stays that of the source"
    assert found.conversion.passes[-1] == "weights finetuned for int8: 50 steps on 64 pictures"
    assert said[-1].startswith("finetuned: 16 pictures not trained on: cosine between int8 and float 0.")
    kinds = [[op.kind for op in parse(c.model).ops] for c in (conversion, found.conversion)]
    assert kinds[0] == kinds[1]


def test_the_same_seed_gives_the_same_bytes(conversion: Conversion) -> None:
    models = [finetune(conversion, pixels(40, seed=5), steps=3, seed=s).conversion.model for s in (1, 1, 2)]
    assert models[0] == models[1] != models[2]


def test_ctrl_c_keeps_the_result_so_far(conversion: Conversion, monkeypatch: pytest.MonkeyPatch) -> None:
    import converters.finetune as module

    said: list[str] = []

    def stops(text: str) -> None:
        said.append(text)
        if text.startswith("finetune: step 20 "):
            raise KeyboardInterrupt

    monkeypatch.setattr(module, "EVERY_S", -1.0)
    found = finetune(conversion, pixels(80, seed=5), steps=400, say=stops)
    assert "finetune: stopped after 19 of 400 steps; the result so far is used" in said
    assert found.record is None or found.record["steps"] == 19


def test_no_gain_keeps_the_model() -> None:
    converted = convert(random_network(), pixels(40), MEAN, STD)
    said: list[str] = []
    import converters.finetune as module

    found = module._judged(converted, converted.model, pixels(10), {}, unit=True, say=said.append)
    assert found.record is None and found.conversion is converted and "no gain" in said[-1]


def test_too_few_pictures(conversion: Conversion) -> None:
    with pytest.raises(ModelError, match=r"--finetune: expected at least 40 pictures, got 39.*--calibration"):
        finetune(conversion, pixels(39))


@pytest.mark.parametrize("which", [0, 1])
def test_the_gradient_of_a_range_is_that_of_a_finite_difference(which: int) -> None:
    x = torch.linspace(-3, 3, 2001)

    def value(by: float) -> Any:
        ends = [torch.tensor(end + (by if i == which else 0), requires_grad=True) for i, end in enumerate((-1.0, 2.0))]
        total = (rounded(x, *ends) * x).sum()
        total.backward()
        return torch.stack([total.detach(), ends[which].grad])

    (high, _), (low, _), (_, gradient) = value(0.3), value(-0.3), value(0.0)
    assert float(gradient) == pytest.approx(float(high - low) / 0.6, rel=0.03)


def test_without_torch_it_is_one_line_with_the_command(tmp_path: Path) -> None:
    program = (
        "import sys; sys.modules['torch'] = None\n"
        "from converters.produce import check_finetuning\nfrom edge_oneshot.errors import ModelError\n"
        "try: check_finetuning([], None)\nexcept ModelError as e: print(e)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.count("\n") == 1 and "--finetune needs torch" in done.stdout
    assert "pip install 'edge-oneshot-convert[torch]'" in done.stdout


def saved(folder: Path, scenes: Sequence[np.ndarray], copies: int) -> Path:
    """A folder per scene with noisy pictures of it."""
    rng = np.random.default_rng(4)
    for i, scene in enumerate(scenes):
        (folder / f"scene_{i:03d}").mkdir(parents=True)
        for j in range(copies):
            seen = np.clip(scene + rng.normal(0, 6, scene.shape), 0, 255).astype(np.uint8)
            Image.fromarray(seen).save(folder / f"scene_{i:03d}" / f"{j}.png")
    return folder


def test_the_command_offers_it_and_records_it(tmp_path: Path) -> None:
    """Plain int8 is refused, the message names the option, and with the option the bundle is certified."""
    people = saved(tmp_path / "people", pixels(130, seed=11), 2)
    others = saved(tmp_path / "others", pixels(80, seed=5), 1)
    (tmp_path / "net.tflite").write_bytes(serialize(outlier_network()))
    prepared = ["--mean", "127.5", "--std", "128", "--colour", "RGB", "--regions", "frame", "--pictures", "40"]
    judged = ["--certify", people, "--draws", 2, "--max-tar-loss", 12, "--max-eer-loss", 2]
    start = [tmp_path / "net.tflite", "--out", tmp_path / "o.tflite", *prepared, *judged]

    def run(*more: object) -> Any:
        return CliRunner().invoke(command, [str(a) for a in (*start, *more)])

    plain = run("--calibration", others)
    assert plain.exit_code == EXIT_NOT_CERTIFIED, plain.output
    assert "refused: TAR at FMR 1e-3: int8 loses" in plain.output and "Fix: repeat with --finetune" in plain.output
    same = run("--finetune")
    assert isinstance(same.exception, ModelError) and "got 260 of 260 that are in both" in str(same.exception)
    tuned = run("--calibration", others, "--finetune", "--finetune-steps", 60)
    assert tuned.exit_code == 0, tuned.output
    card = read_bundle(tmp_path / "o.tflite").encoder
    found = card.provenance["finetuned"]
    assert isinstance(found, dict) and found["pictures"] == 64 and found["held_out"] == 16 and found["steps"] == 60
    assert card.provenance["source_check"]["relative_error"] < 1e-4, "of the float model before finetuning"  # type: ignore[index]
