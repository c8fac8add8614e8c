"""A file that could not be filled when it was created is not taken for one that was emptied."""

from __future__ import annotations

import resource
import subprocess
import sys
from pathlib import Path

from edge_oneshot.gallery.store import Gallery

PROGRAM = """
import resource, sys
from pathlib import Path
from edge_oneshot.gallery.store import Gallery
resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))  # each write fails, as on a full disk
with Gallery(Path(sys.argv[1])) as gallery:
    print(gallery.fault)
"""


def test_nothing_is_left_of_a_first_opening_that_failed(tmp_path: Path) -> None:
    assert resource.getrlimit(resource.RLIMIT_FSIZE)[0] != 0
    path = tmp_path / "gallery.sqlite"
    done = subprocess.run([sys.executable, "-c", PROGRAM, path], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert "cannot open the gallery" in done.stdout
    assert not path.exists()
    with Gallery(path) as gallery:
        assert gallery.people() == []
