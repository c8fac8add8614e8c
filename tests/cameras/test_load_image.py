"""Pictures from files: every orientation, colour mode and kind of damage."""

from __future__ import annotations

import io
import struct
import zlib
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from edge_oneshot.cameras import decode_child
from edge_oneshot.cameras.images import decode_image, load_image
from edge_oneshot.errors import CameraError

UPRIGHT = np.zeros((24, 32, 3), np.uint8)
UPRIGHT[:12, :16], UPRIGHT[:12, 16:], UPRIGHT[12:, :16], UPRIGHT[12:, 16:] = (
    (250, 0, 0),
    (0, 250, 0),
    (0, 0, 250),
    (250, 250, 0),
)

# How a camera stores an upright picture with each orientation (Exif 2.32, tag 0x0112): the inverse of the rotation to apply.
STORED = {
    1: UPRIGHT,
    2: UPRIGHT[:, ::-1],
    3: UPRIGHT[::-1, ::-1],
    4: UPRIGHT[::-1],
    5: UPRIGHT.transpose(1, 0, 2),
    6: np.rot90(UPRIGHT, 1),
    7: UPRIGHT[::-1, ::-1].transpose(1, 0, 2),
    8: np.rot90(UPRIGHT, -1),
}


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("suffix", ["jpg", "png", "webp"])
def test_exif_orientation(tmp_path: Path, orientation: int, suffix: str) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = tmp_path / f"a.{suffix}"
    image = Image.fromarray(np.ascontiguousarray(STORED[orientation]))
    image.save(path, exif=exif, **({"quality": 95, "subsampling": 0} if suffix == "jpg" else {"quality": 95}))
    frame = load_image(path)
    assert frame.size == (32, 24)
    quadrants = [(6, 8), (6, 24), (18, 8), (18, 24)]
    assert all(abs(frame.pixels[at].astype(int) - UPRIGHT[at]).max() < 12 for at in quadrants)


