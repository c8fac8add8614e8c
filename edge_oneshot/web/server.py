"""Start the page: its certificate, its first pairing code, its server."""

from __future__ import annotations

import logging
import os
import socket
import subprocess
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from edge_oneshot.config import Config
from edge_oneshot.errors import EdgeOneshotError
from edge_oneshot.web.accounts import Accounts
from edge_oneshot.web.app import make_app
from edge_oneshot.web.audit import Audit
from edge_oneshot.web.cameras import Cameras, state_folder
from edge_oneshot.web.site import Site, host_names

log = logging.getLogger(__name__)

LOOPBACK = ("127.0.0.1", "::1", "localhost")
CERTIFICATE_DAYS = 3650


@dataclass(frozen=True, slots=True, kw_only=True)
class Listen:
    """Where the page listens. names: further names of this device. tls: own certificate, unless cert and key name another.

    proxy: a reverse proxy on this device serves https and passes the requests on.
    """

    host: str = "127.0.0.1"
    port: int = 8420
    names: tuple[str, ...] = ()
    cert: Path | None = None
    key: Path | None = None
    proxy: bool = False

    @property
    def tls(self) -> bool:
        return not self.proxy and (self.cert is not None or self.host not in LOOPBACK)


def serve(configs: Sequence[Config], listen: Listen, say: Callable[[str], None]) -> None:
    """Serve the page until SIGTERM or SIGINT. say: prints the address, and the pairing code of a first start.

    Raises EdgeOneshotError if the port is taken, or the certificate cannot be made.
    """
    import uvicorn

    from edge_oneshot.web.connection import MOST, Connection

    folder = state_folder(configs[0])
    accounts = Accounts(folder / "accounts.json")
    cert, key = (listen.cert, listen.key) if listen.cert else own_certificate(folder) if listen.tls else (None, None)
    site = Site(
        cameras=Cameras(configs),
        accounts=accounts,
        audit=Audit(folder / "audit.log"),
        hosts=host_names((*listen.names, listen.host, *_addresses(listen.host))),
        secure=listen.tls or listen.proxy,
    )
    opened = _bind(listen)
    scheme = "https" if listen.tls else "http"
    for host in addresses(listen.host):
        say(f"the page: {scheme}://{f'[{host}]' if ':' in host else host}:{opened.getsockname()[1]}/")
    if not accounts.all:
        say(first_code(accounts))
    config = uvicorn.Config(
        make_app(site),
        log_config=None,
        access_log=False,
        server_header=False,
        date_header=True,
        http=Connection,
        ws="none",
        lifespan="off",
        limit_concurrency=MOST,
        h11_max_incomplete_event_size=32 * 1024,
        timeout_keep_alive=10,
        timeout_graceful_shutdown=2,
        proxy_headers=listen.proxy,
        forwarded_allow_ips="127.0.0.1" if listen.proxy else "",
        ssl_certfile=cert,
        ssl_keyfile=key,
    )
    uvicorn.Server(config).run(sockets=[opened])


def first_code(accounts: Accounts) -> str:
    """The line about the code of a first start. A code that was printed before stays valid, and cannot be printed again."""
    if minutes := round(accounts.code_s / 60):
        return f"the pairing code that was printed before is valid for {minutes} more minutes; `edge-oneshot web pair` prints a new one"
    return f"pairing code, valid for 10 minutes: {accounts.new_code('owner')}"


def _bind(listen: Listen) -> socket.socket:
    family = socket.AF_INET6 if ":" in listen.host else socket.AF_INET
    opened = socket.socket(family, socket.SOCK_STREAM)
    opened.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        opened.bind((listen.host, listen.port))
        opened.listen(64)  # a browser that comes before the server has started waits
    except OSError as e:
        opened.close()
        raise EdgeOneshotError(
            f"cannot listen on {listen.host} port {listen.port}: {e.strerror or e}",
            "stop the other process, or give another --port or --host",
        ) from None
    opened.set_inheritable(True)
    return opened


def addresses(host: str) -> list[str]:
    """What a browser can open: the address, or if the page listens on all of them, the name of this device and its addresses."""
    if host not in ("0.0.0.0", "::"):
        return [host]
    return [f"{socket.gethostname().split('.')[0].lower()}.local", *(_addresses(host) or ["127.0.0.1"])]


def _addresses(host: str) -> list[str]:
    """The addresses of this device, if the page listens on all of them."""
    if host not in ("0.0.0.0", "::"):
        return []
    try:
        done = subprocess.run(["hostname", "-I"], capture_output=True, text=True, timeout=5, check=True)
    except (OSError, subprocess.SubprocessError):
        return []
    return done.stdout.split()


def own_certificate(folder: Path) -> tuple[Path, Path]:
    """A self-signed certificate, created at the first start. Browsers ask once whether to trust it."""
    cert, key = folder / "page.crt", folder / "page.key"
    if cert.exists() and key.exists():
        return cert, key
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    new_cert, new_key = folder / ".page.crt.part", folder / ".page.key.part"
    new_key.unlink(missing_ok=True)  # openssl would keep its mode
    names = ",".join(f"DNS:{n}" for n in sorted(host_names()) if not n.replace(".", "").isdigit() and ":" not in n)
    command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    command += ["-days", str(CERTIFICATE_DAYS), "-subj", f"/CN={socket.gethostname()}"]
    command += ["-addext", f"subjectAltName={names},IP:127.0.0.1", "-keyout", str(new_key), "-out", str(new_cert)]
    try:
        subprocess.run(command, capture_output=True, text=True, timeout=60, check=True, umask=0o077)
        for made in (new_key, new_cert):
            with made.open("rb") as file:
                os.fsync(file.fileno())
        # Two files cannot be replaced in one step: without the second, both are made again.
        cert.unlink(missing_ok=True)
        new_key.replace(key)
        new_cert.replace(cert)
    except (OSError, subprocess.SubprocessError) as e:
        reason = getattr(e, "stderr", None) or e
        fix = "sudo apt-get install openssl; or give --cert and --key, or --behind-proxy"
        raise EdgeOneshotError(f"cannot create a certificate for the page: {reason}", fix) from None
    return cert, key
