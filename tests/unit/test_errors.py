"""The error tree: one base class, exit codes, the tree in the docstring, and error answers on the control socket."""

from __future__ import annotations

import ast
import json
import re
from pathlib import Path

import pytest

import edge_oneshot
from edge_oneshot import errors
from edge_oneshot.control.protocol import PendingRequest, answer_json, read_answer, result_of
from edge_oneshot.control.requests import List
from edge_oneshot.errors import AcquisitionError, ConfigError, EdgeOneshotError, EnrollmentError

OURS = [c for c in vars(errors).values() if isinstance(c, type) and issubclass(c, Exception)]
# Control flow, and errors between modules of one folder; no user sees them.
INTERNAL = {"EndOfStream", "DiskFault", "Refused", "_Refusal"}


def test_every_class_derives_from_the_base() -> None:
    assert len(OURS) >= 11
    assert [c for c in OURS if not issubclass(c, EdgeOneshotError)] == []


def test_no_exception_class_is_defined_elsewhere() -> None:
    root = Path(edge_oneshot.__file__).parent
    known = {c.__name__ for c in OURS}
    others = [
        f"{path.relative_to(root)}: {node.name}"
        for path in root.rglob("*.py")
        if path.name != "errors.py"
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.ClassDef)
        and node.name not in INTERNAL
        and any(re.search(r"(Error|Exception)$", ast.unparse(base)) for base in node.bases)
        and not any(ast.unparse(base).rpartition(".")[2] in known for base in node.bases)
    ]
    assert others == []


def test_exit_codes() -> None:
    codes = {"ConfigError": 78, "UnusableFile": 78, "AcquisitionError": 6, "EnrollmentError": 4}
    assert {c.__name__: c.exit_code for c in OURS} == {c.__name__: codes.get(c.__name__, 1) for c in OURS}
    assert errors.EXIT_NON_MATCH == 3


def test_the_table_of_exit_codes_is_complete() -> None:
    named = {value for name, value in vars(errors).items() if name.startswith("EXIT_") and isinstance(value, int)}
    assert set(errors.EXIT_CODES) == named >= {c.exit_code for c in OURS}
    assert all(text.endswith(".") and "\n" not in text and "|" not in text for text in errors.EXIT_CODES.values())


def test_did_you_mean() -> None:
    assert errors.did_you_mean("picamera3", ["v4l2", "picamera2"]) == "; did you mean picamera2?"
    assert errors.did_you_mean("http", ["v4l2", "picamera2"]) == ""


def test_the_tree_in_the_docstring_is_complete() -> None:
    assert errors.__doc__ is not None
    for cls in OURS:
        assert re.search(rf"\b{cls.__name__}\b", errors.__doc__), cls


def test_texts() -> None:
    assert str(EdgeOneshotError("what", "fix")) == "what (fix)"
    assert str(EdgeOneshotError("what")) == "what"
    assert str(ConfigError("two faults", faults=("a", "b"))) == "two faults\n  a\n  b"


@pytest.mark.parametrize("cls", OURS, ids=lambda c: c.__name__)
def test_an_error_answer_becomes_the_same_error_again(cls: type[EdgeOneshotError]) -> None:
    pending = PendingRequest(List())
    faults = ("too dark", "blurred") if cls in (ConfigError, AcquisitionError, EnrollmentError) else ()
    pending.fail(cls("what", "fix", faults) if faults else cls("what", "fix"))
    line = json.dumps(answer_json(pending.answers.get_nowait()))
    with pytest.raises(cls) as caught:
        result_of(pending.request, read_answer(pending.request, json.loads(line)))
    assert type(caught.value) is cls
    assert (caught.value.message, caught.value.hint, getattr(caught.value, "faults", ())) == ("what", "fix", faults)


@pytest.mark.parametrize("kind", ["SystemExit", "annotations", None, 5])
def test_an_error_answer_of_an_unknown_kind_becomes_an_edge_oneshot_error(kind: object) -> None:
    with pytest.raises(EdgeOneshotError, match="what"):
        result_of(List(), read_answer(List(), {"status": "error", "kind": kind, "error": "what"}))


def test_a_message_has_no_control_characters() -> None:
    error = ConfigError("a\x1b[2J\ud800\u2028b\nc", "d\x9b", ("e\te",))
    assert str(error) == "a\ufffd[2J\ufffd\ufffdb\nc (d\ufffd)\n  e\ufffde"
