"""The command line: click, one file per noun. Nothing heavy is imported until a command that needs it runs."""

from __future__ import annotations

import importlib
import os
import re
import shlex
import sys
from typing import Any

import click

from edge_oneshot import __version__

# name -> (module, one line of help). A table, so that --help imports none of the modules.
COMMANDS = {
    "setup": ("setup", "Set up this device, step by step."),
    "enroll": ("enroll", "Enroll a person from one capture."),
    "verify": ("recognize", "Compare a picture with one enrolled person (1:1)."),
    "identify": ("recognize", "Compare a picture with every enrolled person (1:N)."),
    "confirm": ("recognize", "Confirm a match with a second factor."),
    "run": ("run", "Run the daemon: recognize continuously and publish events."),
    "status": ("run", "Report the state of the running daemon."),
    "reload": ("run", "Make the running daemon read gallery and configuration again."),
    "pause": ("run", "Pause recognition until `resume`."),
    "resume": ("run", "Resume recognition."),
    "listen": ("listen", "Print the events that arrive at the broker."),
    "mqtt": ("mqtt", "Test the broker, make signing keys, remove retained topics."),
    "verify-event": ("verify_event", "Check the signature and the age of events."),
    "gallery": ("gallery", "List, rename, merge, ignore, remove, check, seal, migrate, export and import people."),
    "access": ("access", "Say when and where people are allowed."),
    "camera": ("camera", "Test and aim the camera."),
    "model": ("model", "Show and check model bundles."),
    "config": ("config", "Show and check the configuration."),
    "web": ("web", "Serve the local page, and manage its accounts."),
    "fleet": ("fleet", "Share one gallery among many devices, over your own broker."),
    "bridge": ("bridge", "Name the people in the events of another system (Frigate)."),
    "doctor": ("doctor", "Check everything that the daemon needs."),
    "support-report": ("support_report", "Write a report for the maintainers, without personal data."),
    "explain": ("explain", "Show why tracks were published as they were, or not."),
    "visits": ("visits", "List visits, say who a visitor was, manage pictures of visits."),
    "calibrate": ("calibrate", "Fit the thresholds to your own cohort of strangers."),
    "evaluate": ("evaluate", "Measure error rates on labelled pictures."),
    "bench": ("bench", "Measure the stages of one frame on this device."),
}


class _LazyGroup(click.Group):
    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """--config and --instance may also follow the command."""
        end = args.index("--") if "--" in args else len(args)
        first, rest, i = list[str](), list[str](), 0
        while i < end:
            own = args[i].partition("=")[0] in ("--config", "--instance")
            count = 2 if own and "=" not in args[i] else 1
            (first if own else rest).extend(args[i : i + count])
            i += count
        return super().parse_args(ctx, [*first, *rest, *args[max(i, end) :]])

    def invoke(self, ctx: click.Context) -> Any:
        from edge_oneshot.errors import EdgeOneshotError

        try:
            return super().invoke(ctx)
        except EdgeOneshotError as e:
            e.hint = as_called(e.hint)
            raise

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        module = importlib.import_module(f"edge_oneshot.cli.{COMMANDS[cmd_name][0]}")
        command = getattr(module, cmd_name.replace("-", "_"))
        assert isinstance(command, click.Command)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, text) in COMMANDS.items()])


def as_called(text: str) -> str:
    """A text in which each command of edge-oneshot names the configuration that this call has named."""
    config_path, instance = click.get_current_context().find_root().obj or (None, None)
    option, value = ("--config", config_path) if config_path else ("--instance", instance)
    if not value:
        return text
    given = f"{option} {shlex.quote(value)}"
    return re.sub(
        rf"(?<![\w/@.-])edge-oneshot (?=(?:{'|'.join(COMMANDS)})\b)", lambda _: f"edge-oneshot {given} ", text
    )


@click.group(cls=_LazyGroup)
@click.option("--config", "-c", "config_path", metavar="FILE", help="Configuration file (TOML).")
@click.option("--instance", "-i", metavar="NAME", help="Instance of the system service: /etc/edge-oneshot/NAME.toml.")
@click.version_option(__version__)
@click.pass_context
def cli(ctx: click.Context, config_path: str | None, instance: str | None) -> None:
    """Recognize enrolled people on the device, from one capture each.

    The configuration is --config, or --instance, or $EDGE_ONESHOT_CONFIG, or /etc/edge-oneshot/default.toml, or the defaults.
    --config and --instance may be given before or after the command.
    """
    ctx.obj = (config_path, instance)


def main() -> None:
    """Entry point. An EdgeOneshotError becomes one line and its exit code (edge_oneshot/errors.py)."""
    from edge_oneshot.errors import EdgeOneshotError
    from edge_oneshot.shown import plain, redact

    # One thread of linear algebra, set before numpy is imported: a comparison with 10,000 templates takes 0.2 ms, and
    # several threads wait up to 40 ms for each other on cores that inference keeps busy.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    try:
        result: Any = cli.main(standalone_mode=False)
    except EdgeOneshotError as e:
        click.echo(f"error: {plain(e.message)}", err=True)
        for fault in getattr(e, "faults", ()):
            click.echo(f"  {plain(redact(str(getattr(fault, 'message', fault))))}", err=True)
        if e.hint:
            click.echo(f"fix: {plain(e.hint)}", err=True)
        sys.exit(e.exit_code)
    except click.exceptions.Abort:
        click.echo("interrupted", err=True)
        sys.exit(130)
    except click.ClickException as e:
        e.show()
        sys.exit(e.exit_code)
    except BrokenPipeError:
        sys.exit(0)
    sys.exit(result if isinstance(result, int) else 0)
