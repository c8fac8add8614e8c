"""The environment of each peer: a venv of its own with what the peer needs, or the reason why there is none."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
WORKER = Path(__file__).resolve().parent / "worker.py"
ONE_THREAD = {
    f"{name}_NUM_THREADS": "1" for name in ("OMP", "OPENBLAS", "MKL", "NUMEXPR", "VECLIB_MAXIMUM", "TF_NUM_INTRAOP")
} | {
    "TF_NUM_INTEROP_THREADS": "1",
    "TF_NUM_INTRAOP_THREADS": "1",
    "CUDA_VISIBLE_DEVICES": "",
    "TF_CPP_MIN_LOG_LEVEL": "3",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """What a peer is made of. packages: for pip. bare: packages whose own dependencies are not installed.

    built: those of the packages that have no wheel of the version that is needed; the others are installed from wheels only.
    absent: why the peer is not measured, whatever can be installed.
    """

    title: str
    packages: Sequence[str] = ()
    bare: Sequence[str] = ()
    built: Sequence[str] = ()
    absent: str = ""


SOURCES = {
    "edge-oneshot": Source(title="edge-oneshot", packages=(str(ROOT),)),
    "floor": Source(title="its networks alone, each once"),
    "yunet": Source(
        title="OpenCV YuNet + MobileFaceNet (ONNX Runtime)", packages=("opencv-python-headless", "onnxruntime")
    ),
    "face_recognition": Source(
        title="face_recognition (dlib)",
        packages=("numpy", "pillow", "click", "setuptools<81", "dlib-bin", "face-recognition-models>=0.3"),
        built=("face-recognition-models",),
        bare=("face-recognition",),  # it requires dlib by the name of the source package
    ),
    "insightface": Source(title="insightface (buffalo_sc)", packages=("insightface", "onnxruntime")),
    "deepface": Source(title="deepface (YuNet, SFace)", packages=("deepface", "tf-keras", "werkzeug")),
    "mediapipe": Source(title="mediapipe", absent="it finds faces and their landmarks, and has no encoder of faces"),
}
OWN = ("edge-oneshot", "floor")


def interpreter(name: str, venvs: Path | None, say: Any) -> tuple[Path | None, str]:
    """(Python with the packages of a peer, "") or (None, why there is none). venvs None: this interpreter."""
    if SOURCES[name].absent:
        return None, SOURCES[name].absent
    if venvs is None:
        return Path(sys.executable), ""
    folder, source = venvs / name, SOURCES[name]
    python, made = folder / "bin" / "python", folder / "made.json"
    recipe = [*source.packages, *source.bare]
    if made.exists() and json.loads(made.read_text()) == recipe:
        return python, ""
    say(f"installing {', '.join(recipe)}")
    subprocess.run([sys.executable, "-m", "venv", "--clear", str(folder)], check=True)
    pip = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    if name != "edge-oneshot":
        pip += ["--only-binary=:all:", *(f"--no-binary={package}" for package in source.built)]
    for words in (list(source.packages), ["--no-deps", *source.bare] if source.bare else []):
        done = subprocess.run([*pip, *words], capture_output=True, text=True, check=False) if words else None
        if done is not None and done.returncode:
            return None, f"pip: {last_line(done.stderr)}"
    made.write_text(json.dumps(recipe))
    return python, ""


def last_line(text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if "rror" in line] or text.splitlines() or ["no output"]
    return without_hosts(lines[-1])


def without_hosts(text: str) -> str:
    """A message without addresses, since these are of the machine that it was measured on."""
    return re.sub(r"\w+://\S+", "…", text)[:150]


def installed_mb(name: str, python: Path, files: Sequence[str]) -> float | None:
    """10^6 bytes of the packages and of the weights outside them, without pip and compiled caches; None if shared."""
    site = next((python.parent.parent / "lib").glob("python3*/site-packages"), None)
    if site is None or not (python.parent.parent / "made.json").exists():
        return None
    needless = {"pip", "_distutils_hack"} | ({"setuptools", "pkg_resources"} if name != "face_recognition" else set())
    total = sum(Path(f).stat().st_size for f in files)
    for path in site.rglob("*"):
        top = path.relative_to(site).parts[0]
        if path.is_file() and top.split("-")[0] not in needless and "__pycache__" not in path.parts:
            total += path.stat().st_size
    return round(total / 1e6, 1)


def versions(python: Path, names: Sequence[str]) -> dict[str, str]:
    """The versions of some packages in an environment."""
    code = (
        "import importlib.metadata as m, json, sys\nfound = {}\nfor n in sys.argv[1:]:\n"
        "    try: found[n] = m.version(n)\n    except m.PackageNotFoundError: pass\nprint(json.dumps(found))"
    )
    done = subprocess.run([str(python), "-c", code, *names], capture_output=True, text=True, check=True)
    found: dict[str, str] = json.loads(done.stdout)
    return found


class Process:
    """A worker of one peer. `error`: why it does not run."""

    def __init__(self, name: str, python: Path, data: Path | None) -> None:
        self.name, self.error = name, ""
        self._process = subprocess.Popen(
            command(name, python, data), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment(),
            stderr=subprocess.DEVNULL,
        )  # fmt: skip
        answer = self._answer()
        self.error, self.files = answer.get("error", ""), answer.get("files", [])

    def ask(self, **words: Any) -> Any:
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(words) + "\n")
        self._process.stdin.flush()
        answer = self._answer()
        if isinstance(answer, dict) and "error" in answer:
            raise SystemExit(f"{self.name}: {answer['error']}")
        return answer

    def _answer(self) -> Any:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            return {"error": f"the process ended with status {self._process.wait()}"}
        return json.loads(line)

    def close(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait()


def command(name: str, python: Path, data: Path | None) -> list[str]:
    return [str(python), str(WORKER), name, str(data or "")]


def environment() -> dict[str, str]:
    return {**os.environ, **ONE_THREAD, "PYTHONPATH": str(ROOT)}
