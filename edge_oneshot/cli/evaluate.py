"""`edge-oneshot evaluate`: error rates on labelled pictures."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import click

from edge_oneshot.cli.common import find_config, json_option, print_json, progress


@click.group()
def evaluate() -> None:
    """Measure error rates on labelled pictures, through exactly the daemon's path."""


@evaluate.command()
@click.option(
    "--images",
    required=True,
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    metavar="DIR",
    help="Pictures as DIR/Name/Name_0001.jpg.",
)
@click.option(
    "--pairs", "pairs_file", required=True, metavar="FILE|all", help="Pairs in LFW's format, or `all` for every pair of pictures."
)
@click.option("--workers", type=click.IntRange(1, 64), default=os.cpu_count() or 1, show_default=True, help="Threads.")
@json_option
@click.pass_context
def verification(ctx: click.Context, images: Path, pairs_file: str, workers: int, as_json: bool) -> None:
    """Compare pairs of pictures (1:1): accuracy, EER, TAR at fixed false match rates."""
    from dataclasses import replace

    from edge_oneshot.compose import build_pipeline
    from edge_oneshot.evaluation.pairs import all_pairs, only_used, read_pairs
    from edge_oneshot.evaluation.pictures import embed, find_pictures
    from edge_oneshot.evaluation.verification import report

    config = find_config(ctx)
    config = replace(config, model=replace(config.model, threads=1))
    pipeline = build_pipeline(config)
    pictures = find_pictures(images)
    pairs = all_pairs(pictures) if pairs_file == "all" else read_pairs(Path(pairs_file), pictures)
    pictures, pairs = only_used(pictures, pairs)
    with progress(len(pictures), "encoding") as done:
        embedded = embed(pictures, lambda: build_pipeline(config), workers, done)
    result = report(embedded, pairs, pipeline.encoder.card.comparator, pipeline.threshold)
    if as_json:
        print_json(result)
        return
    _print(result)


def _print(r: dict[str, Any]) -> None:
    click.echo(
        f"{r['pairs']} pairs ({r['mated_pairs']} mated, {r['non_mated_pairs']} non-mated) of {r['identities']} identities, "
        f"{r['images']} pictures"
    )
    click.echo(
        f"accuracy {100 * r['accuracy']:.2f} % (std {100 * r['accuracy_std']:.2f} over {r['folds']} folds)   EER {100 * r['eer']:.2f} %"
    )
    for fmr, tar in r["tar_at_fmr"].items():
        if tar is None:
            click.echo(f"FMR {fmr}: too few non-mated pairs to resolve it")
            continue
        low, high = r["tar_ci95"][fmr]
        click.echo(
            f"FMR {fmr}: TAR {100 * tar:.2f} % (95 % interval {100 * low:.2f} to {100 * high:.2f}), mean over identities "
            f"{100 * r['balanced_tar_at_fmr'][fmr]:.2f} %, at score {r['threshold_at_fmr'][fmr]:.3f}"
        )
    low, high = r["failure_to_acquire_ci95"]
    click.echo(f"failures to acquire: {r['failures_to_acquire']} of {r['images']} ({100 * low:.2f} to {100 * high:.2f} %)")
    at = r["at_threshold"]
    click.echo(f"at your threshold {r['threshold']:.3f}: TAR {at['tar']}, FMR {at['fmr']}")