def test_the_frame_has_its_time_and_source(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    Image.fromarray(UPRIGHT).save(path)
    before = datetime.now(UTC)
    frame = load_image(str(path), seq=3)
    assert np.array_equal(frame.pixels, UPRIGHT)
    assert frame.seq == 3 and frame.source == str(path)
    assert before <= frame.captured_at <= datetime.now(UTC)
    assert not frame.pixels.flags.writeable and frame.pixels.flags.c_contiguous


@pytest.mark.parametrize(
    ("mode", "value", "expected"),
    [
        ("L", 99, (99, 99, 99)),
        ("LA", (99, 255), (99, 99, 99)),
        ("RGBA", (10, 20, 30, 255), (10, 20, 30)),
        ("RGBA", (10, 20, 30, 0), (255, 255, 255)),
        ("RGBA", (0, 0, 0, 51), (204, 204, 204)),
        ("1", 255, (255, 255, 255)),
        ("I;16", 0xFFFF, (255, 255, 255)),
        ("I;16", 0x8000, (128, 128, 128)),
        ("I;16", 0x00FF, (1, 1, 1)),
    ],
)
def test_colour_modes(tmp_path: Path, mode: str, value: object, expected: tuple[int, int, int]) -> None:
    path = tmp_path / "a.png"
    Image.new(mode, (5, 4), value).save(path)  # type: ignore[arg-type]
    assert tuple(load_image(path).pixels[2, 2]) == expected


def test_cmyk(tmp_path: Path) -> None:
    path = tmp_path / "a.jpg"
    Image.new("CMYK", (16, 16), (0, 255, 255, 0)).save(path, quality=95)
    red, green, blue = (int(v) for v in load_image(path).pixels[8, 8])
    assert red > 230 and green < 25 and blue < 25


def test_a_palette_with_a_transparent_colour(tmp_path: Path) -> None:
    path = tmp_path / "a.gif"
    image = Image.new("P", (4, 4), 1)
    image.putpalette([0, 0, 0, 200, 0, 0])
    image.putpixel((0, 0), 0)
    image.save(path, transparency=0)
    pixels = load_image(path).pixels
    assert tuple(pixels[0, 0]) == (255, 255, 255) and tuple(pixels[3, 3]) == (200, 0, 0)


def test_the_first_picture_of_an_animation_is_used(tmp_path: Path) -> None:
    path = tmp_path / "a.gif"
    Image.new("RGB", (4, 4), (200, 0, 0)).save(
        path, save_all=True, append_images=[Image.new("RGB", (4, 4), (0, 0, 200))]
    )
    assert tuple(load_image(path).pixels[0, 0]) == (200, 0, 0)


def test_floating_point_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    Image.new("F", (4, 4), 0.5).save(path)
    with pytest.raises(CameraError, match="floating-point"):
        load_image(path)


@pytest.mark.parametrize("suffix", ["jpg", "png", "webp", "tif"])
def test_a_truncated_picture_is_an_error_with_its_name(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"cut.{suffix}"
    noise = np.random.default_rng(1).integers(0, 256, (64, 64, 3), np.uint8)
    Image.fromarray(noise).save(path)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(CameraError, match=rf"cut\.{suffix}"):
        load_image(path)


@pytest.mark.parametrize(
    ("content", "kind"),
    [
        (b"", "an empty file"),
        (b"hello", "something else"),
        (b"\0\0\0\x18ftypheic\0\0\0\0mif1heic", "HEIC"),
        (b"\0\0\0\x18ftypmif1\0\0\0\0mif1heic", "HEIF"),
        (b"\0\0\0\x20ftypavif", "AVIF"),
        (b"\0\0\0\x20ftypisom", "a video"),
        (b"\n%PDF-1.7", "a PDF document"),
        (b"<svg xmlns=", "an SVG drawing"),
    ],
)
def test_a_file_that_is_not_a_picture_is_named_whatever_its_suffix(tmp_path: Path, content: bytes, kind: str) -> None:
    path = tmp_path / "a.jpg"
    path.write_bytes(content)
    for read in (lambda: load_image(path), lambda: decode_image(content, "a.jpg")):
        with pytest.raises(CameraError, match=f"a.jpg: expected a JPEG, .* file, got {kind}") as caught:
            read()
        assert caught.value.hint.startswith("convert it to JPEG; an iPhone")


def tiff_with_its_directory_first(compressed: bytes, kind: int) -> bytes:
    """A TIFF of 64x64 grey pixels as scanners write it: the pixels are at the end."""
    entries = [
        (256, 64),
        (257, 64),
        (258, 8),
        (259, kind),
        (262, 1),
        (273, 0),
        (277, 1),
        (278, 64),
        (279, len(compressed)),
    ]
    start = 8 + 2 + 12 * len(entries) + 4
    directory = b"".join(struct.pack("<HHII", tag, 4, 1, start if tag == 273 else value) for tag, value in entries)
    return b"II*\0" + struct.pack("<IH", 8, len(entries)) + directory + bytes(4) + compressed


def whole_files() -> dict[str, bytes]:
    noise = np.random.default_rng(1).integers(0, 256, (64, 64), np.uint8)
    files = {
        "raw tiff": tiff_with_its_directory_first(noise.tobytes(), 1),
        "deflate tiff": tiff_with_its_directory_first(zlib.compress(noise.tobytes()), 8),
    }
    image, other = Image.fromarray(noise), Image.fromarray(noise[::-1].copy())
    for name, kind, options in (
        ("png", "PNG", {}),
        ("palette png", "PNG", {"palette": True}),
        ("gif", "GIF", {}),
        ("animation", "GIF", {"save_all": True, "append_images": [other]}),
        ("tiff", "TIFF", {}),
        ("lzw tiff", "TIFF", {"compression": "tiff_lzw"}),
        ("bmp", "BMP", {}),
        ("ppm", "PPM", {}),
        ("webp", "WEBP", {}),
        ("jpeg", "JPEG", {}),
    ):
        out = io.BytesIO()
        (image.convert("P") if options.pop("palette", False) else image).save(out, kind, **options)
        files[name] = out.getvalue()
    return files


@pytest.mark.parametrize("name", whole_files())
def test_a_file_that_lacks_its_end_is_refused_wherever_it_was_cut(name: str) -> None:
    data = whole_files()[name]
    assert decode_child.decode(Path("whole"), data).size == (64, 64)
    for cut in {*range(1, min(len(data), 400), 7), *range(max(1, len(data) - 40), len(data))}:
        with pytest.raises(decode_child.Refused):
            decode_child.decode(Path("cut"), data[:cut])


def test_missing_file_and_folder(tmp_path: Path) -> None:
    with pytest.raises(CameraError, match="no image at"):
        load_image(tmp_path / "none.jpg")
    with pytest.raises(CameraError, match="Is a directory"):
        load_image(tmp_path)


def png_claiming(width: int, height: int) -> bytes:
    """A few bytes that claim to decode to width x height."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(bytes(64))) + chunk(b"IEND", b"")
    )


@pytest.mark.parametrize("size", [(9000, 8000), (12000, 9000), (60000, 60000)])
def test_a_picture_that_is_too_large_is_refused(tmp_path: Path, size: tuple[int, int]) -> None:
    path = tmp_path / "bomb.png"
    path.write_bytes(png_claiming(*size))
    with pytest.raises(CameraError, match=r"(broken|384 MB of memory)"):
        load_image(path)


def test_a_picture_with_malformed_exif_is_read(tmp_path: Path) -> None:
    path = tmp_path / "a.jpg"
    Image.fromarray(UPRIGHT).save(path, exif=b"Exif\0\0II*\0\x08\0\0\0\xff\xff" + b"\xff" * 40)
    assert load_image(path).size == (32, 24)


def test_a_large_jpeg_is_decoded_at_reduced_size(tmp_path: Path) -> None:
    for width, expected in ((6400, 1600), (1000, 1000)):
        Image.new("RGB", (width, width)).save(tmp_path / "a.jpg")
        assert load_image(tmp_path / "a.jpg").size == (expected, expected)


def test_a_format_that_would_start_another_program_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n%%EndComments\n")
    with pytest.raises(CameraError, match="got a PostScript file"):
        load_image(tmp_path / "a.png")
