"""The subcommands. Each imports what it needs, so that evaluation runs without torch."""

from __future__ import annotations

import argparse
import json
from dataclasses import fields
from typing import Any

from training.omniglot.data import DataError, load_drawings


def settings(network: str, changes: list[str]) -> dict[str, Any]:
    """The arguments of TrainConfig from `KEY=VALUE` texts. Raises DataError for an unknown key or a value not JSON."""
    from training.omniglot.model import KOCH, TrainConfig

    found: dict[str, Any] = {**(KOCH if network == "koch" else {}), "network": network}
    names = {field.name for field in fields(TrainConfig)}
    for text in changes:
        key, _, value = text.partition("=")
        if key not in names:
            raise DataError(
                f"--set: expected one of {', '.join(sorted(names))}, got {key!r}", "see TrainConfig in model.py"
            )
        try:
            parsed = json.loads(value)
        except json.JSONDecodeError:
            parsed = value
        found[key] = tuple(parsed) if isinstance(parsed, list) else parsed
    return found


def train(options: argparse.Namespace) -> None:
    import torch

    from training.omniglot.model import TrainConfig
    from training.omniglot.train import train as run

    if options.threads:
        torch.set_num_threads(options.threads)
    last = run(
        load_drawings(options.data),
        TrainConfig(**settings(options.network, options.set)),
        options.out,
        resume=options.resume,
        device=options.device,
    )
    print(f"checkpoint: {last}")


def export(options: argparse.Namespace) -> None:
    from converters.certify import as_text
    from training.omniglot.export import export as run

    bundle, certificate = run(options.checkpoint, load_drawings(options.data), options.out, options.comparator)
    print(as_text(certificate))
    print(f"{options.out}: {options.out.stat().st_size} bytes, encoder {bundle.encoder_id}")


def evaluate(options: argparse.Namespace) -> None:
    from training.omniglot.evaluate import evaluate as run
    from training.omniglot.evaluate import table

    result = run(
        options.data,
        options.bundle,
        options.protocol,
        not options.no_baselines,
        options.runs_per_alphabet,
        options.checkpoint,
    )
    print(json.dumps(result) if options.json else table(result))
