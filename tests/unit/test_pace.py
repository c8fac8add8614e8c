"""The loop pauses before the processor is throttled. Temperatures are set by hand; the files are those of a kernel."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import pytest
from pictures import empty_scene
from PIL import Image

from edge_oneshot.cameras.latest import LatestFrame
from edge_oneshot.config import CameraConfig
from edge_oneshot.service import system
from edge_oneshot.service.pace import LEAST, MOST_REST_S, READ_EVERY_NS, Pace


class Processor:
    def __init__(self, celsius: float | None, bits: int | None = 0) -> None:
        self.celsius, self.bits, self.reads, self.now_ns = celsius, bits, 0, 0

    def read(self) -> float | None:
        self.reads += 1
        return self.celsius

    def pace(self, limit_c: float | None = None) -> Pace:
        return Pace(self.read, lambda: self.bits, lambda: limit_c)


def rest(processor: Processor, pace: Pace, busy_s: float = 0.02) -> float:
    processor.now_ns += READ_EVERY_NS
    return pace.rest_s(busy_s, processor.now_ns)


@pytest.mark.parametrize("celsius", [None, 20.0, 72.0])
def test_a_cool_processor_does_not_rest(celsius: float | None) -> None:
    processor = Processor(celsius)
    assert rest(processor, processor.pace()) == 0


def test_the_hotter_the_longer_and_all_before_the_limit(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    processor = Processor(72.0)
    pace, rests = processor.pace(), []
    for processor.celsius in (72.0, 74.0, 76.0, 78.0, 79.0, 85.0):
        rests.append(rest(processor, pace))
    assert rests == sorted(rests) and rests[0] == 0 and rests[1] > 0
    assert rests[-1] == rests[-2] == pytest.approx(0.02 * (1 / LEAST - 1))
    processor.celsius = 60.0
    assert rest(processor, pace) == 0
    assert [r.message for r in caplog.records] == [
        "the processor is at 74 degrees Celsius: processing fewer frames until it cools down",
        "the processor has cooled down: processing every frame again",
    ]


def test_the_limit_of_the_kernel_counts() -> None:
    processor = Processor(72.0)
    assert rest(processor, processor.pace(limit_c=75.0)) > 0
    assert rest(processor, processor.pace(limit_c=95.0)) == 0


@pytest.mark.parametrize(("bits", "rests"), [(0x0, False), (0x1, False), (0x50000, False), (0x4, True), (0x8, True)])
def test_a_processor_that_is_slowed_down_now_rests(bits: int, rests: bool) -> None:
    """Neither under-voltage nor the bits for events since boot slow the loop down."""
    processor = Processor(50.0, bits)
    assert (rest(processor, processor.pace()) > 0) == rests


def test_a_long_frame_causes_a_short_rest() -> None:
    processor = Processor(90.0)
    assert rest(processor, processor.pace(), busy_s=10.0) == MOST_REST_S


def test_the_temperature_is_read_every_few_seconds() -> None:
    processor = Processor(75.0)
    pace = processor.pace()
    for n in range(100):
        pace.rest_s(0.02, n * READ_EVERY_NS // 20)
    assert processor.reads == 5


def test_no_frame_is_taken_while_the_loop_rests(tmp_path: Path) -> None:
    """A real folder of pictures behind the mailbox; the rest of half a second begins in the future, so nothing is timed."""
    for i in range(3):
        Image.fromarray(empty_scene((64, 48))).save(tmp_path / f"{i}.png")
    hot, stop = Processor(90.0), threading.Event()
    stop.set()  # waits for the rest end at once
    pace, far_ns = hot.pace(), time.monotonic_ns() + 3_600_000_000_000
    with LatestFrame(CameraConfig(uri=f"folder:{tmp_path}", pace="fast")) as camera:
        assert pace.take(camera, stop, 20.0) is not None
        pace.done(far_ns, far_ns + 10**9)
        assert pace.take(camera, stop, 20.0) is None
        hot.celsius = 40.0
        pace.done(0, READ_EVERY_NS + far_ns)
        pace.done(0, 1)
        assert pace.take(camera, stop, 20.0) is not None


@pytest.fixture
def thermal(tmp_path: Path) -> Path:
    """Two zones, as on a laptop: the second one is the processor's."""
    zones: tuple[dict[str, str], ...] = (
        {"type": "acpitz", "temp": "20000"},
        {
            "type": "x86_pkg_temp",
            "temp": "61500",
            "trip_point_0_type": "critical",
            "trip_point_0_temp": "105000",
            "trip_point_1_type": "passive",
            "trip_point_1_temp": "95000",
            "trip_point_2_type": "passive",
            "trip_point_2_temp": "0",
        },
    )
    for number, files in enumerate(zones):
        zone = tmp_path / f"thermal_zone{number}"
        zone.mkdir()
        for name, text in files.items():
            (zone / name).write_text(text + "\n")
    return tmp_path


def test_the_zone_of_the_processor_is_read(thermal: Path, tmp_path: Path) -> None:
    assert (system.temperature_c(thermal), system.limit_c(thermal)) == (61.5, 95.0)
    assert (system.temperature_c(tmp_path / "none"), system.limit_c(tmp_path / "none")) == (None, None)


@pytest.mark.parametrize("text", ["127000", "-274000", "255000", "", "n/a"])
def test_a_reading_that_no_processor_has_is_none(thermal: Path, text: str) -> None:
    """A sensor that is absent or off reads the end of its range. The loop would rest for ever."""
    (thermal / "thermal_zone1" / "temp").write_text(text)
    assert system.temperature_c(thermal) is None


@pytest.mark.parametrize("name", ["soc/soc:firmware", "soc@107c000000/soc@107c000000:firmware"])
def test_the_firmware_of_any_board_is_read(tmp_path: Path, name: str) -> None:
    assert system.throttled(tmp_path) is None
    (tmp_path / name).mkdir(parents=True)
    (tmp_path / name / "get_throttled").write_text("50005\n")
    assert system.throttled(tmp_path) == 0x50005
