"""The program of the process that loads a bundle which is not known yet: a damaged or hostile model ends this process only.

    python -I check_child.py PATH…      the arguments become sys.path

Standard input is one JSON object {"path": …, "runtime": …}. The answer is one line of JSON: the fields of `Verdict`
(checked.py), or {"error": …, "hint": …}.
"""

from __future__ import annotations

import contextlib
import json
import os
import resource
import sys
from pathlib import Path
from typing import TYPE_CHECKING

if __name__ == "__main__":
    sys.path[:] = sys.argv[1:]

if TYPE_CHECKING:
    from edge_oneshot.model.bundle import Bundle

MAX_MB = 512  # of memory beyond that of Python, numpy and the runtime
MAX_S = 120  # seconds of processor time; the shipped encoder needs more than 30 on an emulated processor
OTHER = "use another bundle; if you have made this one, convert it again"
LATER = "try again when the device has free memory and is less busy"


def check(path: Path, runtime: str) -> dict[str, str]:
    """Read the bundle, load it and run it once. Raises ModelError."""
    from edge_oneshot.model.bundle import digest, parse_bundle, read_file

    data = read_file(path)
    bundle = parse_bundle(data, path)
    found = digest(data)
    del data
    return {
        "digest": found,
        "kind": bundle.card.kind,
        "name": f"{bundle.card.name} {bundle.card.version}",
        "result": run(bundle, runtime),
    }


def run(bundle: Bundle, runtime: str) -> str:
    """Run the model on four pictures; what it returns for the grey one, in words. Raises ModelError if it contradicts its card."""
    import numpy as np

    from edge_oneshot.model.encoder import TwinEncoder
    from edge_oneshot.recognition.known_answer import check_encoder
    from edge_oneshot.types import Chip
    from edge_oneshot.vision.detector import BlazeFaceDetector
    from edge_oneshot.vision.locate import LandmarkPlacer

    shape = bundle.card.input.shape
    # What a damaged model reads and writes may depend on the picture. The last one is grey.
    noise = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    pictures = [noise, *(np.full(shape, value, dtype=np.uint8) for value in (0, 255, 128))]
    if bundle.card.kind == "encoder":
        encoder = TwinEncoder(bundle, runtime)
        vectors = [encoder.encode(Chip(pixels=pixels, transform=np.eye(2, 3))).vector for pixels in pictures]
        known = check_encoder(encoder)
        return f"an embedding of {vectors[-1].size} values on {encoder.runtime.name}" + (known and f"; {known}")
    if bundle.card.kind == "landmarks":
        placer = LandmarkPlacer(bundle, runtime)
        found = [placer.look(pixels)[0] for pixels in pictures]
        return f"{len(found[-1])} landmarks on {placer.runtime.name}"
    detector = BlazeFaceDetector(bundle, runtime)
    faces = [detector.detect(pixels) for pixels in pictures]
    return f"{len(faces[-1])} faces in a grey picture on {detector.runtime.name}"


def main() -> None:
    request = json.loads(sys.stdin.read())
    answer = sys.stdout
    # What is slow to load and maps much memory is loaded before the limits.
    from edge_oneshot.errors import EdgeOneshotError
    from edge_oneshot.model.runtime import import_runtime
    from edge_oneshot.vision import detector, locate  # noqa: F401

    try:
        import_runtime(request["runtime"])
        with contextlib.suppress(OSError):  # if memory runs out, this process ends, and no other one
            Path("/proc/self/oom_score_adj").write_text("1000")
        pages = int(Path("/proc/self/statm").read_text().split()[0])
        for number, most in (
            (resource.RLIMIT_AS, pages * os.sysconf("SC_PAGE_SIZE") + MAX_MB * 1_000_000),
            (resource.RLIMIT_CPU, MAX_S),
            (resource.RLIMIT_FSIZE, 0),
            (resource.RLIMIT_CORE, 0),
        ):
            _, hard = resource.getrlimit(number)
            most = most if hard == resource.RLIM_INFINITY else min(most, hard)
            # The soft limit of processor time sends SIGXCPU, the hard one SIGKILL.
            spare = 5 if number == resource.RLIMIT_CPU and hard == resource.RLIM_INFINITY else 0
            resource.setrlimit(number, (most, most + spare))
        found = check(Path(request["path"]), request["runtime"])
    except EdgeOneshotError as e:
        found = {"error": e.message, "hint": e.hint}
    except MemoryError:
        found = {"error": f"{request['path']}: loading the model needs more than {MAX_MB} MB of memory", "hint": OTHER}
    except Exception as e:  # a model can make numpy and the runtime raise many types of exception
        found = {"error": f"{request['path']}: the model cannot be used: {type(e).__name__}: {e}"[:500], "hint": OTHER}
    answer.write(json.dumps(found) + "\n")
    answer.flush()
    os._exit(0)  # not through the destructors of a model that may be damaged


if __name__ == "__main__":
    main()
