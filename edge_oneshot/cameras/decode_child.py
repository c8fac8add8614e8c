"""The program of the process that decodes picture files: a damaged or hostile file can end this process, not the daemon.

    python -I decode_child.py PATH…      the arguments become sys.path

It writes READY when the time of a picture can begin. A request is a line of JSON {"path": …, "bytes": N | null, "seconds": …}
and N bytes; without bytes, the file at `path` is read. The answer is a line of JSON {"size": [width, height]} and
width * height * 3 bytes, RGB; or {"error": …, "hint": …}. The process ends at the end of standard input. It imports Pillow
alone: its start must be fast, and numpy would reserve memory.
"""

from __future__ import annotations

import contextlib
import importlib
import io
import json
import os
import resource
import signal
import sys
import time
import warnings
from pathlib import Path
from typing import IO, TYPE_CHECKING, BinaryIO

if __name__ == "__main__":
    sys.path[:] = sys.argv[1:]

if TYPE_CHECKING:
    from PIL import Image

MAX_MB = 384  # of memory for decoding one picture: a progressive JPEG of 108 megapixels needs 330
READY = b"ready\n"
MAX_S = 10  # seconds of processor time
ENOUGH_PX = 1600  # of width and height; a picture of at least twice this is halved, and its faces stay large
MAX_RESULT_PX = 24_000_000  # a larger picture is halved; 72 MB as RGB in the parent
# The formats that are decoded. Pillow knows more, and some of them start other programs.
FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "TIFF", "GIF", "PPM")
HOW_TO_CONVERT = "convert it to JPEG; an iPhone takes JPEG with Settings > Camera > Formats > Most Compatible"
# The beginning of files that are taken for pictures.
KINDS = (
    (b"%PDF", "a PDF document"),
    (b"%!PS", "a PostScript file"),
    (b"<svg", "an SVG drawing"),
    (b"<?xml", "an XML file"),
    (b"<!DOCTYPE", "a web page"),
    (b"<html", "a web page"),
    (b"PK\3\4", "a ZIP archive"),
    (b"\x1aE\xdf\xa3", "a Matroska or WebM video"),
    (b"\xff\x0a", "JPEG XL"),
    (b"\0\0\0\x0cJXL ", "JPEG XL"),
    (b"\0\0\0\x0cjP  ", "JPEG 2000"),
    (b"8BPS", "a Photoshop file"),
    (b"\0\0\1\0", "an icon"),
)
# ISO base media files: bytes 4 to 8 are "ftyp", then come the brands.
BRANDS = {b"hei": "HEIC", b"hev": "HEIC", b"mif": "HEIF", b"msf": "HEIF", b"avi": "AVIF", b"crx": "Canon CR3 raw"}
SMALLER = "scale it down to at most 24 megapixels, or export it as a JPEG that is not progressive"


class Refused(Exception):
    """The answer is an error: (message, hint)."""


def main() -> None:
    from PIL import Image

    warnings.simplefilter("ignore")
    with contextlib.suppress(OSError):  # if memory runs out, this process ends, and not the daemon
        Path("/proc/self/oom_score_adj").write_text("1000")
    Image.MAX_IMAGE_PIXELS = None  # the limit is on memory
    _load_decoders()
    for number, most in (
        (resource.RLIMIT_AS, _address_space() + MAX_MB * 1_000_000),
        (resource.RLIMIT_FSIZE, 0),
        (resource.RLIMIT_CORE, 0),  # a core dump would contain the picture
    ):
        resource.setrlimit(number, (most, most))
    stdin, stdout = sys.stdin.buffer, sys.stdout.buffer
    stdout.write(READY)
    stdout.flush()
    while line := stdin.readline():
        request = json.loads(line)
        data = None if request["bytes"] is None else stdin.read(request["bytes"])
        # Processor time, so that a busy device does not refuse a good picture. The parent limits the time that it waits.
        spent = int(time.process_time()) + request["seconds"]
        resource.setrlimit(resource.RLIMIT_CPU, (spent, resource.getrlimit(resource.RLIMIT_CPU)[1]))
        try:
            image = decode(Path(request["path"]), data)
            line, rows = json.dumps({"size": image.size}).encode(), image
        except Refused as e:
            line, rows = json.dumps({"error": e.args[0], "hint": e.args[1]}).encode(), None
        stdout.write(line + b"\n")
        if rows is not None:
            _write(rows, stdout)
        stdout.flush()
        del data, rows


