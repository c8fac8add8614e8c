"""The promise of docs/explanation/encoder.md, "The same result on every processor", held against the golden file.

The tests are the same on every processor: which one wrote the golden file does not matter. `python tests/golden/make.py`
writes it again.
"""

from __future__ import annotations

import numpy as np
import pytest
from golden import BAND, NUDGE_PX, TOLERANCE_STEPS, Device, Golden, digest, load, nudged, portraits, rendered, steps
from numpy.typing import NDArray

from edge_oneshot.model.bundle import find_bundle, read_bundle
from edge_oneshot.model.encoder import TwinEncoder
from edge_oneshot.types import Chip

GOLDEN = load()
PICTURES = list(GOLDEN["pictures"])
NAMES = list(GOLDEN["fixed"])


@pytest.fixture(scope="module")
def device() -> Device:
    return Device("litert")


@pytest.fixture(scope="module")
def here(device: Device) -> Golden:
    """What the golden file holds, from this machine."""
    return device.run(portraits(), PICTURES)


def test_the_golden_file_is_of_the_shipped_encoder() -> None:
    assert GOLDEN["encoder_id"] == read_bundle(find_bundle("face-web", "encoder")).encoder_id, (
        "python tests/golden/make.py"
    )


def test_pillow_decodes_and_resizes_as_before(here: Golden) -> None:
    """If this fails, Pillow's arithmetic differs from that of all versions from 9.4 to 13.0, and no test below can hold."""
    differs = [key for key, entry in here["pictures"].items() if entry["picture"] != GOLDEN["pictures"][key]["picture"]]
    assert not differs


@pytest.mark.parametrize("name", NAMES)
def test_the_warp_gives_the_same_bytes(here: Golden, name: str) -> None:
    assert here["fixed"][name]["chip"] == GOLDEN["fixed"][name]["chip"]


@pytest.mark.parametrize("name", NAMES)
def test_the_encoder_gives_the_same_numbers_within_the_tolerance(here: Golden, name: str) -> None:
    assert steps(here["fixed"][name], GOLDEN["fixed"][name]).max() <= TOLERANCE_STEPS


def test_the_whole_path_cuts_the_same_chips(here: Golden) -> None:
    """Byte by byte, although the float detectors differ in their last bits: their results are rounded to a grid."""
    assert list(here["pictures"]) == PICTURES  # one face in each
    differs = [key for key, entry in here["pictures"].items() if entry["chip"] != GOLDEN["pictures"][key]["chip"]]
    assert not differs


@pytest.mark.parametrize("shift", [-NUDGE_PX, NUDGE_PX])
def test_other_last_bits_of_the_detectors_change_no_chip(device: Device, shift: float) -> None:
    """The same without a second processor: detectors that are off by ten times what processors differ by."""
    with nudged(device, shift):
        for key, picture in rendered(portraits(), PICTURES).items():
            assert [digest(chip) for chip in device.chips(picture)] == [GOLDEN["pictures"][key]["chip"]], key


def test_the_whole_path_gives_the_same_numbers_within_the_tolerance(here: Golden) -> None:
    assert (
        max(steps(entry, GOLDEN["pictures"][key]).max() for key, entry in here["pictures"].items()) <= TOLERANCE_STEPS
    )


def test_comparison_scores_agree_within_the_band(device: Device, here: Golden) -> None:
    got, golden = device.scores(here["pictures"]), device.scores(GOLDEN["pictures"])
    assert max(abs(got[pair] - score) for pair, score in golden.items()) <= BAND


def test_decisions_outside_the_band_are_the_same(device: Device, here: Golden) -> None:
    """At the card's thresholds for FMR 1e-2, 1e-3 and 1e-4, with mated and non-mated pictures on either side."""
    got, golden = device.scores(here["pictures"]), device.scores(GOLDEN["pictures"])
    for threshold in device.thresholds():
        outside = {pair: score >= threshold for pair, score in golden.items() if abs(score - threshold) > BAND}
        assert len(outside) > 0.8 * len(golden)
        assert {pair: got[pair] >= threshold for pair in outside} == outside


def test_the_golden_pictures_are_worth_comparing(device: Device) -> None:
    """Hundreds of comparisons, mated ones on either side of each threshold, and no non-mated one above the highest."""
    scores = device.scores(GOLDEN["pictures"])
    mated = [score for (a, b), score in scores.items() if a.split()[0] == b.split()[0]]
    others = [score for (a, b), score in scores.items() if a.split()[0] != b.split()[0]]
    thresholds = device.thresholds()
    assert len(mated) >= 100 and len(others) >= 100
    assert all(sum(score < t for score in mated) >= 5 and sum(score >= t for score in mated) >= 50 for t in thresholds)
    assert max(others) < thresholds[-1]


@pytest.mark.parametrize("name", NAMES)
def test_an_embedding_is_the_mean_of_both_mirror_images_dequantized_and_of_unit_norm(device: Device, name: str) -> None:
    """The device's encoder on the same chip, against the raw outputs in float64."""
    encoder = TwinEncoder(read_bundle(find_bundle("face-web", "encoder")), "litert")
    (output,) = encoder.runtime.outputs
    chip = device.fixed(portraits())[name]

    def expected(raw: NDArray[np.int8]) -> NDArray[np.float64]:
        vector = (raw.astype(np.float64) - output.zero_point) * output.scale
        return np.asarray(vector / np.linalg.norm(vector))

    assert encoder.card.mirror
    plain, mirrored = device.encode(chip)
    both = expected(plain) + expected(mirrored)
    got = encoder.encode(Chip(pixels=chip, transform=np.eye(2, 3))).vector
    assert np.abs(got - both / np.linalg.norm(both)).max() < 1e-6
    swapped = encoder.encode(Chip(pixels=np.ascontiguousarray(chip[:, ::-1]), transform=np.eye(2, 3))).vector
    assert np.abs(got - swapped).max() < 1e-6
