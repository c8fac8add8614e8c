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
PACKAGES = (
    "ai-edge-litert",
    "ai-edge-quantizer",
    "litert-torch",
    "torch",
    "timm",
    "torchvision",
    "tensorflow",
    "onnx2tf",
    "onnx2torch",
)

HEAD = """# Networks that convert

This page lists {total} architectures that were converted from PyTorch or Keras. It shows whether a network like yours
converts, and what int8 does to it. **{exact} of {total} convert exactly**: the float model computes the same output as the
source in its own framework.

`python -m benchmarks.zoo` generates this page. The weights are random, so nothing is downloaded; the normalisations have
factors, offsets and statistics as in trained networks. Int8 loses more with random weights than with trained ones: a trained
MobileFaceNet reaches a cosine of 0.99.

- *own*, *litert-torch*: the largest difference from the source over 32 pictures, relative to the largest output value. A
  conversion is exact if this is at most 1e-4 and the cosine is at least 0.9999 for each picture. *no*: the reader refuses the
  network. Empty cell: not measured.
- *passes*: the same for the float model after all passes.
- *int8*: mean cosine between int8 and source over 32 pictures that were not used for calibration. In brackets: the cosine
  after the mean output is subtracted from both, since only the rest distinguishes pictures. A row such as `efficientnet_b0`
  shows why a certificate is needed.
- *XNNPACK*: the operators that XNNPACK runs, of all operators, and the number of partitions.
- *ms*: processor time of one inference, float / int8, one thread, {host}. Use it to compare rows only.

"""

READERS = """
## Which reader

The built-in reader (`own`) needs only torch, and {quick} s of processor time per network here (median); litert-torch takes
{slow} s, and supports more networks. Therefore the built-in reader is tried first, and then litert-torch, if it is installed.
`--reader` selects one. The result of either reader is compared with the source.

| reader | exact | refused | differs |
|---|---|---|---|
"""

ONNX = """
## ONNX

Some of the networks were exported from PyTorch to ONNX and read by three readers. The table gives the largest difference from
the PyTorch source as above, and seconds of processor time. Empty cell: not measured. For ONNX the converter has only the
built-in reader. onnx2torch supports none of the operator versions that PyTorch's exporter writes. onnx2tf was exact in each
measurement, but needs TensorFlow, takes longer, and tries to download pictures when it starts. For a network that the
built-in reader refuses, export a `.pt2` from PyTorch, or pass the float .tflite of onnx2tf.

"""


def _figure(value: float) -> str:
    return f"{value:.0e}".replace("e-0", "e-")


def _read(record: dict[str, Any], reader: str) -> str:
    found = record["readers"].get(reader)
    if found is None:
        return ""
    return _figure(found["error"]) if found["result"] == "exact" else {"refused": "no"}.get(found["result"], "differs")


def _row(record: dict[str, Any]) -> str:
    name, int8 = record["name"], record.get("int8")
    converter = "litert-torch" if "tensorflow" not in record["readers"] else "tensorflow"
    start = f"| {name} | {record['note']} | {_read(record, 'own')} | {_read(record, converter)} |"
    if int8 is None or "refused" in int8:
        return f"{start} | {'not measured' if int8 is None else 'refused'} | | |"
    total = int8["operators"]
    cosine = f"{int8['int8_cosine']:.4f} ({int8['int8_cosine_centred']:.3f})"
    parts = f"{total - len(int8['undelegated'])}/{total}, {int8['partitions']}"
    times = f"{int8['float_ms']:.1f} / {int8['int8_ms']:.1f}"
    return f"{start} {_figure(int8['reference_error'])} | {cosine} | {parts} | {times} |"


def _is_converted(record: dict[str, Any]) -> bool:
    """Exact by a reader; exact behind the passes and not refused by int8, where that was measured."""
    int8 = record.get("int8", {"reference_error": 0.0, "reference_cosine": 1.0})
    read = any(found["result"] == "exact" for found in record["readers"].values())
    return read and "refused" not in int8 and int8["reference_error"] <= 1e-4 and int8["reference_cosine"] >= 0.9999


def _refusals(records: list[dict[str, Any]]) -> list[str]:
    """Every refusal, and the other reader that converts the network, if one does."""
    lines = []
    for r in records:
        readers = r["readers"]
        for reader, found in readers.items():
            if found["result"] == "refused":
                others = [k for k, v in readers.items() if v["result"] == "exact"]
                instead = f"; exact by {others[0]}" if others else ""
                lines.append(f"- `{r['name']}`, {reader}{instead}: {found['message']}")
        if not any(found["result"] == "exact" for found in readers.values()) and "litert-torch" not in readers:
            lines.append(f"- `{r['name']}`: not measured with litert-torch")
        if "refused" in r.get("int8", {}):
            lines.append(f"- `{r['name']}`, int8: {r['int8']['refused']}")
    return lines


def _left(records: list[dict[str, Any]]) -> list[str]:
    """Operators that XNNPACK leaves to the built-in kernels: the kind, and the networks that have it."""
    kinds: dict[str, list[str]] = {}
    for r in records:
        for name in r.get("int8", {}).get("undelegated", []):
            networks = kinds.setdefault(name.split()[0], [])
            if r["name"] not in networks:
                networks.append(r["name"])
    return [f"| {kind} | {', '.join(names)} |" for kind, names in sorted(kinds.items())]


def _onnx(records: list[dict[str, Any]]) -> str:
    measured = [r for r in records if "onnx" in r]
    if not measured:
        return ""
    readers = list(dict.fromkeys(k for r in measured for k in r["onnx"]))
    text = ONNX + f"| network | {' | '.join(readers)} |\n|{'---|' * (len(readers) + 1)}\n"
    for r in measured:
        cells = []
        for reader in readers:
            found = r["onnx"].get(reader)
            known = found is not None and "error" in found
            cells.append(
                f"{_figure(found['error'])}, {found['cpu_s']:.1f} s" if known else "" if found is None else "no"
            )
        text += f"| {r['name']} | {' | '.join(cells)} |\n"
    return text


def _median(records: list[dict[str, Any]], reader: str) -> float:
    times = sorted(r["readers"][reader]["cpu_s"] for r in records if "cpu_s" in r["readers"].get(reader, {}))
    return times[len(times) // 2] if times else 0.0


def page(records: list[dict[str, Any]], host: str) -> str:
    exact = sum(_is_converted(r) for r in records)
    text = HEAD.format(total=len(records), exact=exact, host=host)
    text += "| network | what is in it | own | litert-torch, or TensorFlow for Keras | passes | int8 | XNNPACK | ms |\n"
    text += "|---|---|---|---|---|---|---|---|\n" + "\n".join(_row(r) for r in records) + "\n"
    if left := _left(records):
        text += "\n## Operators outside XNNPACK\n\nLiteRT's built-in kernels run them in int8, or in float on few values.\n\n"
        text += "| operator | networks |\n|---|---|\n" + "\n".join(left) + "\n"
    text += READERS.format(slow=f"{_median(records, 'litert-torch'):.0f}", quick=f"{_median(records, 'own'):.1f}")
    for reader in ("own", "litert-torch", "tensorflow"):
        results = [r["readers"][reader]["result"] for r in records if reader in r["readers"]]
        text += f"| {reader} | {' | '.join(str(results.count(k)) for k in ('exact', 'refused', 'differs'))} |\n"
    text += _onnx(records)
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
