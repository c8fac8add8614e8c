"""Write models/known_answers.json again, after a shipped model or the drawn faces were changed: python tests/golden/known.py"""

from __future__ import annotations

import json
from pathlib import Path

import edge_oneshot
from edge_oneshot.config import Config, ModelConfig
from edge_oneshot.model.bundle import find_bundle, read_bundle
from edge_oneshot.model.encoder import TwinEncoder
from edge_oneshot.recognition.compose import build_locator
from edge_oneshot.recognition.known_answer import answers, landmarks, name_of

FILE = Path(edge_oneshot.__file__).parent / "models" / "known_answers.json"
ENCODERS = ("face", "face-web", "omniglot")

if __name__ == "__main__":
    encoders = [TwinEncoder(read_bundle(find_bundle(name, "encoder"))) for name in ENCODERS]
    locator = build_locator(Config(model=ModelConfig(threads=1)))
    made = {
        "encoders": {encoder.encoder_id: answers(encoder) for encoder in encoders},
        "landmarks": {name_of(locator): landmarks(locator)},
    }
    FILE.write_text(json.dumps(made, separators=(",", ":")).replace("]],", "]],\n").replace("],[", "],\n[") + "\n")
    print(f"wrote {FILE}")
