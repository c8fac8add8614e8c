"""The figures of the field: from rows to figures, tables and a page. benchmarks/field.py measures the rows."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_oneshot.evaluation.metrics import threshold_at_fmr

try:
    from benchmarks.peers.plot import plot
except ImportError:  # run as a script of benchmarks/
    from peers.plot import plot  # type: ignore[no-redef]

PACKAGES = (
    "numpy", "pillow", "ai-edge-litert", "opencv-python-headless", "onnxruntime", "dlib-bin", "face-recognition",
    "insightface", "deepface", "tensorflow",
)  # fmt: skip
FACES = (0, 1, 2, 5, 10)
FMR = 1e-3
DRAWS = 1000
RESULT, PAGE, PICTURE = "benchmarks/results/field.json", "docs/explanation/performance.md", "docs/images/field.svg"
BLOCK = re.compile(r"<!-- measured: field -->\n.*?<!-- end of measured -->", re.DOTALL)


# ---- rows -> figures


def figures(of: Callable[..., list[dict[str, Any]]], name: str) -> dict[str, Any]:
    """The figures of one peer. of: the rows whose key starts with these words. Times are CPU ms unless the name says wall."""
    by_faces = {n: of("frames", name, n) for n in FACES}
    cpu = {n: [float(np.median(r["cpu_ms"])) for r in rows] for n, rows in by_faces.items()}
    found = {n: float(np.mean([f for r in rows for f in r["faces"]])) for n, rows in by_faces.items()}
    middle = {n: float(np.median([v for r in rows for v in r["cpu_ms"]])) for n, rows in by_faces.items()}
    wall = [v for r in by_faces[1] for v in r["wall_ms"]]
    result: dict[str, Any] = {
        "cpu_ms": {str(n): round(v, 2) for n, v in middle.items()},
        "round_cpu_ms": {str(n): [round(v, 2) for v in values] for n, values in cpu.items()},
        "faces_encoded": {str(n): round(v, 2) for n, v in found.items()},
        "each_face_ms": round((middle[10] - middle[1]) / max(1e-9, found[10] - found[1]), 2),
        "faces_per_s": round(1e3 * found[5] / middle[5], 1),
        "decision_wall_ms": [round(float(v), 1) for v in np.percentile(wall, (50, 95))],
        "rss_mb": round(max(r["rss_mb"] for r in of("memory", name)), 1),
        "peak_mb": round(max(r["peak_mb"] for r in of("memory", name)), 1),
    }
    if cold := of("cold", name):
        result["cold_start_s"] = {k: round(float(np.median([r[k] for r in cold])), 2) for k in ("wall_s", "cpu_s")}
    invokes = [i / w for r in by_faces[1] for i, w in zip(r.get("invoke_ms", ()), r["cpu_ms"], strict=False)]
    if invokes:
        result["invokes_of_a_frame"] = round(float(np.median(invokes)), 3)
    clips: dict[str, Any] = {}
    for row in of("clip", name):
        clips.setdefault(row["key"][2], []).append(row)
    for scene, rows in clips.items():
        result.setdefault("steady", {})[scene] = {
            "cpu_ms": round(float(np.mean([v for r in rows for v in r["cpu_ms"]])), 2),
            "median_ms": round(float(np.median([v for r in rows for v in r["cpu_ms"]])), 2),
            "round_cpu_ms": [round(float(np.mean(r["cpu_ms"])), 2) for r in rows],
            "tracks": round(float(np.mean([f for r in rows for f in r["faces"]])), 2),
            "events": rows[-1]["events"],
        }
    return result


def error_rates(vectors: NDArray[np.float32], owners: NDArray[np.str_], *, distance: bool) -> dict[str, Any]:
    """TAR at FMR 1e-3 over all pairs of these pictures, with equal weight for each person.

    vectors: (N, D), NaN for a picture without a face: it is a non-match in every pair. owners: (N,), whose picture each is.
    distance: scores are negative Euclidean distances, else cosines. The interval is a bootstrap over people, 95 %: each draw
    sets its own threshold.
    """
    _, person = np.unique(owners, return_inverse=True)
    seen, count = np.isfinite(vectors[:, 0]), int(person.max()) + 1
    rows = np.where(seen[:, None], vectors, 0).astype(np.float32)
    products = rows @ rows.T
    if distance:
        squares = (rows**2).sum(axis=1)
        products = -np.sqrt(np.maximum(0, squares[:, None] + squares - 2 * products))
    products[~seen, :] = products[:, ~seen] = -np.inf
    a, b = np.triu_indices(len(rows), 1)
    scores, mated = products[a, b], person[a] == person[b]
    mates, owner, others = scores[mated], person[a[mated]], scores[~mated]
    threshold = threshold_at_fmr(others, FMR)
    top = np.argpartition(-others, int(10 * FMR * others.size))[: int(10 * FMR * others.size)]
    top = top[np.argsort(-others[top])]
    first, second = person[a[~mated]][top], person[b[~mated]][top]
    pictures = np.bincount(person)
    pairs = np.bincount(owner, minlength=count)
    rng, tars = np.random.default_rng(0), []
    for _ in range(DRAWS):
        weight = rng.multinomial(count, np.full(count, 1 / count)).astype(float)
        total = ((weight @ pictures) ** 2 - (weight**2 @ pictures**2)) / 2
        at = np.searchsorted(np.cumsum(weight[first] * weight[second]) / total, FMR, side="right")
        tars.append(_tar(mates, owner, pairs, weight, float(others[top[min(at, len(top) - 1)]])))
    low, high = np.nanpercentile(tars, [2.5, 97.5])
    return {
        "tar": round(_tar(mates, owner, pairs, np.ones(count), threshold), 4),
        "interval": [round(float(low), 4), round(float(high), 4)],
        "threshold": round(threshold, 4),
        "not_acquired": round(float(1 - seen.mean()), 4),
        "people": count,
        "people_with_mates": int((pairs > 0).sum()),
        "mated": int(mates.size),
        "non_mated": int(others.size),
    }


def _tar(mates: Any, owner: Any, pairs: Any, weight: Any, threshold: float) -> float:
    """The mean over people (each `weight` times) of the share of a person's pairs that reach the threshold."""
    hits = np.bincount(owner, weights=mates >= threshold, minlength=len(pairs))
    has = pairs > 0
    drawn = weight[has].sum()
    return float((weight[has] * hits[has] / pairs[has]).sum() / drawn) if drawn else float("nan")


