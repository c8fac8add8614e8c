"""What the benchmarks share: the head line of a result, the portrait, and a process's memory."""

from __future__ import annotations

import os
import platform
import subprocess
from datetime import UTC, datetime
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def headline(title: str) -> str:
    """Title, commit (and whether files differ from it), machine, load, date: a result without them says nothing."""
    def git(*words: str) -> str:
        return subprocess.run(["git", "-C", str(ROOT), *words], capture_output=True, text=True, check=False).stdout.strip()

    changed = " with changes" if git("status", "--porcelain", "--untracked-files=no", "--", "edge_oneshot") else ""
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    model = next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), "?")
    return (f"{title}\ncommit {git('rev-parse', '--short', 'HEAD')}{changed}, {datetime.now(UTC):%Y-%m-%d %H:%M} UTC, {model}, "
            f"{os.cpu_count()} cores, {platform.machine()}, Python {platform.python_version()}, load {os.getloadavg()[0]:.1f}")


def portrait() -> Path:
    """Eileen Collins, from scikit-image's own files."""
    import skimage

    return Path(skimage.__file__).parent / "data" / "astronaut.png"


def resident_mb(pid: int) -> float:
    """VmRSS of another process, MB (10^6 bytes)."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) * 1024 / 1e6
    raise RuntimeError(f"process {pid} has no VmRSS")