def _load_decoders() -> None:
    """Only those of FORMATS: Image.init() would read forty more from the disk, and take half of the start."""
    from PIL import Image

    for name in ("Bmp", "Gif", "Jpeg", "Mpo", "Png", "Ppm", "Tiff", "WebP"):  # a JPEG may turn out to be an MPO
        importlib.import_module(f"PIL.{name}ImagePlugin")
    if not set(FORMATS) <= set(Image.OPEN):  # a Pillow that names its decoders otherwise
        Image.init()


def decode(path: Path, data: bytes | None) -> Image.Image:
    """The upright picture in `data`, or in the file at `path`: mode RGB. Raises Refused."""
    from PIL import Image, UnidentifiedImageError

    size, large = "", False
    try:
        with Image.open(path if data is None else io.BytesIO(data), formats=FORMATS) as image:
            size = f" of {image.size[0]}x{image.size[1]} px"
            large = image.size[0] * image.size[1] > MAX_RESULT_PX
            divisor = _divisor(*image.size)
            image.draft(None, (image.size[0] // divisor, image.size[1] // divisor))  # affects only JPEG
            _require_end(image)
            image.load()
            return _rgb(_upright(_reduced(image)))
    except Refused as e:
        raise Refused(f"image {path}: {e.args[0]}", e.args[1]) from None
    except FileNotFoundError:
        raise Refused(f"no image at {path}", "check the path") from None
    except (IsADirectoryError, PermissionError) as e:
        raise Refused(f"cannot read image {path}: {e.strerror}", "name a picture file that you may read") from None
    except UnidentifiedImageError:
        expected = "expected a JPEG, PNG, WebP, BMP, TIFF, GIF or PPM file"
        raise Refused(f"image {path}: {expected}, got {_kind(path, data)}", HOW_TO_CONVERT) from None
    except MemoryError:
        raise Refused(f"image {path}{size}: decoding needs more than {MAX_MB} MB of memory", SMALLER) from None
    except Exception as e:  # decoders raise many types of exception for broken data, and some for lack of memory
        reason = str(e) or type(e).__name__
        if large:
            reason = f"broken, or decoding needs more than {MAX_MB} MB of memory: {reason}"
            raise Refused(f"image {path}{size} is {reason}", SMALLER) from None
        raise Refused(f"image {path} is broken: {reason}", "take or export it again") from None


def _kind(path: Path, data: bytes | None) -> str:
    """What an unknown file is, by its first bytes: "HEIC"."""
    if data is None:
        with path.open("rb") as file:
            data = file.read(64)
    if not data:
        return "an empty file"
    if data[4:8] == b"ftyp":
        return BRANDS.get(data[8:11], "a video or another ISO media file")
    return next((kind for start, kind in KINDS if data.lstrip().startswith(start)), "something else")


def _require_end(image: Image.Image) -> None:
    """Raises Refused for a PNG, GIF or TIFF file without its end. Pillow reads those whose pixels it has seen."""
    file: IO[bytes] | None = getattr(image, "fp", None)
    if image.format not in ("PNG", "GIF", "TIFF") or file is None:
        return
    position, size = file.tell(), file.seek(0, os.SEEK_END)
    if image.format == "TIFF":
        tags = image.tag_v2  # type: ignore[attr-defined]
        ends = [
            start + length
            for starts, lengths in ((273, 279), (324, 325))  # of strips, of tiles
            for start, length in zip(tags.get(starts, ()), tags.get(lengths, ()), strict=False)
        ]
        whole = max(ends, default=0) <= size
    else:
        file.seek(0)
        whole = _png_ends(file) if image.format == "PNG" else _gif_ends(file)
    file.seek(position)
    if not whole:
        raise Refused("the end of the file is missing", "copy or download it again")


def _png_ends(file: IO[bytes]) -> bool:
    file.seek(8)
    while len(head := file.read(8)) == 8:
        length = int.from_bytes(head[:4], "big")
        if head[4:] == b"IEND":
            return len(file.read(length + 4)) == length + 4
        file.seek(length + 4, os.SEEK_CUR)  # beyond the end: the next read is empty
    return False


def _gif_ends(file: IO[bytes]) -> bool:
    def skip_colours(flags: int) -> None:
        if flags & 0x80:
            file.seek(3 << (flags & 7) + 1, os.SEEK_CUR)

    head = file.read(13)
    skip_colours(head[10])
    while kind := file.read(1):
        if kind == b";":
            return True
        if kind == b",":
            descriptor = file.read(9)
            if len(descriptor) < 9:
                return False
            skip_colours(descriptor[8])
            file.seek(1, os.SEEK_CUR)  # code size
        elif kind == b"!":
            file.seek(1, os.SEEK_CUR)  # label
        else:
            return True  # trailing bytes; Pillow ends here, too
        while length := file.read(1):
            if length == b"\0":
                break
            file.seek(length[0], os.SEEK_CUR)
    return False


def _divisor(width: int, height: int) -> int:
    """1, 2, 4 or more: what width and height are divided by."""
    divisor = 1
    while min(width, height) >= 2 * divisor * ENOUGH_PX or width * height > MAX_RESULT_PX * divisor**2:
        divisor *= 2
    return divisor


def _reduced(image: Image.Image) -> Image.Image:
    """Divide a picture that its decoder could not decode smaller. Palettes and other modes become ones that can be averaged."""
    divisor = _divisor(*image.size)
    if divisor == 1:
        return image
    exif = image.getexif()
    if image.mode not in ("L", "RGB", "RGBA", "CMYK"):
        image = _plain(image)
    small = image.reduce(divisor)
    small.info["exif"] = exif.tobytes()
    return small


def _upright(image: Image.Image) -> Image.Image:
    from PIL import ImageOps

    try:
        return ImageOps.exif_transpose(image)
    except Exception:  # malformed EXIF: the orientation is unknown, the pixels are intact
        return image


def _plain(image: Image.Image) -> Image.Image:
    """Mode L, RGB, RGBA or another that `convert` turns into RGB without loss of range."""
    if image.mode == "I" or image.mode.startswith("I;16"):  # 16-bit grey; convert("L") would clip it at 255
        return image.convert("I").point(lambda value: value * (1 / 257) + 0.5).convert("L")
    if image.mode == "F":
        raise Refused("expected integer pixels, got a floating-point image", "export it as JPEG or 8-bit PNG")
    if image.mode in ("LA", "PA", "RGBa", "La") or "transparency" in image.info:
        return image.convert("RGBA")
    return image.convert("RGB") if image.mode in ("1", "P") else image


def _rgb(image: Image.Image) -> Image.Image:
    from PIL import Image

    image = _plain(image)
    if image.mode == "RGBA":
        white = Image.new("RGB", image.size, (255, 255, 255))
        white.paste(image, mask=image)
        return white
    return image if image.mode == "RGB" else image.convert("RGB")


def _write(image: Image.Image, out: BinaryIO) -> None:
    """In strips, since one string of the whole picture would need its memory again."""
    width, height = image.size
    strip = max(1, 1_000_000 // width)
    for top in range(0, height, strip):
        out.write(image.crop((0, top, width, min(top + strip, height))).tobytes())


def _address_space() -> int:
    """Of this process as it is, bytes."""
    return int(Path("/proc/self/statm").read_text().split()[0]) * os.sysconf("SC_PAGE_SIZE")


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the parent; the end of its pipe ends this process
    main()
