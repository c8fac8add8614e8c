"""The command line: click, one file per noun. Nothing heavy is imported until a command that needs it runs."""

from __future__ import annotations

import importlib
import os
import sys
from typing import Any

import click

from edge_oneshot import __version__

# name -> (module, one line of help). A table, so that --help imports none of the modules.
COMMANDS = {
    "enroll": ("enroll", "Enroll a person from one capture."),
    "verify": ("recognize", "Compare a picture with one enrolled person (1:1)."),
    "identify": ("recognize", "Find out who a picture shows, or that nobody enrolled is (1:N)."),
    "run": ("run", "Run the daemon: recognise continuously and publish events."),
    "status": ("run", "Show what the running daemon does."),
    "reload": ("run", "Make the running daemon read gallery and configuration again."),
    "listen": ("listen", "Print the events that arrive at the broker."),
    "mqtt": ("mqtt", "Test what the broker allows, make keys, remove what was published."),
    "verify-event": ("verify_event", "Check the signature of an event, and whether it may be acted on."),
    "gallery": ("gallery", "List, rename, remove, check, export, import who is enrolled."),
    "camera": ("camera", "Test and aim the camera."),
    "model": ("model", "Show and check model bundles."),
    "config": ("config", "Show and check the configuration."),
    "doctor": ("doctor", "Check everything and say how to mend it."),
    "explain": ("explain", "Say why tracks were told as they were, or not told."),
    "calibrate": ("calibrate", "Fit the thresholds to your own cohort of strangers."),
    "evaluate": ("evaluate", "Measure error rates on labelled pictures."),
    "bench": ("bench", "Measure the stages of one frame on this device."),
}


class _LazyGroup(click.Group):
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


@click.group(cls=_LazyGroup)
@click.option("--config", "-c", "config_path", metavar="FILE", help="Configuration file (TOML).")
@click.option("--instance", "-i", metavar="NAME", help="Instance of the system service: /etc/edge-oneshot/NAME.toml.")
@click.version_option(__version__)
@click.pass_context
def cli(ctx: click.Context, config_path: str | None, instance: str | None) -> None:
    """Recognise enrolled people on the device, from one capture each.

    Without --config or --instance: $EDGE_ONESHOT_CONFIG, then /etc/edge-oneshot/default.toml, then the defaults.
    """
    ctx.obj = (config_path, instance)


def main() -> None:
    """Entry point. Errors of our own become one line and the exit code of the error tree (edge_oneshot/errors.py)."""
    from edge_oneshot.errors import EdgeOneshotError

    # One thread of linear algebra, set before numpy is imported: a comparison with ten thousand templates takes a fifth
    # of a millisecond, and several threads spend up to 40 ms waiting for each other on cores that inference keeps busy.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    try:
        result: Any = cli.main(standalone_mode=False)
    except EdgeOneshotError as e:
        click.echo(f"error: {e.message}", err=True)
        for fault in getattr(e, "faults", ()):
            click.echo(f"  {getattr(fault, 'message', fault)}", err=True)
        if e.hint:
            click.echo(f"fix: {e.hint}", err=True)
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
