"""What a fleet costs one device: enroll, publish, join cold, read. CPU time of one core, bytes of messages and of the file, memory.

python benchmarks/fleet_cost.py --people 10000 --out benchmarks/results/fleet_cost.json
"""

from __future__ import annotations

import argparse
import json
import platform
import resource
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "scripts")]

import numpy as np  # noqa: E402
from fault_report import code_version  # noqa: E402

from edge_oneshot.fleet.fleet import Fleet, Joining  # noqa: E402
from edge_oneshot.storage.cipher import new_key, write_key  # noqa: E402
from edge_oneshot.storage.keys import Keys  # noqa: E402
from edge_oneshot.types import Embedding, Identity, Quality, Template  # noqa: E402

ENCODER = "sha256:" + "a" * 64
QUALITY = Quality(inter_eye_px=60.0, sharpness=20.0, luma=120.0, contrast=40.0, yaw_deg=2.0)


def template(identity_id: str, rng: np.random.Generator) -> Template:
    vector = rng.normal(size=192).astype(np.float32)
    return Template(
        template_id=f"{identity_id}-template",
        identity_id=identity_id,
        embedding=Embedding(vector=vector / np.linalg.norm(vector), encoder_id=ENCODER),
        quality=QUALITY,
        created_at=datetime(2026, 5, 1, tzinfo=UTC),
    )


def timed(results: dict[str, Any], name: str, work: Callable[[], Any]) -> Any:
    started, wall = time.process_time(), time.monotonic()
    found = work()
    results[name] = {"cpu_s": round(time.process_time() - started, 2), "s": round(time.monotonic() - wall, 2)}
    print(name, results[name], flush=True)
    return found


def measure(people: int, folder: Path) -> dict[str, Any]:
    write_key(folder / "key", new_key())
    keys, rng, results = Keys(folder / "key"), np.random.default_rng(1), {}
    admin, _ = Fleet.found(folder / "admin.sqlite", name="gym", device_name="office", keys_of_device=keys)

    def enroll() -> None:
        with admin.batch():
            for number in range(people):
                name = f"person-{number}"
                admin.enroll(Identity(identity_id=name, name=name), [template(name, rng)])

    timed(results, "enroll", enroll)
    messages = timed(results, "seal messages", lambda: list(admin.outgoing()))
    joining = Joining(admin.invite("door", "gate"))
    answer = admin.answer(joining.place, joining.request)
    path = folder / "door.sqlite"
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    door = joining.finish(path, answer, name="gym", keys_of_device=keys)

    def join() -> None:
        for start in range(0, len(messages), 500):
            with door.batch():
                for message in messages[start : start + 500]:
                    assert door.take(message.topic, message.payload).state in ("new", "known")

    timed(results, "cold join", join)
    results["memory of the join, MB"] = round((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024, 1)
    assert len(timed(results, "read people", door.people)) == people
    timed(results, "digests", door.digests)
    timed(results, "check the log", door.audit)
    door.close()
    timed(results, "open", lambda: Fleet.open(path, keys))
    results["messages"] = len(messages)
    results["bytes of messages"] = sum(len(m.payload) for m in messages)
    results["bytes of the file"] = path.stat().st_size
    return results


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--people", type=int, default=10_000)
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    about = {"version": code_version(), "machine": platform.machine(), "people": args.people}
    with tempfile.TemporaryDirectory() as folder:
        about |= measure(args.people, Path(folder))
    if args.out:
        args.out.write_text(json.dumps(about, indent=1) + "\n")


if __name__ == "__main__":
    main()
