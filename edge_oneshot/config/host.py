"""The name or address of the broker: what a configuration may hold, and what was probably meant."""

from __future__ import annotations

import ipaddress
import re

_NAME = re.compile(
    r"(?=.{1,253}\.?$)([A-Za-z0-9_]([A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?\.)*[A-Za-z0-9_]([A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?\.?"
)


def host_fault(key: str, host: str) -> str | None:
    """What is wrong with `host`, and what to write instead; None if it is a host name or an IP address."""
    if _is_address(host) or (_NAME.fullmatch(host) and not re.fullmatch(r"[0-9.]+", host)):
        return None
    fault = f"{key}: expected a host name or an IP address alone, got {host!r}"
    scheme, found, rest = host.strip().rpartition("://")
    if found:
        tls = " and tls = true" if scheme.lower() in ("mqtts", "ssl", "wss") else ""
        return f"{fault}; write the name without {scheme[:20]}://{tls}, and a port as mqtt.port"
    if match := re.fullmatch(r"\[([0-9A-Fa-f:.%\w]+)\](:[0-9]+)?", rest):
        return f"{fault}; write an IPv6 address without brackets, and a port as mqtt.port"
    if match := re.fullmatch(r"([^:@\s]+):([0-9]+)", rest):
        return f"{fault}; write {match[1]}, and mqtt.port = {match[2]}"
    if host != host.strip():
        return f"{fault}; remove the spaces"
    if "@" in host:
        return f"{fault}; write the account as mqtt.username, and its password into mqtt.password_file"
    return fault


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True
