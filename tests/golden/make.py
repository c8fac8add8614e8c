"""Write embeddings.json again, after the shipped encoder was replaced: python tests/golden/make.py

Run it on a processor with AVX2 or on aarch64, and with LiteRT.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from golden import FILE, exact_here, make

if __name__ == "__main__":
    if not exact_here():
        sys.exit(
            "expected a processor with AVX2, or aarch64: golden files of another one would be a bit off everywhere else"
        )
    made = make()
    FILE.write_text(json.dumps(made, separators=(",", ":")).replace("],", "],\n") + "\n")
    print(f"wrote {FILE} for {made['encoder_id']}")
