"""`edge-oneshot bridge`: name the people in the events of another system."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from edge_oneshot import installation
from edge_oneshot.cli.common import find_config, start_logging
from edge_oneshot.errors import BrokerUnreachable, ConfigError, ControlError
from edge_oneshot.text_file import read_text

if TYPE_CHECKING:
    from edge_oneshot.config import Config, MqttConfig
    from edge_oneshot.control.requests import Identify
    from edge_oneshot.control.responses import Identified


@click.group()
def bridge() -> None:
    """Name the people in the events of another system."""


@bridge.command(short_help="Write names into Frigate's events.")
@click.option(
    "--url",
    required=True,
    envvar="EDGE_ONESHOT_FRIGATE_URL",
    metavar="URL",
    help="Address of Frigate, for example http://frigate:5000.",
)
@click.option(
    "--topic", default="frigate", show_default=True, envvar="EDGE_ONESHOT_FRIGATE_TOPIC", help="Frigate's topic_prefix."
)
@click.option(
    "--camera",
    "cameras",
    multiple=True,
    metavar="NAME",
    envvar="EDGE_ONESHOT_FRIGATE_CAMERAS",
    help="Only this camera of Frigate; may be repeated.",
)
@click.option(
    "--token-file",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    metavar="FILE",
    envvar="EDGE_ONESHOT_FRIGATE_TOKEN_FILE",
    help="File with the token of an admin of Frigate, for its port 8971.",
)
@click.option("--host", metavar="NAME", help="Frigate's broker. Default: from the configuration.")
@click.option("--port", type=click.IntRange(1, 65535), help="Port of the broker.")
@click.option("--username", metavar="NAME", help="User name at the broker.")
@click.option("--password-file", metavar="FILE", help="File whose first line is the password.")
@click.option("--ca-file", metavar="FILE", help="PEM file of the broker's certificate authority; enables TLS.")
@click.pass_context
def frigate(
    ctx: click.Context, /, url: str, topic: str, cameras: tuple[str, ...], token_file: Path | None, **broker: Any
) -> None:
    """Identify the people in Frigate's events with the running daemon, and write their names as sub labels.

    The command subscribes to TOPIC/events, fetches the snapshot of each event with a person, and writes the name of a match. It
    never changes a sub label that another program has set, and skips cameras for which Frigate recognizes faces itself.
    """
    from edge_oneshot.bridge.frigate import Bridge
    from edge_oneshot.bridge.frigate_api import Frigate
    from edge_oneshot.cli.listen import broker_options

    if not url.startswith(("http://", "https://")):
        raise click.UsageError(f"--url: expected http://… or https://…, got {url!r}")
    start_logging()
    config = find_config(ctx)
    try:
        token = read_text(token_file).strip() if token_file else ""
    except (OSError, ValueError) as e:
        raise ConfigError(
            f"--token-file {token_file}: cannot read it: {e}", "name a text file that you may read"
        ) from None
    running = Bridge(Frigate(url, token), lambda request: _ask(config, request), frozenset(cameras))
    running.check()
    serve(running, broker_options(config.mqtt, **broker), f"{topic}/events")


def _ask(config: Config, request: Identify) -> Identified:
    from edge_oneshot.control.client import ask

    response = ask(config.socket_path, request, lambda text: None, 15.0)
    if response is None:
        raise ControlError(
            "the daemon is not running", f"start it: {installation.how_to_start(config.instance, config.path)}"
        )
    return response


def serve(running: Any, config: MqttConfig, topic: str) -> None:
    """Feed the bridge until SIGTERM or Ctrl-C. A broker that is away is tried again."""
    import logging
    import signal
    import threading

    from edge_oneshot.mqtt.payloads import decode
    from edge_oneshot.mqtt.subscriber import Subscriber

    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    log, wait_s = logging.getLogger(__name__), 1.0

    def on_message(message: Any) -> None:
        if not message.retain and (found := decode(message.payload)) is not None:
            running.take(found)

    while not stop.is_set():
        try:
            with Subscriber(config, [topic], on_message, "frigate") as subscriber:
                log.info("listening to %s", topic)
                wait_s = 1.0
                while not stop.is_set() and subscriber.step(0.1):
                    running.work()
        except BrokerUnreachable as e:
            log.warning("%s; trying again in %.0f s", e, wait_s)
        stop.wait(wait_s)
        wait_s = min(60.0, 2 * wait_s)
    log.info("%s", running.counts)
