"""A gallery on a disk that is full or read-only is read, cannot be changed, and the message names the disk."""

from __future__ import annotations

from pathlib import Path

import pytest
from storage_parts import run_on_small_disk

MAKE = """
import os, sys, subprocess
from pathlib import Path
from samples import person, random_unit, template
from edge_oneshot.errors import StorageError
from edge_oneshot.gallery import file as gallery_file
from edge_oneshot.gallery.store import Gallery
folder = Path(sys.argv[1])
path = folder / "gallery.sqlite"
def make():
    gallery = Gallery(path)
    for seed, name in enumerate(("zoe", "bob")):
        gallery.add(person(name), [template(name, random_unit(seed), "sha256:aa")])
    return gallery
def kill():
    if os.fork() == 0:
        make()
        os.kill(os.getpid(), 9)
    os.wait()
def fill():
    with open(folder / "fill", "wb", buffering=0) as file:
        try:
            while True:
                file.write(bytes(4096))
        except OSError:
            pass
def names(gallery):
    return sorted(p.identity.identity_id for p in gallery.people() if p.templates)
def refused(work):
    try:
        work()
    except StorageError as e:
        return str(e)
    raise AssertionError("not refused")
"""
BEFORE = {
    "closed": "make().close()",
    "killed": "kill()",
    "killed, without its index": "kill(); (folder / 'gallery.sqlite-shm').unlink()",
}
DISK = {
    "full": ("fill()", "(folder / 'fill').unlink()", "is full"),
    "read-only": (
        "subprocess.run(['mount', '-o', 'remount,ro', str(folder)], check=True)",
        "subprocess.run(['mount', '-o', 'remount,rw', str(folder)], check=True)",
        "is mounted read-only",
    ),
}


@pytest.mark.parametrize("before", list(BEFORE))
@pytest.mark.parametrize("disk", list(DISK))
def test_a_healthy_gallery_is_read_and_changed_again_later(tmp_path: Path, before: str, disk: str) -> None:
    spoil, mend, why = DISK[disk]
    code = f"""
{MAKE}
{BEFORE[before]}
{spoil}
gallery = Gallery(path)
assert names(gallery) == ["bob", "zoe"], names(gallery)
if gallery.fault is None:  # the side files of the process that was killed are there: SQLite needs no space
    assert {before!r} == "killed" and {disk!r} == "full"
    print("well")
    sys.exit()
message = str(gallery.fault)
for refusal in (refused(lambda: gallery.remove("bob")), refused(lambda: gallery.rename("bob", "Rob")), message):
    assert {why!r} in refusal and str(folder) in refusal, refusal
    assert "move" not in refusal and "export" not in refusal and "the gallery itself is unchanged" in refusal, refusal
version = gallery.version()
{mend}
gallery_file.REOPEN_S = 0
assert gallery.version() != version and gallery.fault is None
gallery.remove("bob")
assert names(gallery) == ["zoe"]
print("well")
"""
    assert run_on_small_disk(tmp_path, code, "1m").endswith("well\n")


@pytest.mark.parametrize("disk", list(DISK))
def test_an_absent_gallery_does_not_stop_the_start(tmp_path: Path, disk: str) -> None:
    spoil, _, why = DISK[disk]
    code = f"{MAKE}\n{spoil}\ngallery = Gallery(path)\nassert names(gallery) == [] and {why!r} in str(gallery.fault)\nprint('well')"
    assert run_on_small_disk(tmp_path, code, "1m").endswith("well\n")
