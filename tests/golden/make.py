"""Write embeddings.json again, after the shipped encoder or the path to it was changed: python tests/golden/make.py

Any processor will do. Pictures without exactly one face, and those whose landmarks lie close to the border between two grid
points, are left out.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from golden import FILE, NUDGE_PX, VIEWS, Device, digest, nudged, portraits, rendered

if __name__ == "__main__":
    device, found = Device(), portraits()
    made = device.run(found, [f"{name} {view}" for name in found for view in VIEWS])
    for key, picture in rendered(found, list(made["pictures"])).items():
        for shift in (-NUDGE_PX, NUDGE_PX):
            with nudged(device, shift):
                if [digest(chip) for chip in device.chips(picture)] != [made["pictures"][key]["chip"]]:
                    made["pictures"].pop(key, None)
                    print(f"left out: {key}, landmarks between two grid points")
                    break
    FILE.write_text(json.dumps(made, separators=(",", ":")).replace("]],", "]],\n").replace("},", "},\n") + "\n")
    print(f"wrote {len(made['pictures'])} pictures to {FILE} for {made['encoder_id']}")
