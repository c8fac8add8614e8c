"""docs/reference/zoo.md and benchmarks/results/zoo.json from the records of the zoo."""

from __future__ import annotations

import json
from importlib import metadata
from pathlib import Path
from typing import Any

from benchmarks.zoo.networks import NETWORKS
from benchmarks.zoo.one import record_of

ROOT = Path(__file__).resolve().parents[2]
PAGE, RESULTS = ROOT / "docs/reference/zoo.md", ROOT / "benchmarks/results/zoo.json"
PACKAGES = ("ai-edge-litert", "ai-edge-quantizer", "litert-torch", "torch", "timm", "torchvision", "tensorflow")

HEAD = """# Networks that convert

This page lists {total} architectures that were converted from PyTorch or Keras, so that you can see whether yours will, and what
int8 does to it. {exact} of {total} convert exactly: the float model gives what the source gives in its own framework.

`python -m benchmarks.zoo` generates this page. Weights are random, with factors, offsets and statistics of the normalisations as
in trained networks, so nothing is downloaded and **int8 is harder than for trained weights**: a trained MobileFaceNet reaches a
cosine of 0.99.

- *exact*: over 32 pictures the largest difference from the source is at most 1e-4 of the largest value of a result, and the
  least cosine at least 0.9999. The figure is the largest difference, of the graph as it was read and after all passes.
- *int8*: mean cosine between int8 and source over 32 other pictures than those that gave the ranges; in brackets after the mean
  result of the pictures was subtracted from both, which is what tells one picture from another.
- *XNNPACK*: operators that it takes, of all, and the number of partitions. One partition and all operators is best.
- *time*: processor time of one inference, float / int8, one thread, {host}. Use it to compare rows only.

"""

READERS = """
## Readers

PyTorch sources have two readers. The own reader needs torch alone, and takes seconds. `litert-torch` is Google's converter: it reads
more and takes {slow} s of processor time per network here (median), against {quick} s. By default the own reader is tried first
and litert-torch, where it is installed, for what the own reader refuses; `--reader` chooses one. Whichever is used, the result is
compared with the source.

| reader | exact | refused | differs |
|---|---|---|---|
"""


def _figure(value: float) -> str:
    return f"{value:.0e}".replace("e-0", "e-")


def _row(record: dict[str, Any]) -> str:
    name, readers, int8 = record["name"], record["readers"], record.get("int8")
    if record["reader"] is None:
        return f"| {name} | {record['note']} | none | no | | | |"
    read = readers[record["reader"]]
    if int8 is None:
        return f"| {name} | {record['note']} | {record['reader']} | {_figure(read['error'])} | refused | | |"
    total = int8["operators"]
    taken = total - len(int8["undelegated"])
    exact = f"{_figure(read['error'])}, {_figure(int8['reference_error'])}"
    cosine = f"{int8['int8_cosine']:.4f} ({int8['int8_cosine_centred']:.3f})"
    parts = f"{taken}/{total}, {int8['partitions']}"
    times = f"{int8['float_ms']:.1f} / {int8['int8_ms']:.1f}"
    return f"| {name} | {record['note']} | {record['reader']} | {exact} | {cosine} | {parts} | {times} |"


def _is_converted(record: dict[str, Any]) -> bool:
    int8 = record.get("int8")
    return int8 is not None and int8["reference_error"] <= 1e-4 and int8["reference_cosine"] >= 0.9999


def _refusals(records: list[dict[str, Any]]) -> list[str]:
    lines = []
    for r in records:
        messages = [f"{k}: {v['message']}" for k, v in r["readers"].items() if v["result"] == "refused"]
        if r["reader"] is None:
            lines.append(f"- `{r['name']}`: {'; '.join(messages)}")
        elif "refused" in r:
            lines.append(f"- `{r['name']}`: {r['refused']}")
        elif messages:
            lines.append(f"- `{r['name']}` by its other reader: {'; '.join(messages)}")
    return lines


def _median(records: list[dict[str, Any]], reader: str) -> float:
    times = sorted(r["readers"][reader]["cpu_s"] for r in records if "cpu_s" in r["readers"].get(reader, {}))
    return times[len(times) // 2] if times else 0.0


def page(records: list[dict[str, Any]], host: str) -> str:
    exact = sum(_is_converted(r) for r in records)
    text = HEAD.format(total=len(records), exact=exact, host=host)
    text += "| network | what is in it | reader | exact | int8 | XNNPACK | time, ms |\n|---|---|---|---|---|---|---|\n"
    text += "\n".join(_row(r) for r in records) + "\n"
    text += READERS.format(slow=f"{_median(records, 'litert-torch'):.0f}", quick=f"{_median(records, 'own'):.1f}")
    for reader in ("own", "litert-torch", "tensorflow"):
        results = [r["readers"][reader]["result"] for r in records if reader in r["readers"]]
        text += f"| {reader} | {' | '.join(str(results.count(k)) for k in ('exact', 'refused', 'differs'))} |\n"
    if refusals := _refusals(records):
        text += "\n## Refusals\n\n" + "\n".join(refusals) + "\n"
    return text


def write(work: Path) -> str:
    """Write page and results. Returns a line that says what was written."""
    records = [record for n in NETWORKS if (record := record_of(n, work)) is not None]
    versions = (
        json.loads((work / "versions.json").read_text(encoding="utf-8")) if (work / "versions.json").exists() else {}
    )
    for package in PACKAGES:
        try:
            versions[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    host = _processor()
    PAGE.write_text(page(records, host), encoding="utf-8")
    RESULTS.write_text(
        json.dumps({"processor": host, "versions": versions, "networks": records}, indent=1) + "\n", encoding="utf-8"
    )
    return f"{len(records)} of {len(NETWORKS)} networks in {PAGE.relative_to(ROOT)}"


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return "an unknown processor"
