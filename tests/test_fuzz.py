"""A small run of scripts/fuzz: no damaged input ends in a traceback, a hang or a crash, or is taken for sound. It sees each of these."""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
INPUTS = 600  # a few of each kind; 100,000 by default


@pytest.mark.slow
@pytest.mark.timeout(400)
def test_a_small_run_of_damaged_inputs(tmp_path: Path) -> None:
    command = [sys.executable, str(ROOT / "scripts" / "fuzz.py"), "--inputs", str(INPUTS), "--jobs", "1", "--seed", "1"]
    places = ["--out", str(tmp_path / "counts.json"), "--failures", str(tmp_path / "failures")]
    done = subprocess.run([*command, *places], capture_output=True, text=True, timeout=380)
    assert done.returncode == 0, done.stdout + done.stderr[-3000:]
    counts = json.loads((tmp_path / "counts.json").read_text())
    assert counts["inputs"] > 100 and not any(counts["findings"].values())
    assert all(sum(p[v] for v in ("read", "reported", "refused")) for p in counts["parsers"].values()), "each parser"


@pytest.fixture(scope="module", autouse=True)
def _scripts() -> Iterator[None]:
    sys.path[:0] = [str(ROOT / "scripts"), str(ROOT / "tests" / "mqtt")]
    yield
    del sys.path[:2]


@pytest.mark.parametrize("kind", ["traceback", "silent", "unclean", "logged", ""])
def test_what_a_parser_does_wrong_is_seen(tmp_path: Path, kind: str) -> None:
    import logging

    from fuzzing.target import READ, LoggedErrors, Silent, Target
    from fuzzing.worker import judge

    from edge_oneshot.errors import ConfigError

    class Parser(Target):
        name = "x"

        def make_seeds(self) -> Sequence[bytes]:
            return [b"sound"]

        def read(self, seed: int, data: bytes) -> str:
            if kind == "traceback":
                raise KeyError("x")
            if kind == "silent":
                raise Silent("x")
            if kind == "unclean":
                error = ConfigError("x")
                error.message = error.args = "\x1b[2J"  # type: ignore[assignment]
                raise error
            if kind == "logged":
                try:
                    raise IndexError
                except IndexError:
                    logging.getLogger("edge_oneshot").exception("x")
            return READ

    logged = LoggedErrors()
    logging.getLogger().addHandler(logged)
    try:
        verdict, finding = judge(Parser(tmp_path), 5, 0, b"x", logged)
    finally:
        logging.getLogger().removeHandler(logged)
    expected = {"": None, "logged": "traceback"}.get(kind, kind)
    assert (finding and finding.kind) == expected and (verdict == READ) == (not kind)


@pytest.mark.parametrize("end", [signal.SIGSEGV, signal.SIGSTOP])
def test_a_crash_and_a_hang_are_named_and_the_other_inputs_read(
    tmp_path: Path, end: signal.Signals, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    import fuzz
    from fuzzing import process

    monkeypatch.setattr(process, "WALL_S", 2.0)
    monkeypatch.setattr(process.Worker, "read", _sending(process.Worker.read, end))
    options = argparse.Namespace(
        inputs=30,
        seed=0,
        jobs=1,
        seconds=None,
        only=["key file"],
        again=None,
        retry=False,
        state=None,
        out=None,
        failures=tmp_path,
    )
    run = fuzz.fuzz(options)
    assert [f.kind for f in run.findings] == ["crash" if end is signal.SIGSEGV else "hang"]
    assert run.findings[0].what in ("SIGSEGV", "no end") and run.done == 30


def _sending(read: object, end: signal.Signals) -> object:
    """Worker.read that sends a signal to the first process at its first answer."""
    sent: list[int] = []

    def reading(worker: object) -> object:
        if not sent:
            sent.append(worker.process.pid)  # type: ignore[attr-defined]
            os.kill(sent[0], end)
        return read(worker)  # type: ignore[operator]

    return reading


def test_inputs_depend_on_the_seed_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import logging

    from fuzzing.worker import Reader, input_of

    root = logging.getLogger()
    monkeypatch.setattr(root, "handlers", [])  # a reader takes them over
    monkeypatch.setattr(root, "level", root.level)
    readers = [Reader(tmp_path / name) for name in "ab"]
    for reader in readers:
        reader.folder.mkdir()
    for name in ("gallery", "outbox", "card", "archive", "config", "picture", "MQTT request", "verify-event"):
        for number in range(20):
            first, second = (input_of(reader.target(name), 3, number) for reader in readers)
            assert first == second, (name, number)
