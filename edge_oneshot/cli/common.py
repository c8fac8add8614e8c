"""What the commands share: finding the configuration, and printing data as text or JSON."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import click

from edge_oneshot.control.codec import to_json
from edge_oneshot.control.requests import Request
from edge_oneshot.shown import plain, plain_json, redact

if TYPE_CHECKING:
    from edge_oneshot.config import Config
    from edge_oneshot.control.parts import AdaptationState, DoorState, StatedRate, Trend, Trends

R = TypeVar("R")
json_option = click.option("--json", "as_json", is_flag=True, help="Print data as JSON on standard output.")


def find_config(ctx: click.Context) -> Config:
    """The configuration that this call names, in the order that `edge-oneshot --help` states. Raises ConfigError."""
    from edge_oneshot.config import find_config as find

    config_path, instance = ctx.find_root().obj or (None, None)
    if config_path and instance:
        raise click.UsageError("--config and --instance name two files; give one of them")
    return find(Path(config_path) if config_path else None, instance)


def print_json(data: object) -> None:
    """One JSON document on standard output, non-ASCII letters as they are. data: JSON values or a response."""
    click.echo(plain_json(json.dumps(to_json(data), indent=2, ensure_ascii=False)))


def perform(config: Config, request: Request[R], *, direct: bool = False) -> R:
    """Serve a request by the running daemon or here; progress goes to standard error, one line each."""
    from edge_oneshot.service.offline import perform as serve

    return serve(config, request, lambda text: click.echo(plain(text), err=True), direct=direct)


def door_words(door: DoorState, stated: StatedRate | None) -> str:
    """This door's own rate, in one line, as a rate of the kind that is stated."""
    from edge_oneshot.types import DoorReport

    return DoorReport(**to_json(door)).words(fpir=stated is not None and stated.fpir is not None)


def adaptation_words(state: AdaptationState) -> str:
    """What was learned of this site's strangers, in one line."""
    done = state.counted == state.needed
    text = f"adapted to {state.visits} visits" if done else f"adapting to this site: {state.visits} visits"
    text += f", {state.counted} of {state.needed} visitors"
    if state.before is None or state.after is None:
        return f"{text}; nothing is subtracted yet"
    return f"{text}; strangers' mean {state.before:.2f} -> {state.after:.2f} (version {state.version})"


def trend_words(trends: Trends) -> str:
    """How the measures have developed, in one line. A slope is given after an hour."""

    def one(name: str, trend: Trend | None, unit: str = "", scale: float = 1.0) -> str:
        if trend is None:
            return f"{name} unknown"
        text = f"{name} {trend.last / scale:.0f}{unit}"
        return text if trend.per_hour is None else f"{text} ({trend.per_hour / scale:+.1f}{unit} per hour)"

    parts = (
        one("memory", trends.rss_bytes, " MB", 1e6),
        one("threads", trends.threads),
        one("open files", trends.files),
        one("free disk", trends.disk_free_bytes, " MB", 1e6),
        one("outbox", trends.outbox_depth),
    )
    return f"last {trends.hours:.1f} h: {', '.join(parts)}"


def words(rate: StatedRate) -> str:
    """The stated error rate and its strangers, in one line."""
    from edge_oneshot.types import Rate

    return Rate(**to_json(rate)).words


def read_picture(path: Path) -> bytes:
    """The bytes of a picture file. Raises CameraError, also for a file that is too large for a request."""
    from edge_oneshot.control.protocol import MAX_REQUEST_BYTES
    from edge_oneshot.errors import CameraError

    most = MAX_REQUEST_BYTES // 4 * 3
    try:
        with path.open("rb") as file:
            data = file.read(most + 1)
    except OSError as e:
        raise CameraError(f"cannot read {path}: {e.strerror}", "name a picture file that you may read") from None
    if len(data) > most:
        raise CameraError(f"cannot read {path}: expected at most {most / 1e6:.0f} MB, got more", "export it as JPEG")
    return data


def start_logging(verbose: bool = False) -> None:
    """Logs go to standard error, without times: the journal adds them. Passwords and control characters are replaced."""
    import logging

    class Formatter(logging.Formatter):
        def format(self, record: logging.LogRecord) -> str:
            return "\n".join(map(plain, redact(super().format(record)).split("\n")))

    from edge_oneshot.service.journald import JournalHandler, connected

    handler: logging.Handler
    if connected():  # it stores level and name as fields
        handler = JournalHandler()
        handler.setFormatter(Formatter("%(message)s"))
    else:
        handler = logging.StreamHandler()
        handler.setFormatter(Formatter("%(levelname)s %(name)s: %(message)s"))
    logging.basicConfig(handlers=[handler], level=logging.DEBUG if verbose else logging.INFO)


@contextmanager
def progress(total: int, label: str) -> Iterator[Callable[[int], None]]:
    """A bar on a terminal, a plain line for each tenth otherwise; on standard error."""
    stream = sys.stderr
    if stream.isatty():
        with click.progressbar(length=total, label=label, file=stream) as bar:
            update: Callable[[int], None] = bar.update
            yield update
        return
    count = 0

    def step(n: int) -> None:
        nonlocal count
        before, count = count, count + n
        if count * 10 // total > before * 10 // total:
            click.echo(f"{label}: {count} of {total}", err=True)

    yield step
