"""Makes docs/images/camera-test.jpg: `edge-oneshot camera test` on a frame of two public-domain portraits.

Run it with the Python of scripts/demo, which has the packages that carry the portraits. The near face can be
enrolled, the far face is recognized but too far away to be enrolled.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

from demo import SIZE, portrait
from PIL import Image

OUT = Path(__file__).parent.parent / "docs" / "images" / "camera-test.jpg"
WALL = (92, 94, 98)


def frame() -> Image.Image:
    """A 640x480 frame: Eileen Collins (NASA) near the camera, Grace Hopper (US Navy) far from it."""
    near = Image.open(portrait("skimage", "data", "astronaut.png")).convert("RGB").resize((480, 480))
    far = Image.open(portrait("matplotlib", "mpl-data", "sample_data", "grace_hopper.jpg")).convert("RGB")
    picture = Image.new("RGB", SIZE, WALL)
    picture.paste(near.crop((20, 0, 330, 480)), (0, 0))
    picture.paste(far.crop((40, 0, 472, 600)).resize((108, 150)), (450, 190))
    return picture


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        frame().save(Path(folder) / "0.png")
        command = [sys.executable, "-c", "from edge_oneshot.cli import main; main()", "camera", "test"]
        subprocess.run([*command, "--camera", f"folder:{folder}", "--out", str(OUT)], check=True)
    OUT.chmod(0o644)


if __name__ == "__main__":
    main()
