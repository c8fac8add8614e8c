"""Who may import whom, by walking the imports; and what a start loads, in a process of its own."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import edge_oneshot

ROOT = Path(edge_oneshot.__file__).parent

# From the bottom up: a room may import its own line's rooms as BESIDE says, and every line above. Rooms: a module or a folder.
LAYERS = (
    {"__init__", "installation", "shown", "text_file"},
    {"types", "errors", "config", "storage"},
    {"model", "control", "cameras"},
    {"vision", "matching"},
    {"gallery", "events"},
    {"recognition", "mqtt"},
    {"fleet"},
    {"service"},
    {"evaluation", "doctor", "bridge"},
    {"web"},
    {"cli"},
)
# The page and the bridges are processes of their own, which a fault in them cannot leave: they know the daemons by their sockets.
BELOW = {"control", "config", "errors", "installation", "shown", "text_file", "__init__"}
# The file of a backup is encrypted by code that knows no gallery.
ALSO = {"web": {"edge_oneshot.gallery.envelope"}}
ONLY = {"web": {"web"} | BELOW, "bridge": {"bridge"} | BELOW}
# Within a layer: who may know whom besides itself.
BESIDE: dict[str, set[str]] = {"types": {"errors"}, "config": {"errors"}, "storage": {"errors"}}
OUTSIDE = {"converters", "training", "benchmarks", "tests", "scripts"}
# What touches the world, and the rooms that may load it.
HEAVY = {
    "paho": {"mqtt", "fleet"},
    "av": {"cameras"},
    "picamera2": {"cameras", "cli"},
    "libcamera": {"cameras"},
    "sqlite3": {"storage"},
    "PIL": {"cameras", "vision", "cli", "evaluation"},
    "ai_edge_litert": {"model"},
    "tflite_runtime": {"model"},
    "click": {"cli"},
    "starlette": {"web"},
    "uvicorn": {"web"},
    "jinja2": {"web"},
    "torch": set(),
    "tensorflow": set(),
    "cv2": set(),
    "pickle": set(),
    "requests": set(),
    "onnx": set(),
}


def part_of(module: str) -> str:
    names = module.split(".")
    return names[1] if len(names) > 1 else "__init__"


def imports(path: Path) -> list[str]:
    found: list[str] = []
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            module = node.module or ""
            # `from edge_oneshot import system` names a module, not a value
            found += [f"{module}.{a.name}" for a in node.names] if module == "edge_oneshot" else [module]
    return found


MODULES = [
    (p, part_of(".".join(("edge_oneshot", *p.relative_to(ROOT).with_suffix("").parts))))
    for p in sorted(ROOT.rglob("*.py"))
]


def test_every_part_has_its_layer() -> None:
    parts = {part for _, part in MODULES}
    assert parts == set().union(*LAYERS), "a new part: say where it stands"


@pytest.mark.parametrize(("path", "part"), MODULES, ids=[str(p.relative_to(ROOT)) for p, _ in MODULES])
def test_imports_point_downwards(path: Path, part: str) -> None:
    level = {p: i for i, layer in enumerate(LAYERS) for p in layer}
    wrong = []
    for name in imports(path):
        top = name.split(".")[0]
        if top in OUTSIDE or part not in HEAVY.get(top, {part}):
            wrong.append(name)
        if top != "edge_oneshot" or part == "__init__":  # the package itself is the front door to every room
            continue
        target = part_of(name)
        target = target if target in level else "__init__"  # a value of the package itself
        allowed = (
            target == part
            or level[target] < level[part]
            or (level[target] == level[part] and target in BESIDE.get(part, set()))
        )
        if not allowed or (target not in ONLY.get(part, {target}) and name not in ALSO.get(part, ())):
            wrong.append(name)
    assert wrong == []


# Parts that another implementation could replace, and the two files that choose them.
PARTS = {
    "TwinEncoder",
    "BlazeFaceDetector",
    "LandmarkPlacer",
    "FaceLocator",
    "Gallery",
    "Pipeline",
    "Outbox",
    "MqttLink",
} | {"HomeAssistant", "MqttRequests", "ControlServer", "Journal", "Tracker"}
# `model check` runs one bundle by itself; the agent of a fleet is a process of its own, with a gallery and no recognizer.
COMPOSE = {"recognition/compose.py", "service/compose.py", "recognition/check_child.py", "fleet/run.py"}


def made_in(path: Path) -> set[str]:
    """The names that a file calls: `Gallery(...)` -> "Gallery"."""
    calls = (node.func for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))) if isinstance(node, ast.Call))
    return {f.id for f in calls if isinstance(f, ast.Name)}


def test_only_the_two_compose_files_choose_concrete_parts() -> None:
    """Daemon, requests and recognizer get their parts; they do not make them."""
    makers = {str(p.relative_to(ROOT)) for p, _ in MODULES if made_in(p) & PARTS}
    assert makers == COMPOSE


def modules_loaded_by(code: str) -> set[str]:
    script = f"import sys\n{code}\nprint('\\n'.join(sys.modules))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=120, check=True)
    return set(done.stdout.splitlines())


def loaded_by(code: str) -> set[str]:
    """The packages."""
    return {name.split(".")[0] for name in modules_loaded_by(code)}


NOT_AT_START = {
    "numpy",
    "PIL",
    "paho",
    "ai_edge_litert",
    "tflite_runtime",
    "av",
    "picamera2",
    "libcamera",
    "sqlite3",
    "flatbuffers",
}


@pytest.mark.parametrize(
    "code",
    [
        "import edge_oneshot",
        "sys.argv = ['edge-oneshot', '--help']\nfrom edge_oneshot.cli import cli\ncli.main(standalone_mode=False)",
        "sys.argv = ['edge-oneshot', '--version']\nfrom edge_oneshot.cli import cli\ncli.main(standalone_mode=False)",
    ],
    ids=["import", "--help", "--version"],
)
def test_the_start_loads_nothing_heavy(code: str) -> None:
    loaded = loaded_by(code)
    assert "edge_oneshot" in loaded
    assert loaded & NOT_AT_START == set()


def test_the_detector_of_heavy_modules_can_fail() -> None:
    assert "numpy" in loaded_by("import edge_oneshot.types")


def test_a_request_without_a_camera_loads_neither_the_loop_nor_mqtt() -> None:
    loaded = modules_loaded_by("import edge_oneshot.service.offline")
    assert "edge_oneshot.service.requests" in loaded
    assert {"paho.mqtt.client", "edge_oneshot.mqtt.client", "edge_oneshot.service.daemon"} & loaded == set()


def test_the_process_that_decodes_pictures_loads_only_the_decoders_that_it_uses() -> None:
    loaded = modules_loaded_by(
        "from PIL import Image\nfrom edge_oneshot.cameras import decode_child\ndecode_child._load_decoders()\n"
        "assert set(decode_child.FORMATS) <= set(Image.OPEN)"
    )
    decoders = {name for name in loaded if name.startswith("PIL.") and name.endswith("ImagePlugin")}
    assert {"PIL.JpegImagePlugin", "PIL.WebPImagePlugin"} < decoders and len(decoders) <= 8
