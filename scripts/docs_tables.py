"""The reference tables of docs/, generated from the code. Run it as scripts/docs; --check compares and writes nothing.

A page marks where a table belongs:

    <!-- generated: exit-codes -->
    ...replaced on each run...
    <!-- end of generated -->

Text around the markers is written by hand. `TABLES` names the function that makes each table. Texts come from the code:
help of commands, `doc` of configuration keys, descriptions of the JSON Schemas, docstrings of topics and requests.
"""

from __future__ import annotations

import difflib
import inspect
import json
import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, get_type_hints

ROOT = Path(__file__).parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "scripts")]

import click  # noqa: E402
from docs_conditions import conditions_table  # noqa: E402
from docs_markdown import plain, table  # noqa: E402
from docs_requests import request_sections, request_table  # noqa: E402

from edge_oneshot import config, errors  # noqa: E402
from edge_oneshot.cli import COMMANDS, cli  # noqa: E402
from edge_oneshot.events import schema  # noqa: E402
from edge_oneshot.mqtt.topics import Topics  # noqa: E402
from edge_oneshot.service.reload import LIVE_KEYS, LIVE_SECTIONS  # noqa: E402
from edge_oneshot.types import EVENT_TYPES  # noqa: E402
from edge_oneshot.web.openapi import document  # noqa: E402

OPENAPI = "docs/reference/openapi.json"
BLOCK = re.compile(r"<!-- generated: ([a-z-]+) -->\n.*?<!-- end of generated -->", re.DOTALL)


# ---- commands


def commands(group: click.Group = cli, path: str = "edge-oneshot") -> Iterator[tuple[str, click.Command]]:
    """Every command with its full name, in the order of the help."""
    yield path, group
    ctx = click.Context(group, info_name=path)
    for name in group.list_commands(ctx):
        command = group.get_command(ctx, name)
        assert command is not None
        if isinstance(command, click.Group):
            yield from commands(command, f"{path} {name}")
        else:
            yield f"{path} {name}", command


def _value(option: click.Parameter) -> str:
    """What an option takes: its metavar, its choices, or its type in capitals; empty for a flag."""
    if isinstance(option, click.Option) and (option.is_flag or option.count):
        return ""
    if isinstance(option.type, click.Choice):
        return "|".join(map(str, option.type.choices))
    return option.metavar or {"integer": "N", "float": "X", "path": "FILE"}.get(option.type.name.split()[0], "TEXT")


def _limits(option: click.Option) -> list[str]:
    """Required, the range and the default, as a reader needs them."""
    found = ["required"] if option.required else []
    low, high = getattr(option.type, "min", None), getattr(option.type, "max", None)
    if low is not None or high is not None:
        more = "more than " if getattr(option.type, "min_open", False) else ""
        found.append(f"{more}{low:g}" + (" or more" if high is None and not more else f" to {high:g}" if high else ""))
    default = option.default
    if isinstance(default, (int, float, str)) and not isinstance(default, bool) and not option.required and default:
        found.append(f"default {default:g}" if isinstance(default, (int, float)) else f"default {default}")
    return found


def _option_row(option: click.Option) -> tuple[str, str]:
    names = ", ".join(f"`{name}{' ' + _value(option) if _value(option) else ''}`" for name in option.opts)
    limits = "; ".join(_limits(option))
    return names, plain(option.help or "") + (f" ({limits})" if limits else "")


def _command(path: str, command: click.Command) -> str:
    options = [p for p in command.params if isinstance(p, click.Option)]
    arguments = [p for p in command.params if isinstance(p, click.Argument)]
    usage = path + (" [OPTIONS]" if options else "")
    for a in arguments:
        usage += f" {a.make_metavar(click.Context(command))}"
    if isinstance(command, click.Group):
        usage += " COMMAND …"
    level = "##" if path.count(" ") < 2 else "###"
    parts = [f"{level} {path}", f"    {usage}", plain(inspect.cleandoc(command.help or ""))]
    if options:
        parts.append(table(("option", "meaning"), map(_option_row, options)))
    return "\n\n".join(parts)


def command_table() -> str:
    return table(("command", "purpose"), ((f"[`{n}`](#edge-oneshot-{n})", text) for n, (_, text) in COMMANDS.items()))


def command_sections() -> str:
    return "\n\n".join(_command(path, command) for path, command in commands())


# ---- configuration, exit codes


def _key_row(section: str, key: Any, hints: dict[str, Any]) -> tuple[str, ...]:
    meta = key.metadata
    kind = {bool: "true or false", int: "whole number", str: "text"}.get(hints[key.name], "number")
    default = "not set" if key.default is None else config.toml_value(key.default)
    accepted = kind
    if meta["choices"]:
        accepted = ", ".join(f"`{c}`" for c in meta["choices"])
    elif meta["low"] is not None:
        accepted = f"{kind}, {meta['low']:g} to {meta['high']:g}"
    elif meta["slug"]:
        accepted = "1 to 64 of `a-z 0-9 _ -`"
    live = section in LIVE_SECTIONS or f"{section}.{key.name}" in LIVE_KEYS
    return f"`{key.name}`", accepted, f"`{default}`", "reload" if live else "restart", plain(meta["doc"])


def configuration_tables() -> str:
    parts = []
    for section in config.SECTIONS:
        hints = get_type_hints(get_type_hints(config.Config)[section])
        rows = [_key_row(section, key, hints) for key in config.section_keys(section)]
        parts += [f"## [{section}]", table(("key", "accepts", "default", "change takes effect on", "meaning"), rows)]
    return "\n\n".join(parts)


