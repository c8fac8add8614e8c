"""`edge-oneshot gallery`: who is enrolled."""

from __future__ import annotations

from pathlib import Path

import click

from edge_oneshot.cli.common import find_config, json_option, perform, print_json


@click.group()
def gallery() -> None:
    """List, show, rename, remove, check, export and import who is enrolled."""


@gallery.command("list")
@json_option
@click.pass_context
def list_(ctx: click.Context, as_json: bool) -> None:
    """List who is enrolled."""
    people = perform(find_config(ctx), "list", {})["identities"]
    if as_json:
        print_json(people)
        return
    for p in people:
        note = "  needs to be enrolled again (another encoder's template)" if p["needs_enrollment"] else ""
        click.echo(f"{p['identity']:20} {p['name']:24} since {p['created_at'][:10]}{note}")
    if not people:
        click.echo("nobody is enrolled; `edge-oneshot enroll --name NAME` enrolls somebody", err=True)


@gallery.command()
@click.argument("name")
@json_option
@click.pass_context
def show(ctx: click.Context, name: str, as_json: bool) -> None:
    """Show one person's templates. NAME is a name or an id."""
    p = perform(find_config(ctx), "show", {"name": name})
    if as_json:
        print_json(p)
        return
    click.echo(f"{p['name']} ({p['identity']}), enrolled {p['created_at'][:19]}")
    for t in p["details"]:
        state = "in use" if t["comparable"] else "of another encoder, not compared"
        measures = ", ".join(f"{key} {value:g}" for key, value in t["quality"].items())
        click.echo(f"  {t['template_id'][:8]}  {t['created_at'][:19]}  {state}  {measures}")


@gallery.command()
@click.argument("name")
@click.argument("new_name")
@json_option
@click.pass_context
def rename(ctx: click.Context, name: str, new_name: str, as_json: bool) -> None:
    """Change a person's name; the id in topics stays."""
    r = perform(find_config(ctx), "rename", {"name": name, "to": new_name})
    print_json(r) if as_json else click.echo(f"{r['before']} is now {r['name']} (id {r['identity']} as before)")


@gallery.command()
@click.argument("name")
@click.option("--yes", is_flag=True, help="Do not ask.")
@json_option
@click.pass_context
def remove(ctx: click.Context, name: str, yes: bool, as_json: bool) -> None:
    """Forget a person. The stored templates are overwritten."""
    if not yes:
        click.confirm(f"Forget {name}?", abort=True, err=True)
    r = perform(find_config(ctx), "forget", {"name": name})
    print_json(r) if as_json else click.echo(f"forgot {r['name']} ({r['identity']})")


@gallery.command()
@json_option
@click.pass_context
def check(ctx: click.Context, as_json: bool) -> None:
    """Find who must be enrolled again, and who would be taken for somebody else."""
    r = perform(find_config(ctx), "check", {})
    if as_json:
        print_json(r)
        return
    click.echo(f"{r['identities']} people, {r['templates']} templates, threshold {r['threshold']:.3f}")
    for identity in r["needs_enrollment"]:
        click.echo(
            f"enroll again: {identity} (template of another encoder): edge-oneshot enroll --name … --id {identity} --replace"
        )
    for pair in r["look_alikes"]:
        click.echo(
            f"look alike: {' and '.join(pair['identities'])} score {pair['score']:.3f}: they will be taken for each other"
        )
    if growth := r.get("growth"):
        for state, word in zip(growth, ("now", "with a hundred more"), strict=True):
            missed = "" if state["fnir"] is None else f", {100 * state['fnir']:.1f} % of their captures missed"
            beyond = " (beyond what the cohort has measured)" if state["extrapolated"] else ""
            click.echo(
                f"expected {word}: {state['identities']} people, threshold {state['threshold']:.3f}{beyond}: "
                f"{100 * state['fpir']:.2g} % of strangers' captures match somebody{missed}"
            )
    if not r["needs_enrollment"] and not r["look_alikes"]:
        click.echo("nothing to mend")


@gallery.command()
@click.argument("file", type=click.Path(path_type=Path))
@click.pass_context
def export(ctx: click.Context, file: Path) -> None:
    """Write everybody to a new FILE. It holds biometric data: keep it as you keep keys."""
    from edge_oneshot.gallery.archive import write_document

    document = perform(find_config(ctx), "export", {})["document"]
    write_document(document, file)
    click.echo(f"wrote {len(document['identities'])} people to {file}")


@gallery.command("import")
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--replace", is_flag=True, help="Renew people who are enrolled already.")
@json_option
@click.pass_context
def import_(ctx: click.Context, file: Path, replace: bool, as_json: bool) -> None:
    """Enroll everybody of an exported FILE, all or nobody."""
    from edge_oneshot.gallery.archive import read_document

    r = perform(find_config(ctx), "import", {"document": read_document(file), "replace": replace})
    if as_json:
        print_json(r)
        return
    click.echo(f"imported {len(r['identities'])} people")
    if r["needs_enrollment"]:
        click.echo(f"of another encoder, to be enrolled again: {', '.join(r['needs_enrollment'])}", err=True)