# ---- figures -> tables


def ratio(
    result: dict[str, Any], name: str, values: Callable[[dict[str, Any]], list[float]], own: list[float]
) -> float:
    """Median over rounds of a peer's time divided by ours in the same round."""
    theirs = values(result["peers"][name])
    return float(np.median([t / o for t, o in zip(theirs, own, strict=False)]))


def _table(head: list[str], rows: list[list[str]]) -> str:
    lines = ["| " + " | ".join(cells) + " |" for cells in (head, ["---", *["---:"] * (len(head) - 1)], *rows)]
    return "\n".join(lines)


def undecided(result: dict[str, Any]) -> str:
    rows = []
    own = result["peers"].get("edge-oneshot")
    for name, peer in result["peers"].items():
        cells = []
        for n in map(str, FACES):
            times = "" if own is None or name == "edge-oneshot" else _times(result, name, n, own["round_cpu_ms"][n])
            cells.append(f"{peer['cpu_ms'][n]:.1f}{times}")
        rows.append([result["titles"][name], *cells, f"{peer['each_face_ms']:.1f}"])
    return _table(["CPU ms per frame", "no face", "1 face", "2", "5", "10", "each further face"], rows)


def _times(result: dict[str, Any], name: str, faces: str, own: list[float]) -> str:
    return f" ({ratio(result, name, lambda p: p['round_cpu_ms'][faces], own):.1f}x)"


def steady(result: dict[str, Any]) -> str:
    """Our clips; the peers' frames of as many faces in the same round, divided by ours."""
    own = result["peers"]["edge-oneshot"]
    others = [n for n in result["peers"] if n not in ("edge-oneshot", "floor")]
    rows = []
    for scene, found in own["steady"].items():
        faces = next(iter(re.findall(r"\d+", scene)), "0")
        same = found["cpu_ms"] / own["cpu_ms"][faces]
        peers = [_times(result, n, faces, found["round_cpu_ms"]).strip(" ()") for n in others]
        rows.append([scene, f"{found['cpu_ms']:.1f}", f"{same:.2f}", *peers])
    if "10" in own["steady"]:
        rows.append(["each further face", f"{each_steady(own):.1f}", "", *[""] * len(others)])
    return _table(["scene", "CPU ms per frame", "relative to undecided", *(result["titles"][n] for n in others)], rows)


def each_steady(own: dict[str, Any]) -> float:
    return float((own["steady"]["10"]["cpu_ms"] - own["steady"]["1"]["cpu_ms"]) / 9)


