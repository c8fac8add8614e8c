"""Random small PyTorch networks through the converter: each is exact in float, or refused with the operator's name.

    python -m benchmarks.convert_fuzz --count 200 --seed 14 --out benchmarks/results/convert-fuzz.json

Each network goes through torch.export, the own reader, the source check and int8. Besides the source check its float
reference is compared with the module itself, which torch runs without an export. Needs torch.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tempfile
import warnings
from collections import Counter
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import click
import numpy as np

PICTURES = 32
LIMIT = 1e-4  # of the length of an output


def pictures(side: int, seed: int) -> list[Any]:
    """Smooth coloured pictures with noise, uint8 (side, side, 3)."""
    from PIL import Image

    rng = np.random.default_rng(seed)
    found = []
    for _ in range(PICTURES):
        coarse = Image.fromarray(rng.integers(0, 256, (5, 5, 3), np.uint8))
        smooth = np.asarray(coarse.resize((side, side), Image.Resampling.BICUBIC), np.float32)
        found.append(np.clip(smooth + rng.normal(0, 8, smooth.shape), 0, 255).astype(np.uint8))
    return found


def fate(seed: int) -> dict[str, Any]:
    """One network: {"seed", "layers", "fate", "why"}. fate: exact, refused, inexact, crashed, or float only (int8 refused)."""
    warnings.simplefilter("ignore")
    import torch

    from benchmarks.convert_grammar import draw

    torch.set_num_threads(1)
    net, side = draw(seed)
    found = {"seed": seed, "layers": net.words, "fate": "exact", "why": ""}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "net.pt2"
        torch.export.save(torch.export.export(net, (torch.zeros(1, 3, side, side),)), path)
        try:
            found["fate"], found["why"] = _convert(net, path, pictures(side, seed))
        except Exception as error:
            found["fate"], found["why"] = "crashed", f"{type(error).__name__}: {error}"
    return found


def _convert(net: Any, path: Path, chips: list[Any]) -> tuple[str, str]:
    import torch

    from converters.checks import check_int8, check_source, try_run
    from converters.convert import convert
    from converters.exact import NotExactError, SourceCheck
    from converters.litert import embed
    from converters.sources import load_source
    from edge_oneshot.errors import ModelError

    mean, std = [123.7, 116.3, 103.5], [58.4, 57.1, 57.4]
    try:
        source = load_source(path, "own")
        check_source(source.graph, 3)
    except ModelError as error:
        return "refused", str(error).replace(str(path), "net.pt2")
    try:
        check = SourceCheck(source, chips, mean, std)
        check.read()
        conversion = convert(source.graph, chips, mean, std)
        stated = check.passes(conversion.reference, conversion.passes)
        check_int8(conversion.model)
        dimension = check.expected.shape[1]
        try_run(conversion.model, chips[0], dimension)
    except NotExactError as error:
        return "inexact", str(error)
    except ModelError as error:
        return "float only", str(error)
    batch = torch.from_numpy(np.stack([(c - np.float32(mean)) / np.float32(std) for c in chips]).transpose(0, 3, 1, 2))
    with torch.no_grad():
        expected = np.concatenate([net(picture[None].clone()).numpy() for picture in batch])
    got = embed(conversion.reference, chips)
    lengths = np.maximum(np.linalg.norm(expected, axis=1), 1e-30)  # an output may be zero
    error = float((np.linalg.norm(got - expected, axis=1) / lengths).max())
    return (
        "exact" if error <= LIMIT else "inexact"
    ), f"relative error {error:.1e}, stated {stated['relative_error']:.1e}"


def operator_of(why: str) -> str:
    """The operator that a refusal names."""
    named = re.match(r"PyTorch operator (aten::\w+)|(\w+) ", why)
    return (named[1] or named[2]) if named else "none"


def report(found: list[dict[str, Any]], seed: int, commit: str) -> dict[str, Any]:
    """Counts by fate and by refused operator, and every network that is not exact."""
    refused = [f for f in found if f["fate"] == "refused"]
    return {
        "commit": commit,
        "seed": seed,
        "networks": len(found),
        "pictures": PICTURES,
        "fates": dict(sorted(Counter(f["fate"] for f in found).items())),
        "layers": dict(Counter(word for f in found for word in set(f["layers"])).most_common()),
        "refused_operators": dict(Counter(operator_of(f["why"]) for f in refused).most_common()),
        "not_exact": [f for f in found if f["fate"] != "exact"],
    }


@click.command()
@click.option("--count", default=200, show_default=True, help="Number of networks.")
@click.option("--seed", default=14, show_default=True, help="Of the first network; the others have the seeds after it.")
@click.option("--workers", default=os.cpu_count() or 1, show_default=True, help="Processes.")
@click.option("--out", type=click.Path(dir_okay=False, path_type=Path), help="Write the result as JSON.")
def main(count: int, seed: int, workers: int, out: Path | None) -> None:
    """Convert random networks. Exit code 1 if a network is inexact, or ends with a Python error."""
    head = subprocess.run(["git", "rev-parse", "HEAD"], capture_output=True, text=True, check=False)
    found = []
    with ProcessPoolExecutor(workers) as pool:
        for i, one in enumerate(pool.map(fate, range(seed * 1000, seed * 1000 + count)), 1):
            found.append(one)
            print(f"{i}/{count} {one['seed']} {one['fate']} {one['why'][:140]}", file=sys.stderr, flush=True)
    text = json.dumps(report(found, seed, head.stdout.strip()), indent=1)
    if out is not None:
        out.write_text(text + "\n", encoding="utf-8")
    print(text)
    raise SystemExit(any(f["fate"] in ("inexact", "crashed") for f in found))


if __name__ == "__main__":
    main()
