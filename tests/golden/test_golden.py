"""The encoder gives the same numbers as when the golden file was made; `python tests/golden/make.py` makes it anew.

Tolerance: none where the outputs were seen to be the same bit by bit (AVX2, aarch64), else 1 LSB; the detector's float
networks may differ in the last bits between processors, so chips that it placed are given 1 LSB more there.
"""

from __future__ import annotations

import numpy as np
import pytest
from golden import aligned, chips, encode, exact_here, load
from numpy.typing import NDArray

from edge_oneshot.model.bundle import find_bundle, read_bundle
from edge_oneshot.model.encoder import TwinEncoder
from edge_oneshot.types import Chip


def distance(a: list[int], b: list[int]) -> int:
    assert len(a) == len(b)
    return int(np.abs(np.array(a) - np.array(b)).max())


def test_the_golden_file_is_of_the_shipped_encoder() -> None:
    assert load()["encoder_id"] == read_bundle(find_bundle("", "encoder")).encoder_id, "python tests/golden/make.py"


@pytest.mark.parametrize("name", ["collins", "hopper"])
def test_the_encoder_gives_the_same_numbers(name: str) -> None:
    assert distance(encode(chips()[name], "litert"), load()["chips"][name]) <= (0 if exact_here() else 1)


@pytest.mark.parametrize("name", ["collins", "hopper"])
def test_an_embedding_is_the_mean_of_both_mirror_images_dequantized_and_of_unit_norm(name: str) -> None:
    """The device's encoder on the same chip, against the golden output in float64."""
    encoder = TwinEncoder(read_bundle(find_bundle("", "encoder")), "litert")
    (output,) = encoder.runtime.outputs
    chip = chips()[name]

    def expected(pixels: NDArray[np.uint8]) -> NDArray[np.float64]:
        vector = (np.array(encode(pixels, "litert"), dtype=float) - output.zero_point) * output.scale
        return np.asarray(vector / np.linalg.norm(vector))

    assert encoder.card.mirror
    both = expected(chip) + expected(np.ascontiguousarray(chip[:, ::-1]))
    got = encoder.encode(Chip(pixels=chip, transform=np.eye(2, 3))).vector
    assert np.abs(got - both / np.linalg.norm(both)).max() < 1e-6
    mirrored = encoder.encode(Chip(pixels=np.ascontiguousarray(chip[:, ::-1]), transform=np.eye(2, 3))).vector
    assert np.abs(got - mirrored).max() < 1e-6


@pytest.mark.parametrize("name", ["collins", "hopper"])
def test_the_whole_path_gives_the_same_numbers(name: str) -> None:
    assert distance(encode(aligned()[name], "litert"), load()["portraits"][name]) <= (0 if exact_here() else 2)


def test_the_two_people_are_told_apart_and_each_is_like_herself() -> None:
    """The file itself makes sense: fixed chips and aligned ones of one person agree, two people do not."""
    golden = load()

    def vector(kind: str, name: str) -> np.ndarray:
        v = np.array(golden[kind][name], dtype=float)
        return v / np.linalg.norm(v)

    own = [float(vector("chips", n) @ vector("portraits", n)) for n in ("collins", "hopper")]
    other = float(vector("portraits", "collins") @ vector("portraits", "hopper"))
    assert min(own) > 0.7
    assert abs(other) < 0.4
