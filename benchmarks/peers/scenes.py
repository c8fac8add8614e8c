"""The pictures of the field: frames and clips of 640x480 composed from portraits, as .npy files of uint8 (N, 480, 640, 3) RGB.

The portraits are those of LFW sets 5-6 (people with two pictures: the first is enrolled, the second is shown); without LFW, two
portraits that come with installed packages. No composed picture is committed.
"""

from __future__ import annotations

import io
import json
import tarfile
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

Pixels = NDArray[np.uint8]
SIZE, CELL, SHOWN = (640, 480), (128, 240), (116, 180)  # (width, height) of a frame, of one of ten cells, of a person
FACES = (0, 1, 2, 5, 10)
CLIPS = {  # name -> (faces, in motion)
    "empty, still": (0, False),
    "empty, motion": (0, True),
    "1 still": (1, False),
    **{str(n): (n, True) for n in FACES[1:]},
}
SWAY = 40  # frames until a clip repeats itself


def lfw_files(data: Path) -> dict[str, list[bytes]]:
    """The JPEG files of each person in LFW's sets 5-6, from DATA/lfw_dev.tar."""
    found: dict[str, list[bytes]] = {}
    with tarfile.open(data / "lfw_dev.tar") as tar:
        members = {m.name.split("/", 1)[-1]: m for m in tar.getmembers()}
        sets_file = tar.extractfile(members["people_sets.json"])
        assert sets_file is not None
        sets = json.loads(sets_file.read())
        for name, count in sets["5"] + sets["6"]:
            for i in range(1, count + 1):
                file = tar.extractfile(members[f"images/{name}/{name}_{i:04d}.jpg"])
                assert file is not None
                found.setdefault(name, []).append(file.read())
    return found


def pixels_of(jpeg: bytes) -> Pixels:
    return np.asarray(Image.open(io.BytesIO(jpeg)).convert("RGB"))


def packaged_portraits() -> list[tuple[Pixels, Pixels]]:
    """Eileen Collins and Grace Hopper, from the files of scikit-image and matplotlib: (enrolled, shown), 250x250."""
    import matplotlib
    import skimage

    collins = Image.open(Path(skimage.__file__).parent / "data" / "astronaut.png").convert("RGB")
    hopper = Image.open(Path(matplotlib.get_data_path()) / "sample_data" / "grace_hopper.jpg").convert("RGB")
    found = []
    for picture, box in ((collins, (110, 0, 340, 230)), (hopper, (75, 20, 435, 380))):
        portrait = np.asarray(picture.crop(box).resize((250, 250), Image.Resampling.LANCZOS))
        found.append((portrait, portrait))
    return found


def hallway(rng: np.random.Generator) -> Pixels:
    """A wall with doors and frames: structure, no face."""
    picture = np.full((SIZE[1], SIZE[0], 3), (150, 140, 120), np.uint8)
    for _ in range(60):
        x, y = rng.integers(0, SIZE[0] - 20), rng.integers(0, SIZE[1] - 20)
        w, h = rng.integers(8, 160, 2)
        picture[y : y + h, x : x + w] = rng.integers(20, 235, 3)
    return picture


def cut(portrait: Pixels) -> Pixels:
    """A person (180, 116, 3) from a portrait of 250x250."""
    return portrait[35 : 35 + SHOWN[1], 67 : 67 + SHOWN[0]]


def put(picture: Pixels, person: Pixels, cell: int, dx: int, dy: int) -> None:
    """Place a person into one of the ten cells, (dx, dy) from its centre."""
    x = cell % 5 * CELL[0] + (CELL[0] - SHOWN[0]) // 2 + dx
    y = cell // 5 * CELL[1] + (CELL[1] - SHOWN[1]) // 2 + dy
    picture[y : y + SHOWN[1], x : x + SHOWN[0]] = person


def grain(picture: Pixels, rng: np.random.Generator) -> Pixels:
    return np.clip(picture + rng.normal(0, 2, picture.shape), 0, 255).astype(np.uint8)


def frames(people: list[tuple[Pixels, Pixels]], faces: int, count: int, rng: np.random.Generator) -> Pixels:
    """Unrelated frames: each with another wall and other people in other places."""
    found = []
    for _ in range(count):
        picture = hallway(rng)
        who = rng.choice(len(people), faces, replace=faces > len(people))
        for person, cell in zip(who, rng.permutation(10), strict=False):
            put(picture, cut(people[person][1]), int(cell), *(int(v) for v in rng.integers(-6, 7, 2)))
        found.append(grain(picture, rng))
    return np.stack(found)


def clip(
    people: list[tuple[Pixels, Pixels]], faces: int, motion: bool, rng: np.random.Generator
) -> tuple[Pixels, Pixels]:
    """(SWAY frames of one scene, the portraits (faces, 250, 250, 3) to enroll). People sway; without them, a coat walks."""
    wall = hallway(rng)
    coat = rng.integers(30, 90, (40, 15, 3), dtype=np.uint8).repeat(4, axis=0).repeat(4, axis=1)
    who = rng.choice(len(people), faces, replace=faces > len(people))
    cells = rng.permutation(10)
    found = []
    for number in range(SWAY):
        picture, phase = wall.copy(), 2 * np.pi * number / SWAY
        if motion and not faces:
            x = int(280 + 270 * np.sin(phase))
            picture[200:360, x : x + 60] = coat
        for person, cell in zip(who, cells, strict=False):
            dx, dy = (round(5 * np.sin(phase + cell)), round(3 * np.cos(phase + cell))) if motion else (0, 0)
            put(picture, cut(people[person][1]), int(cell), dx, dy)
        found.append(grain(picture, rng))
    portraits = [people[person][0] for person in who]
    return np.stack(found), np.stack(portraits) if faces else np.zeros((0, 250, 250, 3), np.uint8)


def compose(folder: Path, data: Path | None, count: int) -> bool:
    """Write all pictures into `folder`, unless they are there. True if they are of LFW: then also its pictures, one by one."""
    done = folder / "composed.json"
    made = {"data": str(data), "count": count, "version": 1}
    if done.exists() and json.loads(done.read_text()) == made:
        return data is not None
    folder.mkdir(parents=True, exist_ok=True)
    files = {} if data is None else lfw_files(data)
    people = [(pixels_of(f[0]), pixels_of(f[1])) for f in files.values() if len(f) > 1] or packaged_portraits()
    rng = np.random.default_rng(0)
    for faces in FACES:
        np.save(folder / f"frames-{faces}.npy", frames(people, faces, count, rng))
    for number, (faces, motion) in enumerate(CLIPS.values()):
        pictures, portraits = clip(people, faces, motion, rng)
        np.save(folder / f"clip-{number}.npy", pictures)
        np.save(folder / f"portraits-{number}.npy", portraits)
    for side, portrait in zip("ab", people[0], strict=True):
        np.save(folder / f"first-{side}.npy", portrait)
    (folder / "lfw").mkdir(exist_ok=True)
    listed = []
    for name, jpegs in files.items():
        for i, jpeg in enumerate(jpegs):
            np.save(folder / "lfw" / f"{name}_{i + 1:04d}.npy", pixels_of(jpeg))
            listed.append([name, f"{name}_{i + 1:04d}.npy"])
    (folder / "lfw.json").write_text(json.dumps(listed))
    done.write_text(json.dumps(made))
    return data is not None