def exit_codes() -> dict[int, list[str]]:
    """Each exit code of the code, with the errors that end in it."""
    found: dict[int, list[str]] = {errors.EXIT_NON_MATCH: []}
    for name, value in vars(errors).items():
        if isinstance(value, type) and issubclass(value, errors.EdgeOneshotError):
            found.setdefault(value.exit_code, []).append(name)
    return found


def exit_code_table() -> str:
    known = exit_codes()
    meanings = errors.EXIT_CODES
    if missing := known.keys() - meanings.keys():
        sys.exit(f"exit codes without a meaning: {sorted(missing)}. Fix: state what they mean")
    rows = ((str(c), text, ", ".join(f"`{n}`" for n in known.get(c, ()))) for c, text in errors.EXIT_CODES.items())
    return table(("code", "meaning", "errors of this code"), rows)


# ---- topics, events, states


def topics() -> Iterator[tuple[str, str, str]]:
    """(topic, how it is delivered, what it carries) of each topic, from the docstrings of Topics."""
    example = Topics("p", "d")
    for name, member in vars(Topics).items():
        function = member.fget if isinstance(member, property) else member
        if name.startswith("_") or name in ("base", "of_event", "of_person") or not inspect.isfunction(function):
            continue
        delivery, _, carries = (inspect.getdoc(function) or "").partition(". ")
        if not carries:
            sys.exit(f"Topics.{name}: expected a docstring `Retained, QoS 1. What it carries.`, got none")
        argument = "verb" if "verb" in inspect.signature(function).parameters else "identity"
        topic = getattr(example, name) if isinstance(member, property) else member(example, "x")
        yield re.sub(r"/x\b", f"/<{argument}>", topic.replace("p/d", "<b>", 1)), delivery, carries


def topic_table() -> str:
    return table(
        ("topic", "delivery", "payload"), ((f"`{t}`", d.lower().replace("qos", "QoS"), c) for t, d, c in topics())
    )


EVENT, STATE = schema.load("event-v1"), schema.load("state-v1")


def own_fields(event_type: str) -> dict[str, Any]:
    fields: dict[str, Any] = {k: v for k, v in EVENT["$defs"][event_type]["properties"].items() if k != "event_type"}
    return fields


def described(field: dict[str, Any], root: dict[str, Any], name: str) -> str:
    """The description of a schema's field, or of the definition that it refers to."""
    target = root["$defs"][field["$ref"].rsplit("/", 1)[1]] if "$ref" in field else {}
    text = field.get("description") or target.get("description")
    if not text:
        sys.exit(f"{root['title']}: the field {name} has no description. Fix: add one to the schema")
    return plain(str(text))


def event_types() -> str:
    rows = (
        (f"`{t}`", plain(EVENT["$defs"][t]["title"]), " ".join(f"`{f}`" for f in own_fields(t))) for t in EVENT_TYPES
    )
    return table(("event_type", "published when", "fields besides the common ones"), rows)


def event_fields() -> str:
    rows = [(f"`{n}`", "all", described(f, EVENT, n)) for n, f in EVENT["properties"].items()]
    for name in dict.fromkeys(n for t in EVENT_TYPES for n in own_fields(t)):
        users = [t for t in EVENT_TYPES if name in own_fields(t)]
        rows.append((f"`{name}`", ", ".join(users), described(own_fields(users[0])[name], EVENT, name)))
    for part in ("rate", "quality", "signature"):
        fields = EVENT["$defs"][part]["properties"]
        rows += [(f"`{part}.{n}`", f"`{part}`", described(f, EVENT, n)) for n, f in fields.items()]
    return table(("field", "in events", "meaning"), rows)


def state_fields() -> str:
    rows = []
    for state in ("presence", "health", "info"):
        for name, field in STATE["$defs"][state]["properties"].items():
            rows.append((f"`{state}`", f"`{name}`", described(field, STATE, name)))
            for part, inner in field.get("properties", {}).items():
                text = inner.get("description", "") if name != "gallery" else ""
                rows += [(f"`{state}`", f"`{name}.{part}`", text)] if text else []
    return table(("topic", "field", "meaning"), rows)


TABLES: dict[str, Callable[[], str]] = {
    "commands": command_table,
    "command-line": command_sections,
    "configuration": configuration_tables,
    "exit-codes": exit_code_table,
    "conditions": conditions_table,
    "topics": topic_table,
    "event-types": event_types,
    "event-fields": event_fields,
    "state-fields": state_fields,
    "requests": request_table,
    "request-sections": request_sections,
}


def render(text: str) -> str:
    """`text` of a page with every generated part made anew."""
    return BLOCK.sub(lambda m: f"<!-- generated: {m[1]} -->\n\n{TABLES[m[1]]()}\n\n<!-- end of generated -->", text)


def main(arguments: list[str]) -> int:
    if arguments not in ([], ["--check"]):
        sys.exit("usage: scripts/docs [--check]")
    stale = False
    for page in sorted((ROOT / "docs").rglob("*.md")):
        before = page.read_text(encoding="utf-8")
        after = render(before)
        if after == before:
            continue
        stale = True
        if arguments:
            name = str(page.relative_to(ROOT))
            sys.stdout.writelines(
                difflib.unified_diff(before.splitlines(True), after.splitlines(True), name, "generated")
            )
        else:
            page.write_text(after, encoding="utf-8")
            print(f"wrote {page.relative_to(ROOT)}")
    description, path = json.dumps(document(), indent=1, ensure_ascii=False) + "\n", ROOT / OPENAPI
    if path.parent.is_dir() and (not path.exists() or path.read_text(encoding="utf-8") != description):
        stale = True
        if not arguments:
            path.write_text(description, encoding="utf-8")
            print(f"wrote {OPENAPI}")
    if stale and arguments:
        print("the generated tables are out of date. Fix: run scripts/docs", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
