"""Hostile and huge pictures: they cost a process of its own, never the memory or the time of this one."""

from __future__ import annotations

import io
import os
import resource
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from edge_oneshot.cameras import decoder
from edge_oneshot.cameras.images import decode_image, load_image
from edge_oneshot.errors import CameraError


def jpeg(image: Image.Image, **options: object) -> bytes:
    out = io.BytesIO()
    image.save(out, "JPEG", **options)
    return out.getvalue()


def many_scans(count: int) -> bytes:
    """A flat progressive JPEG whose last scan is repeated: each scan costs a pass over all blocks."""
    data = jpeg(Image.new("L", (4000, 4000), 90), progressive=True)
    last = data.rindex(b"\xff\xda")
    return data[:-2] + data[last:-2] * count + b"\xff\xd9"


def peak_mb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3


def test_a_picture_with_many_scans_ends_at_the_limit_of_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decoder, "MAX_S", 1)
    data = many_scans(3000)
    assert len(data) < 500_000
    start = time.process_time()
    with pytest.raises(CameraError, match="more than 1 s of processor time") as caught:
        decode_image(data, "scans.jpg")
    assert "progressive" in caught.value.hint
    assert time.process_time() - start < 0.5, "this process did the work"


def test_the_phone_photo_of_108_megapixels_is_read() -> None:
    data = jpeg(Image.new("L", (12000, 9000), 90))
    before = peak_mb()
    assert decode_image(data, "phone.jpg").size == (3000, 2250)
    assert peak_mb() - before < 60


def test_a_progressive_picture_of_177_megapixels_costs_this_process_nothing() -> None:
    script = (
        "import sys; from PIL import Image; "
        "Image.new('RGB', (13300, 13300), (90, 80, 70)).save(sys.stdout.buffer, 'JPEG', progressive=True)"
    )
    data = subprocess.run([sys.executable, "-c", script], capture_output=True, check=True).stdout
    before = peak_mb()
    with pytest.raises(CameraError, match=r"13300x13300 px .*384 MB") as caught:
        decode_image(data, "big.jpg")
    assert "at most 24 megapixels" in caught.value.hint
    assert peak_mb() - before < 60


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "P", "I;16", "CMYK"])
def test_24_megapixels_of_any_mode_fit_the_limit(tmp_path: Path, mode: str) -> None:
    path = tmp_path / "a.tif"
    Image.new(mode, (3100, 7700)).save(path, compression="tiff_lzw")
    assert load_image(path).size == (3100, 7700)
    exif = Image.Exif()
    exif[0x0112] = 6
    if mode == "RGBA":
        Image.new(mode, (3100, 7700)).save(tmp_path / "a.png", exif=exif, compress_level=1)
        assert load_image(tmp_path / "a.png").size == (7700, 3100)


def test_a_large_png_is_halved(tmp_path: Path) -> None:
    image = Image.new("RGB", (6400, 3300), (10, 20, 30))
    exif = Image.Exif()
    exif[0x0112] = 6
    image.save(tmp_path / "a.png", exif=exif)
    frame = load_image(tmp_path / "a.png")
    assert frame.size == (1650, 3200) and tuple(frame.pixels[5, 5]) == (10, 20, 30)


def test_a_bitmap_that_unfolds_is_refused() -> None:
    header = b"P6 60000 60000 255\n"
    with pytest.raises(CameraError, match=r"broken|384 MB"):
        decode_image(header + bytes(1000), "a.ppm")


def test_the_decoder_prints_nothing(tmp_path: Path) -> None:
    """Pillow warns of a decompression bomb, and libtiff of a damaged file, on standard error."""
    tiff = io.BytesIO()
    Image.new("RGB", (2000, 2000)).save(tiff, "TIFF", compression="tiff_lzw")
    (tmp_path / "a.tif").write_bytes(tiff.getvalue()[:-300])
    Image.new("1", (14000, 14000)).save(tmp_path / "b.png")
    script = (
        "import sys\nfrom edge_oneshot.cameras.images import load_image, decode_image\n"
        "for path in sys.argv[1:]:\n    try: load_image(path)\n    except Exception as e: assert 'bomb' not in str(e), e\n"
        "    try: decode_image(open(path, 'rb').read(), path)\n    except Exception as e: assert 'bomb' not in str(e), e\n"
    )
    paths = [str(tmp_path / "a.tif"), str(tmp_path / "b.png")]
    done = subprocess.run([sys.executable, "-c", script, *paths], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_a_decoder_that_crashes_is_an_error_and_is_replaced(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    Image.new("RGB", (20, 10)).save(path)
    assert load_image(path).size == (20, 10)
    worker = decoder._idle[-1]
    os.kill(worker._process.pid, 11)
    with pytest.raises(CameraError, match="SIGSEGV"):
        load_image(path)
    assert load_image(path).size == (20, 10)


def test_a_file_that_never_comes_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    os.mkfifo(tmp_path / "a.png")
    monkeypatch.setattr(decoder, "WAIT_S", 0.5)
    with pytest.raises(CameraError, match=r"no answer from the decoder within 0\.5 s"):
        load_image(tmp_path / "a.png")


def test_pictures_are_read_by_several_threads(tmp_path: Path) -> None:
    paths = []
    for i in range(12):
        paths.append(tmp_path / f"{i}.png")
        Image.new("RGB", (50 + i, 40), (i, i, i)).save(paths[-1])
    found: dict[int, tuple[tuple[int, int], int]] = {}

    def read(i: int) -> None:
        frame = load_image(paths[i])
        found[i] = frame.size, int(frame.pixels[0, 0, 0])

    threads = [threading.Thread(target=read, args=(i,)) for i in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == {i: ((50 + i, 40), i) for i in range(12)}


def test_a_picture_from_outside_leaves_no_process(tmp_path: Path) -> None:
    before = set(children())
    decode_image(jpeg(Image.new("RGB", (64, 48))), "a.jpg")
    assert set(children()) <= before


def children() -> list[str]:
    return Path(f"/proc/self/task/{threading.get_native_id()}/children").read_text().split()


def test_grey_of_16_bits_is_rounded_to_the_nearest(tmp_path: Path) -> None:
    wide = np.arange(65536, dtype=np.uint16).reshape(256, 256)
    Image.fromarray(wide).save(tmp_path / "a.png")
    expected = (wide.astype(np.int64) * 255 + 32767) // 65535
    assert np.array_equal(load_image(tmp_path / "a.png").pixels[..., 0], expected)
