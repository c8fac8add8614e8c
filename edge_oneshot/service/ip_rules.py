"""systemd's IP address rules for a configuration: the service may reach only the broker, the camera and the name servers."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

from edge_oneshot.config import Config
from edge_oneshot.errors import ConfigError

RESOLVER = Path("/etc/resolv.conf")


def drop_in(config: Config) -> str:
    """The text of a drop-in for the unit. Raises ConfigError for a name that cannot be resolved."""
    names = sorted(set(hosts(config)))
    found = {name: _addresses(name) for name in names}
    # A name is resolved by the service each time it connects, so it must reach the name servers, too.
    servers = _servers() if any(addresses != [name] for name, addresses in found.items()) else []
    allowed = dict.fromkeys(a for addresses in (*found.values(), servers) for a in addresses)
    lines = [
        "# Written by `edge-oneshot config ip-rules`. Write it again when a host of the configuration or its address changes."
    ]
    lines += [f"# {name}: {' '.join(addresses)}" for name, addresses in found.items() if addresses != [name]]
    lines += ["[Service]", "IPAddressDeny=any", "IPAddressAllow=localhost"]
    remote = [a for a in allowed if not a.startswith("127.") and a != "::1"]
    return "\n".join([*lines, *(f"IPAddressAllow={address}" for address in remote)]) + "\n"


def hosts(config: Config) -> Iterator[str]:
    """The hosts of the broker and of a network camera."""
    if config.mqtt.enabled:
        yield config.mqtt.host
    uri = config.camera.uri
    scheme, separator, rest = uri.partition("://")
    # A password may contain any sign: the address begins after the last @.
    if separator and (host := urlsplit(f"{scheme}://{rest.rpartition('@')[2]}").hostname):
        yield host


def _addresses(host: str) -> list[str]:
    try:
        found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    except OSError as e:
        raise ConfigError(
            f"cannot resolve {host}: {e.strerror or e}", "check the name, or write the address of the host"
        ) from None
    return sorted({str(entry[4][0]).partition("%")[0] for entry in found})


def _servers() -> list[str]:
    try:
        lines = RESOLVER.read_text().splitlines()
    except OSError:
        return []
    return [words[1].partition("%")[0] for line in lines if len(words := line.split()) > 1 and words[0] == "nameserver"]
