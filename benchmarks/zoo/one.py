"""One network of the zoo, from its source to the figures: each reader, exactness, int8. Run in a process of its own."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from benchmarks.zoo.measure import apart, is_exact, normalised, quantised, run_float
from benchmarks.zoo.networks import BY_NAME, Network
from converters.flatbuffer import load, serialize
from converters.graph import Array, Graph
from edge_oneshot.errors import ModelError

COUNT = 32  # pictures each for statistics, for the ranges of int8, and for every comparison
TORCH_READERS = ("litert-torch", "own")


def read_pictures(files: Sequence[Path], network: Network) -> Array:
    """uint8 (N, H, W, C) in the size of the network's input."""
    found = []
    for file in files:
        with Image.open(file) as picture:
            image = picture.convert("L" if network.channels == 1 else "RGB").resize((network.width, network.height))
        found.append(np.asarray(image).reshape(network.height, network.width, network.channels))
    return np.stack(found)


def parts(folder: Path, network: Network) -> tuple[Array, Array, Array]:
    """Pictures for statistics, for ranges, and to compare on: 32 each, with none in two of them."""
    files = sorted(p for p in folder.iterdir() if p.suffix.lower() in (".png", ".jpg", ".jpeg"))
    if len(files) < 3 * COUNT:
        raise SystemExit(f"{folder}: expected at least {3 * COUNT} pictures, got {len(files)}")
    return (
        read_pictures(files[:COUNT], network),
        read_pictures(files[COUNT : 2 * COUNT], network),
        read_pictures(files[-COUNT:], network),
    )


def _torch_source(network: Network, work: Path, statistics: Array, probes: Array) -> None:
    import torch

    from benchmarks.zoo import torch_source as t

    torch.manual_seed(0)
    torch.set_num_threads(1)
    first = [normalised(p).transpose(0, 3, 1, 2).copy() for p in (statistics, probes)]
    net = t.merged(t.liven(network.make(), first[0]))
    np.save(work / f"{network.name}.npy", t.results(net, first[1]))
    program = torch.export.export(net, (torch.from_numpy(first[1][:1]),))
    torch.export.save(program, work / f"{network.name}.pt2")


def _keras_source(network: Network, work: Path, statistics: Array, probes: Array) -> None:
    import tensorflow as tf

    from benchmarks.zoo import keras_source as k

    tf.keras.utils.set_random_seed(0)
    net = k.liven(network.make(), normalised(statistics))
    np.save(work / f"{network.name}.npy", k.results(net, normalised(probes)))
    net.save(work / f"{network.name}.keras")


def _litert_torch(network: Network, work: Path) -> Graph:
    """Kept on disk with its time, since it is slow and the same each time."""
    kept = work / f"{network.name}.tflite"
    if not kept.exists():
        import torch

        from converters.from_litert_torch import from_program

        program = torch.export.load(str(work / f"{network.name}.pt2"))
        start = time.process_time()
        kept.write_bytes(serialize(from_program(program)))
        kept.with_suffix(".seconds").write_text(f"{time.process_time() - start:.1f}", encoding="utf-8")
    return load(kept)


def _own(network: Network, work: Path) -> Graph:
    from converters.sources import load_source

    return load_source(work / f"{network.name}.pt2", "own").graph


def _tensorflow(network: Network, work: Path) -> Graph:
    kept = work / f"{network.name}.tflite"
    if not kept.exists():
        from converters.sources import load_source

        kept.write_bytes(serialize(load_source(work / f"{network.name}.keras").graph))
    return load(kept)


READERS: dict[str, Callable[[Network, Path], Graph]] = {
    "own": _own,
    "litert-torch": _litert_torch,
    "tensorflow": _tensorflow,
}


def read(reader: str, network: Network, work: Path, probes: Array, expected: Array) -> dict[str, Any]:
    """Whether a reader reads the network, and how far its float graph is from the source."""
    start = time.process_time()
    try:
        graph = READERS[reader](network, work)
    except ModelError as error:
        return {"result": "refused", "message": str(error)}
    seconds = time.process_time() - start
    measured = work / f"{network.name}.seconds"
    if reader == "litert-torch" and measured.exists():
        seconds = float(measured.read_text(encoding="utf-8"))
    error, cosine = apart(run_float(graph, normalised(probes)), expected)
    result = "exact" if is_exact(error, cosine) else "differs"
    return {"result": result, "error": error, "cosine": cosine, "cpu_s": round(seconds, 1)}


def kept(path: Path, make: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """The record in `path`, made and written if it is not there. Delete a file to measure that part again."""
    if not path.exists():
        path.write_text(json.dumps(make(), indent=1), encoding="utf-8")
    found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return found


def int8(network: Network, work: Path, chips: Array, probes: Array, expected: Array, reader: str) -> dict[str, Any]:
    try:
        graph = READERS[reader](network, work)
        return {"reader": reader, **quantised(graph, list(chips), probes, expected)}
    except ModelError as error:
        return {"reader": reader, "refused": str(error)}


def measure(name: str, folder: Path, work: Path) -> None:
    """Write what is missing of a network: its source, NAME.READER.json for each reader, and NAME.int8.json."""
    network = BY_NAME[name]
    torch = network.framework == "torch"
    statistics, chips, probes = parts(folder, network)
    if not (work / f"{name}.{'pt2' if torch else 'keras'}").exists():
        (_torch_source if torch else _keras_source)(network, work, statistics, probes)
    expected = np.load(work / f"{name}.npy")
    chosen = None
    for reader in TORCH_READERS if torch else ("tensorflow",):
        found = kept(work / f"{name}.{reader}.json", lambda r=reader: read(r, network, work, probes, expected))
        chosen = chosen or (reader if found["result"] == "exact" else None)
    if chosen is not None:
        kept(work / f"{name}.int8.json", lambda: int8(network, work, chips, probes, expected, chosen))


def record_of(network: Network, work: Path) -> dict[str, Any] | None:
    """All that is known of a network; None: nothing."""
    readers = {r: work / f"{network.name}.{r}.json" for r in READERS}
    found: dict[str, Any] = {r: json.loads(p.read_text(encoding="utf-8")) for r, p in readers.items() if p.exists()}
    if not found:
        return None
    record = {"name": network.name, "origin": network.origin, "note": network.note, "readers": found}
    record["input"] = [network.height, network.width, network.channels]
    for part in ("int8", "onnx"):
        if (path := work / f"{network.name}.{part}.json").exists():
            record[part] = json.loads(path.read_text(encoding="utf-8"))
    return record
