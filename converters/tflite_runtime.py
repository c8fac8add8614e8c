"""Run a converted model on tflite-runtime 2.14 too, in a virtual environment of its own.

tflite-runtime needs numpy 1, so it runs in a subprocess. EDGE_ONESHOT_TFLITE_PYTHON names the Python of an environment
with `pip install tflite-runtime==2.14.0 'numpy<2'` (Python 3.11 at most).
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

from converters.flatbuffer import parse
from converters.graph import Array
from edge_oneshot.errors import ModelError

VARIABLE = "EDGE_ONESHOT_TFLITE_PYTHON"
LEAST_COSINE = 0.97  # its kernels round differently from XNNPACK's: .996 over fifty layers; damage is far below
_PROGRAM = """
import sys, numpy as np
from tflite_runtime.interpreter import Interpreter
i = Interpreter(model_path=sys.argv[1]); i.allocate_tensors()
i.set_tensor(i.get_input_details()[0]['index'], np.load(sys.argv[2])); i.invoke()
np.save(sys.argv[3], i.get_tensor(i.get_output_details()[0]['index']))
"""


def check_predecessor(model: bytes, chip: Array, expected: Array) -> str:
    """ "2.14.0" if the model runs and agrees, else "untested: ..." with the reason. chip: uint8 (H, W, C).

    expected: LiteRT's int8 output (D,). ModelError: it fails, or its direction differs.
    """
    python = os.environ.get(VARIABLE)
    if not python:
        reason = f"{VARIABLE} is not set" if sys.version_info < (3, 12) else "it needs Python 3.11 or older"
        return f"untested: {reason}"
    with tempfile.TemporaryDirectory() as folder:
        files = [Path(folder) / name for name in ("model.tflite", "input.npy", "output.npy")]
        files[0].write_bytes(model)
        np.save(files[1], (chip ^ np.uint8(0x80)).view(np.int8)[None])
        try:
            done = subprocess.run(
                [python, "-c", _PROGRAM, *map(str, files)], capture_output=True, text=True, timeout=300, check=False
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            raise ModelError(
                f"tflite-runtime: {python} cannot run the model: {error}", f"correct {VARIABLE}, or unset it"
            ) from error
        if done.returncode:
            raise ModelError(
                f"tflite-runtime: the model fails: {done.stderr.strip().splitlines()[-1:]}",
                f"check that {VARIABLE} names an environment with tflite-runtime 2.14 and numpy < 2",
            )
        got = np.load(files[2])[0].astype(np.int32)
    quantization = parse(model).outputs[0].quantization
    zero = 0 if quantization is None else int(quantization.zero_point[0])
    a, b = got - zero, expected.astype(np.int32) - zero
    cosine = float(a @ b / max(float(np.linalg.norm(a) * np.linalg.norm(b)), 1e-9))
    if cosine < LEAST_COSINE:
        raise ModelError(
            f"tflite-runtime: expected the output that LiteRT gives, got one with cosine {cosine:.3f} to it",
            f"its kernels compute an operator differently; unset {VARIABLE} to support LiteRT only",
        )
    return f"2.14.0, at most {int(np.abs(a - b).max())} steps of the output scale from LiteRT"
