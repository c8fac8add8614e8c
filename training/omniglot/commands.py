"""What the command line calls."""

from __future__ import annotations

import argparse
import json
from typing import Any

import torch

from training.omniglot import data, train


def run(options: argparse.Namespace) -> int:
    if options.threads:
        torch.set_num_threads(options.threads)
    knobs: dict[str, Any] = dict(train.KOCH) if options.network == "koch" else {}
    for text in options.set:
        key, _, value = text.partition("=")
        knobs[key] = tuple(parsed) if isinstance(parsed := json.loads(value), list) else parsed
    config = train.TrainConfig(**knobs)
    train.train(data.load_drawings(options.data), config, options.out, resume=options.resume)
    return 0
