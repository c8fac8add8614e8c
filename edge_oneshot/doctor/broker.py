"""Whether the broker accepts the configured credentials."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

from edge_oneshot.config import Config
from edge_oneshot.control.responses import StatusReport
from edge_oneshot.doctor import Finding, fault, ok, warning
from edge_oneshot.errors import BrokerError, ConfigError


def check(config: Config, state: StatusReport | None) -> Finding:
    """state: what the running daemon says of itself; None: none runs."""
    mqtt = config.mqtt
    if not mqtt.enabled:
        return ok("broker", "mqtt.enabled is false: events are only logged")
    from edge_oneshot.mqtt.broker import address
    from edge_oneshot.mqtt.subscriber import Subscriber

    where = "{}:{}".format(*address(mqtt)) + (" with TLS" if mqtt.tls else "")
    waiting = _waiting(state)
    if state is not None and state.broker == "online" and state.refused_topics:
        return warning(
            "broker",
            f"the daemon is connected to {where}{waiting}, but the broker does not take {'; '.join(state.refused_topics)}",
            "allow the topics in the broker's ACL, or raise its limit of the size; see docs/reference/mqtt.md",
        )
    if state is not None and state.broker == "online":
        return ok("broker", f"the daemon is connected to {where}{waiting}")
    if (credential := _credential(config)) is not None:
        if not os.access(credential, os.R_OK):
            return warning(
                "broker",
                f"{where}: not checked; only root and the service may read the password in {credential}",
                "sudo edge-oneshot doctor",
            )
        mqtt = replace(mqtt, password_file=str(credential))
    topics = [f"{mqtt.prefix}/{config.device_slug}/request/+"]
    try:
        with Subscriber(mqtt, topics, lambda message: None, "doctor"):
            pass
    except (BrokerError, ConfigError) as e:  # the daemon keeps events on disk, but subscribers do not get them
        return fault("broker", f"{e.message}{waiting}", e.hint)
    who = f" as {mqtt.username}" if mqtt.username else " without a user name"
    plain = "" if mqtt.tls or mqtt.host in ("localhost", "127.0.0.1", "::1") else "; not encrypted: mqtt.tls is false"
    text = f"{where} accepts the connection{who}{plain}{waiting}"
    if state is not None:
        return warning(
            "broker", f"{text}, but the daemon is {state.broker}", "read the reason in `journalctl -u 'edge-oneshot*'`"
        )
    return ok("broker", text)


def _waiting(state: StatusReport | None) -> str:
    if state is None:
        return ""
    text = f"; {state.outbox.depth} events wait" if state.outbox.depth else ""
    return text + (f"; outbox: {state.outbox.fault}" if state.outbox.fault else "")


def _credential(config: Config) -> Path | None:
    """The file behind a password_file without /: the unit (deploy/*.service) loads it from the systemd credential store."""
    name = config.mqtt.password_file
    if not config.system or not name or "/" in name or os.environ.get("CREDENTIALS_DIRECTORY"):
        return None
    return Path("/etc/credstore") / f"edge-oneshot.{config.instance}.{name}"
