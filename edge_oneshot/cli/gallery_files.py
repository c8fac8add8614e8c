"""`edge-oneshot gallery`: the commands about its files: seal, unseal, rotate-key, export, import, new-recipient."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from edge_oneshot import installation
from edge_oneshot.cli.common import find_config, json_option, perform, print_json
from edge_oneshot.control import requests as rq
from edge_oneshot.errors import GalleryError
from edge_oneshot.storage.keys import ENCRYPTED_CREDENTIAL, MAKE_CREDENTIAL, encrypted_credential

FILE = click.Path(path_type=Path)
BACK_UP = "Copy the key {} to a safe place that is not on this device. Without it the gallery cannot be read."
passphrase_option = click.option(
    "--passphrase-file",
    type=FILE,
    metavar="FILE",
    help="Read the passphrase from the first line of FILE; - for standard input.",
)


@click.command(short_help="Encrypt what is stored about people.")
@click.option(
    "--trust-plain",
    is_flag=True,
    help="Also seal a plain gallery that is in the place of a sealed one: you trust the file.",
)
@click.option(
    "--if-new", is_flag=True, help="Do nothing if a person is stored, or the gallery is sealed. The installers use it."
)
@json_option
@click.pass_context
def seal(ctx: click.Context, trust_plain: bool, if_new: bool, as_json: bool) -> None:
    """Encrypt what is stored about people with the key of the device; make the key if there is none.

    Stop the daemons first. If the command is interrupted, run it again.
    """
    from edge_oneshot.service import offline, sealing

    config = find_config(ctx)
    offline.require_owner(config.state_dir)
    done = sealing.seal_new(config) if if_new else sealing.seal(config, trust_plain=trust_plain)
    if done is None:
        return
    _print(as_json, done, f"sealed {config.state_dir} with the key {done.key} (id {done.key_id})")
    click.echo(BACK_UP.format(done.key), err=True)


@click.command(short_help="Store everything as plain files again.")
@click.confirmation_option(
    "--yes", prompt="Store templates and names unencrypted, so that anyone who has the disk can read them?"
)
@json_option
@click.pass_context
def unseal(ctx: click.Context, as_json: bool) -> None:
    """Decrypt what is stored about people, for a release that cannot read sealed files. The key is renamed and kept.

    Stop the daemons first. If the command is interrupted, run it again.
    """
    from edge_oneshot.service import offline, sealing

    config = find_config(ctx)
    offline.require_owner(config.state_dir)
    done = sealing.unseal(config)
    _print(as_json, done, f"unsealed {config.state_dir}; the key was renamed to {done.key}")
    if config.system and encrypted_credential() is not False:
        click.echo(f"If the service gets the key as a credential, delete it: sudo rm {ENCRYPTED_CREDENTIAL}", err=True)


@click.command("rotate-key", short_help="Encrypt everything with a new key.")
@json_option
@click.pass_context
def rotate_key(ctx: click.Context, as_json: bool) -> None:
    """Make a new key, encrypt everything with it, and remove the old key file.

    Copies of earlier files can then be read only with a backup of the old key. Stop the daemons first. If the command is
    interrupted, run it again.
    """
    from edge_oneshot.service import offline, sealing

    config = find_config(ctx)
    offline.require_owner(config.state_dir)
    done = sealing.rotate(config)
    _print(as_json, done, f"sealed {config.state_dir} with the new key {done.key} (id {done.key_id})")
    click.echo(BACK_UP.format(done.key), err=True)
    if config.system and encrypted_credential() is not False:
        click.echo("If the service gets the key as a credential, make it again before the start:", err=True)
        click.echo(MAKE_CREDENTIAL.format(done.key), err=True)


@click.command()
@click.argument("file", type=FILE)
@click.option("--plain", is_flag=True, help="Do not encrypt: anyone who has FILE can read names and templates.")
@click.option("--recipient", type=FILE, metavar="KEYFILE", help="Encrypt to this public key instead of a passphrase.")
@passphrase_option
@click.pass_context
def export(ctx: click.Context, file: Path, plain: bool, recipient: Path | None, passphrase_file: Path | None) -> None:
    """Write every person to a new FILE, encrypted to a passphrase or to a public key."""
    from edge_oneshot.gallery import envelope
    from edge_oneshot.gallery.archive import write_document

    if plain and (recipient or passphrase_file):
        raise click.UsageError("--plain cannot be combined with --recipient or --passphrase-file")
    if not plain and not envelope.available():
        raise GalleryError(
            "the export cannot be encrypted: expected the Python package cryptography, got none",
            f"{installation.how_to_add('cryptography>=42')}; or give --plain: anyone who has the file can then read it",
        )
    public = None if recipient is None else envelope.read_key(recipient, envelope.PUBLIC)
    passphrase = "" if plain or recipient else _passphrase(passphrase_file, confirm=True)
    document = perform(find_config(ctx), rq.Export()).document
    if plain:
        written = document
        click.echo(f"{file} is not encrypted and holds biometric data: protect it like a key", err=True)
    elif public is not None:
        written = envelope.for_recipient(document, public)
    else:
        written = envelope.for_passphrase(document, passphrase)
    write_document(written, file)
    click.echo(f"wrote {len(document['identities'])} people to {file}")


@click.command("import")
@click.argument("file", type=FILE)
@click.option("--replace", is_flag=True, help="Replace the templates of people who are enrolled already.")
@click.option("--missing", is_flag=True, help="Enroll only the people who are not enrolled now.")
@click.option("--key", type=FILE, metavar="KEYFILE", help="Private key, for a file that was encrypted to a recipient.")
@passphrase_option
@json_option
@click.pass_context
def import_(
    ctx: click.Context,
    file: Path,
    replace: bool,
    missing: bool,
    key: Path | None,
    passphrase_file: Path | None,
    as_json: bool,
) -> None:
    """Enroll every person of an exported FILE, or none of them.

    If some of them are enrolled already, choose: --missing leaves them as they are, --replace replaces their templates.
    """
    from edge_oneshot.gallery import envelope
    from edge_oneshot.gallery.archive import read_document

    if replace and missing:
        raise click.UsageError("--replace and --missing exclude each other; give one of them")
    document = read_document(file)
    if envelope.is_sealed(document):
        document = envelope.open_document(document, lambda: _passphrase(passphrase_file), lambda: _private(key))
    r = perform(find_config(ctx), rq.Import(document=document, replace=replace, missing=missing))
    if as_json:
        print_json(r)
        return
    click.echo(f"imported {len(r.identities)} people")
    if r.needs_enrollment:
        click.echo(
            f"must be enrolled again (an unknown encoder's templates): {', '.join(r.needs_enrollment)}", err=True
        )
    if r.old_templates:
        click.echo(f"old templates, compared until they are enrolled again: {', '.join(r.old_templates)}", err=True)
    if r.no_rate:
        click.echo(f"no error rate can be stated for: {', '.join(r.no_rate)}", err=True)


@click.command("new-recipient", short_help="Make a pair of keys for exports.")
@click.argument("file", type=FILE)
def new_recipient(file: Path) -> None:
    """Make a pair of keys: FILE.pub encrypts exports (--recipient), and FILE opens them (import --key)."""
    from edge_oneshot.gallery import envelope
    from edge_oneshot.storage.cipher import new_key, write_text

    private, public = envelope.new_recipient(new_key())
    try:
        write_text(file, private)
        write_text(Path(f"{file}.pub"), public)
    except OSError as e:
        raise GalleryError(
            f"cannot write {e.filename}: {e.strerror}", "name a new file in a folder that you may write"
        ) from None
    click.echo(f"{file}: opens exports (gallery import --key); keep it secret, and not on the device")
    click.echo(f"{file}.pub: for the device (gallery export --recipient)")


COMMANDS = (seal, unseal, rotate_key, export, import_, new_recipient)


def _print(as_json: bool, done: object, text: str) -> None:
    from dataclasses import asdict

    from edge_oneshot.service.sealing import Sealed

    assert isinstance(done, Sealed)
    if as_json:
        print_json({**asdict(done), "key": str(done.key)})
        return
    click.echo(text)
    if done.lost:
        click.echo(f"{done.lost} rows could not be read and were not kept", err=True)


def _passphrase(file: Path | None, *, confirm: bool = False) -> str:
    from edge_oneshot.text_file import read_text

    if file is not None:
        try:
            text = sys.stdin.readline() if str(file) == "-" else read_text(file, 10_000)
        except (OSError, ValueError) as e:
            raise GalleryError(
                f"cannot read the passphrase file {file}: {e}", "name a text file that you may read"
            ) from None
        return text.splitlines()[0] if text else ""
    if not sys.stdin.isatty():
        raise click.UsageError(
            "there is no terminal to ask for a passphrase: give --passphrase-file; export also takes --recipient or --plain"
        )
    return str(click.prompt("Passphrase of the export", hide_input=True, confirmation_prompt=confirm, err=True))


def _private(key: Path | None) -> bytes:
    from edge_oneshot.gallery import envelope

    if key is None:
        raise click.UsageError("this file was encrypted to a recipient: give the private key with --key")
    return envelope.read_key(key, envelope.PRIVATE)
