"""A run by steps: Ctrl-C between two log lines, the resumed result, and the progress line."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path

import pytest

torch = pytest.importorskip("torch", reason="training needs PyTorch (extra: train)")

from training import runs  # noqa: E402
from training.progress import Progress, duration  # noqa: E402

CONFIG = runs.StepConfig(steps=12, batch=4, rate=1e-2, warm_up=3, every=5, seed=3)


def train(out: Path, stop_at: int | None = None, resume: bool = False) -> dict[str, object]:
    """A small network with batch norm and a running mean; the last checkpoint. SIGINT is sent within step `stop_at`."""
    torch.manual_seed(0)
    net = torch.nn.Sequential(torch.nn.Linear(6, 8), torch.nn.BatchNorm1d(8), torch.nn.Linear(8, 1))

    def loss(step: int) -> tuple[torch.Tensor, float]:
        _, generator = runs.generator_of(CONFIG.seed, step)
        x = torch.randn(CONFIG.batch, 6, generator=generator)
        if step == stop_at:
            os.kill(os.getpid(), signal.SIGINT)
        value = ((net(x) - x.sum(1, keepdim=True)) ** 2).mean()
        return value, value.item()

    def report(mean: torch.nn.Module) -> runs.Row:
        with torch.inference_mode():
            return {"at_one": round(mean(torch.ones(1, 6)).item(), 6)}

    optimizer = torch.optim.AdamW(net.parameters(), lr=CONFIG.rate)
    runs.train_steps(
        net, optimizer, CONFIG, out / "last.pt", loss=loss, logged="loss", report=report, resume=resume, decay=0.9
    )
    kept: dict[str, object] = torch.load(out / "last.pt", weights_only=True)
    return kept


def rows(out: Path) -> list[dict[str, object]]:
    return [{**json.loads(line), "seconds": 0} for line in (out / "log.jsonl").read_text().splitlines()]


def test_a_run_that_is_stopped_between_two_log_lines_ends_the_same(tmp_path: Path) -> None:
    whole = train(tmp_path / "whole")
    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt, match="stopped after step 8 of 12"):
        train(tmp_path / "parts", stop_at=7)
    assert signal.getsignal(signal.SIGINT) is before
    assert [row["step"] for row in rows(tmp_path / "parts")] == [5]
    parts = train(tmp_path / "parts", resume=True)
    assert rows(tmp_path / "parts") == rows(tmp_path / "whole")
    for key in ("net", "average"):
        one, two = (list(k[key].values()) if key == "net" else k[key] for k in (whole, parts))
        assert all(torch.equal(a, b) for a, b in zip(one, two, strict=True)), key


def test_progress_shows_the_time_left(capsys: pytest.CaptureFixture[str]) -> None:
    progress = Progress(400, 100, "step")
    progress.show(101, "loss 2.500")
    progress.show(102, "loss 2.400")  # within the same second: not shown
    assert capsys.readouterr().err == "step 101 of 400, loss 2.500, 0 s left\n"
    assert [duration(s) for s in (45, 700, 11_100)] == ["45 s", "12 min", "3 h 5 min"]