def rest(result: dict[str, Any]) -> str:
    rows = []
    for name, p in result["peers"].items():
        if name == "floor":
            continue
        lfw, cold, wall = p.get("lfw"), p.get("cold_start_s"), p["decision_wall_ms"]
        tar = (
            f"{100 * lfw['tar']:.1f} ({100 * lfw['interval'][0]:.1f} to {100 * lfw['interval'][1]:.1f})" if lfw else "-"
        )
        rows.append([
            result["titles"][name], f"{p['faces_per_s']:.0f}", f"{wall[0]:.0f} / {wall[1]:.0f}",
            f"{p['rss_mb']:.0f} / {p['peak_mb']:.0f}", f"{cold['wall_s']:.2f} / {cold['cpu_s']:.2f}" if cold else "-",
            f"{p['installed_mb']:.0f}" if p.get("installed_mb") else "-", tar, f"{100 * lfw['not_acquired']:.1f}" if lfw else "-",
        ])  # fmt: skip
    head = ["", "faces/s, one core", "frame to decision, wall ms p50 / p95", "MB resident / peak",
            "cold start s, wall / CPU", "MB installed", "TAR at FMR 1e-3, %", "not acquired, %"]  # fmt: skip
    return _table(head, rows)


def goals(result: dict[str, Any]) -> str:
    """Each goal with what was measured."""
    peers, own = result["peers"], result["peers"]["edge-oneshot"]
    rows: list[tuple[str, float, float, bool]] = []  # goal, measured, limit, whether more is better
    if "yunet" in peers:
        for n, limit in (("0", 4.0), ("1", 1.6), ("5", 1.3)):
            for state, mine in (("undecided", own["round_cpu_ms"][n]), ("steady", _clip(own, n))):
                value = ratio(result, "yunet", lambda p, n=n: p["round_cpu_ms"][n], mine)  # type: ignore[misc]
                rows.append(
                    (
                        f"CPU time of YuNet relative to edge-oneshot, {n} face{'s' * (n != '1')}, {state}",
                        value,
                        limit,
                        True,
                    )
                )
    if "face_recognition" in peers:
        each = [
            ratio(result, "face_recognition", lambda p, n=n: p["round_cpu_ms"][n], own["round_cpu_ms"][n])  # type: ignore[misc]
            for n in map(str, FACES)
        ]
        rows.append(("CPU time of dlib relative to edge-oneshot, lowest of all scenes", min(each), 6.0, True))
    rows.append(("CPU ms for each further face, steady", each_steady(own), 8.0, False))
    if "invokes_of_a_frame" in own:
        rows.append(("a frame with one face relative to its invokes", 1 / own["invokes_of_a_frame"], 1.15, False))
    clip = {name: found["cpu_ms"] for name, found in own["steady"].items()}
    rows.append(
        ("one face, decided and still, relative to undecided", clip["1 still"] / own["cpu_ms"]["1"], 0.4, False)
    )
    rows.append(
        ("empty and still relative to empty in motion", clip["empty, still"] / clip["empty, motion"], 0.6, False)
    )
    cells = [
        [name, f"{value:.2f}", f"{'at least' if more else 'at most'} {limit:g}", "yes" if (value >= limit) is more else "**no**"]
        for name, value, limit, more in rows
    ]  # fmt: skip
    return _table(["goal", "measured", "limit", "met"], cells)


def _clip(own: dict[str, Any], faces: str) -> list[float]:
    found: list[float] = own["steady"]["empty, motion" if faces == "0" else faces]["round_cpu_ms"]
    return found


def tables(result: dict[str, Any]) -> str:
    """All tables of a result, as Markdown."""
    head = result["head"].splitlines()[1]
    parts = [
        f"Measured at {head} at the end; load {result['load'][0]:g} to {result['load'][1]:g}; {result['rounds']} "
        f"round{'s' * (result['rounds'] != 1)}.",
        "**Every face undecided.** In brackets: relative to edge-oneshot, median over rounds.",
        undecided(result),
    ]
    if "steady" in result["peers"].get("edge-oneshot", {}):
        parts += ["**Steady state, after the decisions.** Peers: relative to edge-oneshot.", steady(result)]
    parts += ["**Other figures.**", rest(result)]
    if "10" in result["peers"].get("edge-oneshot", {}).get("steady", {}):
        parts += ["**Goals.**", goals(result)]
    if result["absent"]:
        parts += ["Not measured:", "\n".join(f"- {result['titles'][n]}: {why}" for n, why in result["absent"].items())]
    return "\n\n".join(parts)


def write(result: dict[str, Any], root: Path) -> None:
    """The result, its tables in the page, and the plot."""
    (root / RESULT).write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    (root / PICTURE).write_text(plot(result), encoding="utf-8")
    page = root / PAGE
    page.write_text(placed(page.read_text(encoding="utf-8"), result), encoding="utf-8")


def placed(page: str, result: dict[str, Any]) -> str:
    """The page with the tables of a result between its marks."""
    block = f"<!-- measured: field -->\n\n{tables(result)}\n\n<!-- end of measured -->"
    return BLOCK.sub(lambda _: block, page)
