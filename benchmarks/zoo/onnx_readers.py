"""Readers of ONNX, compared over the zoo's PyTorch networks: python -m benchmarks.zoo.onnx_readers PICTURES WORK NAME ...

Run it where torch is (own reader, and onnx2torch with litert-torch), then where onnx2tf is. Records: WORK/NAME.onnx.json.
"""

from __future__ import annotations

import importlib.util
import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.zoo.measure import apart, is_exact, normalised, run_float
from benchmarks.zoo.networks import BY_NAME
from benchmarks.zoo.one import parts
from converters.flatbuffer import load
from converters.graph import Graph
from converters.sources import load_source


def export(source: Path, target: Path) -> None:
    """source: a .pt2 file."""
    import torch

    program = torch.export.load(str(source))
    torch.onnx.export(program, (), str(target), dynamo=True, external_data=False, verbose=False)


def own(path: Path) -> Graph:
    return load_source(path).graph


def by_onnx2torch(path: Path) -> Graph:
    import onnx2torch

    from converters.from_litert_torch import from_module

    module = onnx2torch.convert(str(path)).eval()
    network = BY_NAME[path.stem]
    return from_module(module, (1, network.channels, network.height, network.width))


def by_onnx2tf(path: Path) -> Graph:
    import onnx2tf
    from onnx2tf import onnx2tf as inside

    # It downloads pictures to compare its own result on, even where that is switched off.
    inside.download_test_image_data = lambda: np.zeros((20, 128, 128, 3), np.float32)
    folder = path.with_suffix(".onnx2tf")
    onnx2tf.convert(input_onnx_file_path=str(path), output_folder_path=str(folder), non_verbose=True)
    return load(folder / f"{path.stem}_float32.tflite")


READERS: dict[str, tuple[str, Callable[[Path], Graph]]] = {
    "own": ("torch", own),
    "onnx2torch, litert-torch": ("onnx2torch", by_onnx2torch),
    "onnx2tf": ("onnx2tf", by_onnx2tf),
}


def measure(name: str, pictures: Path, work: Path) -> None:
    path, kept = work / f"{name}.onnx", work / f"{name}.onnx.json"
    record: dict[str, Any] = json.loads(kept.read_text(encoding="utf-8")) if kept.exists() else {}
    if not path.exists():
        export(work / f"{name}.pt2", path)
    _, _, probes = parts(pictures, BY_NAME[name])
    expected = np.load(work / f"{name}.npy")
    for reader, (module, function) in READERS.items():
        if reader in record or importlib.util.find_spec(module) is None:
            continue
        start = time.process_time()
        try:
            graph = function(path)
            seconds = time.process_time() - start
            error, cosine = apart(run_float(graph, normalised(probes)), expected)
            result = "exact" if is_exact(error, cosine) else "differs"
            record[reader] = {"result": result, "error": error, "cosine": cosine, "cpu_s": round(seconds, 1)}
        except (Exception, SystemExit) as error:  # a foreign reader ends in many ways, onnx2tf by sys.exit
            record[reader] = {"result": "refused", "message": f"{type(error).__name__}: {error}"[:300]}
        kept.write_text(json.dumps(record, indent=1), encoding="utf-8")
        print(name, reader, record[reader], flush=True)


if __name__ == "__main__":
    for each in sys.argv[3:]:
        measure(each, Path(sys.argv[1]), Path(sys.argv[2]))
