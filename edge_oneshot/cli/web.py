"""`edge-oneshot web`: the local page, its pairing codes and its accounts."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import click

from edge_oneshot import installation
from edge_oneshot.cli.common import find_config, json_option, print_json, start_logging
from edge_oneshot.errors import EdgeOneshotError

if TYPE_CHECKING:
    from edge_oneshot.config import Config
    from edge_oneshot.web.accounts import Accounts

T = TypeVar("T")


@click.group()
def web() -> None:
    """Serve the local page (live picture, people, visits, device) and manage its accounts. Requires the extra [web]."""


@web.command(short_help="Serve the page.")
@click.option(
    "--host", default="127.0.0.1", show_default=True, envvar="EDGE_ONESHOT_WEB_HOST", help="Address to listen on."
)
@click.option(
    "--port",
    type=click.IntRange(0, 65535),
    default=8420,
    show_default=True,
    envvar="EDGE_ONESHOT_WEB_PORT",
    help="Port.",
)
@click.option(
    "--name",
    "names",
    multiple=True,
    metavar="HOST",
    envvar="EDGE_ONESHOT_WEB_NAMES",
    help="Another name of this device, for the Host header; may be repeated.",
)
@click.option("--cert", type=click.Path(exists=True, path_type=Path), metavar="FILE", help="Certificate (PEM).")
@click.option("--key", type=click.Path(exists=True, path_type=Path), metavar="FILE", help="Its private key (PEM).")
@click.option(
    "--behind-proxy",
    is_flag=True,
    envvar="EDGE_ONESHOT_WEB_BEHIND_PROXY",
    help="A reverse proxy on this device serves HTTPS and forwards the requests.",
)
@click.pass_context
def run(
    ctx: click.Context,
    host: str,
    port: int,
    names: tuple[str, ...],
    cert: Path | None,
    key: Path | None,
    behind_proxy: bool,
) -> None:
    """Serve the page until SIGTERM or Ctrl-C. It talks to the daemons over their control sockets.

    By default it listens on this device only. With another --host, such as 0.0.0.0, it serves HTTPS with a self-signed
    certificate, which the browser asks about once. The first start prints a pairing code.
    """
    if (cert is None) != (key is None):
        raise click.UsageError("--cert and --key must be given together")
    _require_extra()
    from edge_oneshot.web.server import Listen, serve

    start_logging()
    listen = Listen(host=host, port=port, names=names, cert=cert, key=key, proxy=behind_proxy)
    serve(configs(ctx), listen, lambda text: click.echo(text, err=True))


@web.command(short_help="Print a code that connects one browser.")
@click.option(
    "--role",
    type=click.Choice(["owner", "viewer"]),
    default="owner",
    show_default=True,
    help="What the account may do.",
)
@json_option
@click.pass_context
def pair(ctx: click.Context, role: str, as_json: bool) -> None:
    """Print a code that creates one account. It can be used once, within ten minutes."""
    code = _accounts(ctx).new_code("owner" if role == "owner" else "viewer")
    if as_json:
        print_json({"code": code, "role": role, "valid_s": 600})
        return
    click.echo(code)
    click.echo(f"valid for 10 minutes, for one account as {role}: open the page and type it", err=True)


@web.command("accounts", short_help="List the accounts.")
@json_option
@click.pass_context
def list_(ctx: click.Context, as_json: bool) -> None:
    """List the accounts of the page."""
    found = [{"name": a.name, "role": a.role} for a in _accounts(ctx).all]
    if as_json:
        print_json({"accounts": found})
        return
    for account in found:
        click.echo(f"{account['name']}  {account['role']}")
    if not found:
        click.echo("no account yet: edge-oneshot web pair", err=True)


@web.command(short_help="Remove an account.")
@click.argument("name")
@click.pass_context
def remove(ctx: click.Context, name: str) -> None:
    """Remove an account of the page, and end its sessions."""
    _or_words(lambda: _accounts(ctx).remove(name))
    click.echo(f"removed {name}")


@web.command(short_help="Print a token for a program.")
@click.argument("name")
@click.option(
    "--scope",
    type=click.Choice(["api", "metrics"]),
    default="api",
    show_default=True,
    help="What it allows: identify, verify and metrics, or metrics alone.",
)
@json_option
@click.pass_context
def token(ctx: click.Context, name: str, scope: str, as_json: bool) -> None:
    """Print a token with which a program uses the HTTP interface, as a door station or Prometheus.

    It is shown once; only its hash is stored. It is valid until `edge-oneshot web revoke NAME`.
    """
    secret = _or_words(lambda: _accounts(ctx).new_token(name, "api" if scope == "api" else "metrics"))
    if as_json:
        print_json({"name": name, "scope": scope, "token": secret})
        return
    click.echo(secret)
    click.echo("it is not shown again. Send it as: Authorization: Bearer TOKEN", err=True)


@web.command(short_help="List the tokens of programs.")
@json_option
@click.pass_context
def tokens(ctx: click.Context, as_json: bool) -> None:
    """List the tokens of programs, without their secrets."""
    found = [{"name": t.name, "scope": t.scope} for t in _accounts(ctx).tokens]
    if as_json:
        print_json({"tokens": found})
        return
    for entry in found:
        click.echo(f"{entry['name']}  {entry['scope']}")
    if not found:
        click.echo("no token yet: edge-oneshot web token NAME", err=True)


@web.command(short_help="Revoke a token.")
@click.argument("name")
@click.pass_context
def revoke(ctx: click.Context, name: str) -> None:
    """Revoke the token of a program, at once."""
    _or_words(lambda: _accounts(ctx).revoke(name))
    click.echo(f"revoked {name}")


def _or_words(change: Callable[[], T]) -> T:
    """The result; a FormError in the words of the page."""
    from edge_oneshot.web.faults import FormError
    from edge_oneshot.web.words import Words

    try:
        return change()
    except FormError as e:
        raise EdgeOneshotError(Words()(e.key, **e.values), "edge-oneshot web --help") from None


def configs(ctx: click.Context) -> list[Config]:
    """The configuration of this call; for the system service, the configurations of all instances."""
    from edge_oneshot.config import SYSTEM_DIR, load_config

    config = find_config(ctx)
    named = any(ctx.find_root().obj or ())
    if not config.system or named:
        return [config]
    return [config, *(load_config(p) for p in sorted(SYSTEM_DIR.glob("*.toml")) if p != config.path)]


def _accounts(ctx: click.Context) -> Accounts:
    from edge_oneshot.web.accounts import Accounts
    from edge_oneshot.web.cameras import state_folder

    return Accounts(state_folder(find_config(ctx)) / "accounts.json")


def _require_extra() -> None:
    missing = [m for m in ("starlette", "uvicorn", "jinja2", "python_multipart") if importlib.util.find_spec(m) is None]
    if missing:
        fix = installation.how_to_add(*installation.PAGE)
        raise EdgeOneshotError(f"the page needs the extra [web]; missing: {', '.join(missing)}", fix)
