"""docs/reference: everything that the code offers is documented, and the generated tables are up to date."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from edge_oneshot import config, errors
from edge_oneshot.cli import cli
from edge_oneshot.control.codec import schema as schema_of
from edge_oneshot.control.requests import REQUESTS
from edge_oneshot.events import schema
from edge_oneshot.mqtt.commands import VERBS
from edge_oneshot.mqtt.topics import Topics
from edge_oneshot.types import EVENT_TYPES

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "scripts"))

import docs_tables  # noqa: E402

PAGES = sorted((ROOT / "docs").rglob("*.md"))


def page(name: str) -> str:
    return (ROOT / "docs" / "reference" / f"{name}.md").read_text(encoding="utf-8")


def sections(text: str) -> dict[str, str]:
    """Heading -> the text below it, up to the next heading of any level."""
    parts = re.split(r"^#{1,4} (.+)$", text, flags=re.MULTILINE)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


# ---- the generated tables


@pytest.mark.parametrize("path", PAGES, ids=lambda p: str(p.relative_to(ROOT)))
def test_generated_tables_are_up_to_date(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert docs_tables.render(text) == text, "run scripts/docs"


def test_every_table_has_its_place() -> None:
    used = [
        name for path in PAGES for name in re.findall(r"<!-- generated: (\S+) -->", path.read_text(encoding="utf-8"))
    ]
    assert sorted(used) == sorted(docs_tables.TABLES)


def test_check_reports_a_page_that_is_out_of_date(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "docs").mkdir()
    stale = tmp_path / "docs" / "a.md"
    stale.write_text(
        "x\n<!-- generated: exit-codes -->\n\n| 0 | wrong |\n\n<!-- end of generated -->\ny\n", encoding="utf-8"
    )
    monkeypatch.setattr(docs_tables, "ROOT", tmp_path)
    assert docs_tables.main(["--check"]) == 1
    assert "run scripts/docs" in capsys.readouterr().err
    assert docs_tables.main([]) == 0
    assert docs_tables.main(["--check"]) == 0
    assert stale.read_text(encoding="utf-8").startswith("x\n<!-- generated: exit-codes -->\n\n| code |")


# ---- what the code offers, without the generator


def commands(group: click.Group, path: str) -> Iterator[tuple[str, click.Command]]:
    yield path, group
    for name in group.list_commands(click.Context(group)):
        command = group.get_command(click.Context(group), name)
        assert command is not None
        if isinstance(command, click.Group):
            yield from commands(command, f"{path} {name}")
        else:
            yield f"{path} {name}", command


@pytest.mark.parametrize(("path", "command"), [pytest.param(p, c, id=p) for p, c in commands(cli, "edge-oneshot")])
def test_every_command_and_option_is_documented(path: str, command: click.Command) -> None:
    found = sections(page("command-line"))
    assert path in found
    options = [name for p in command.params if isinstance(p, click.Option) for name in p.opts]
    assert [o for o in options if not re.search(rf"`{re.escape(o)}[` ]", found[path])] == []


@pytest.mark.parametrize("section", config.SECTIONS)
def test_every_configuration_key_is_documented(section: str) -> None:
    text = sections(page("configuration"))[f"[{section}]"]
    for key in config.section_keys(section):
        row = re.search(rf"^\| `{key.name}` \|.*$", text, re.MULTILINE)
        assert row is not None, key.name
        default = "not set" if key.default is None else config.toml_value(key.default)
        assert f"| `{default}` |" in row[0]


def test_every_exit_code_is_documented() -> None:
    tree = [e for e in vars(errors).values() if isinstance(e, type) and issubclass(e, errors.EdgeOneshotError)]
    codes = {e.exit_code for e in tree} | set(errors.EXIT_CODES)
    text = page("exit-codes")
    assert [code for code in codes if not re.search(rf"^\| {code} \| \S", text, re.MULTILINE)] == []
    assert [e.__name__ for e in tree if f"`{e.__name__}`" not in text] == []


def test_every_event_type_and_field_is_documented() -> None:
    text = sections(page("mqtt"))["Events"]
    event = schema.load("event-v1")
    fields = set(event["properties"]) | {f for t in EVENT_TYPES for f in event["$defs"][t]["properties"]}
    fields |= {f"{part}.{f}" for part in ("quality", "signature") for f in event["$defs"][part]["properties"]}
    rows = set(re.findall(r"^\| `([a-z_.]+)` \|", text, re.MULTILINE))
    assert fields - rows == set()
    assert set(EVENT_TYPES) - rows == set()


def test_every_state_field_is_documented() -> None:
    text = sections(page("mqtt"))["States"]
    state = schema.load("state-v1")
    for topic in ("presence", "health", "info"):
        for name, field in state["$defs"][topic]["properties"].items():
            inner = [f"{name}.{part}" for part in field.get("properties", {}) if name in ("outbox", "capabilities")]
            for row in (name, *inner):
                assert f"| `{topic}` | `{row}` |" in text


def test_every_topic_is_documented() -> None:
    text = sections(page("mqtt"))["Topics"]
    t = Topics("prefix", "device")
    plain = [t.availability, t.event, t.unknown, t.denied, t.presence, t.health, t.info, t.snapshot]
    filled = [t.match("x"), t.confirmed("x"), *t.of_person("x"), t.request("x"), t.response("x")]
    public = [
        n
        for n in vars(Topics)
        if not n.startswith("_") and n not in ("base", "of_event", "of_person", "prefix", "device")
    ]
    assert len(public) == len(plain) + len(filled), "a new topic: add it to this test"
    rows = {re.sub(r"<\w+>", "x", row) for row in re.findall(r"^\| `<b>/(\S+)` \|", text, re.MULTILINE)}
    assert {topic.removeprefix("prefix/device/") for topic in plain + filled} == rows


@pytest.mark.parametrize("verb", REQUESTS)
def test_every_request_is_documented(verb: str) -> None:
    row = re.search(rf"^\| \[`{verb}`\]\(#{verb}\) \| \S.* \| (yes|no) \|$", page("requests"), re.MULTILINE)
    assert row is not None
    assert (row[1] == "yes") == (verb in VERBS)
    text = sections(page("requests"))[verb]
    for part in (schema_of(REQUESTS[verb]), schema_of(REQUESTS[verb].response)):
        assert [name for name in part["properties"] if f"| `{name}` |" not in text] == []


# ---- the generator refuses what has no text


def test_an_exit_code_without_a_meaning_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(errors.EXIT_CODES, 78)
    with pytest.raises(SystemExit, match="78"):
        docs_tables.exit_code_table()


def test_a_field_without_a_description_is_refused() -> None:
    with pytest.raises(SystemExit, match="novel"):
        docs_tables.described({"type": "string"}, docs_tables.EVENT, "novel")


def test_a_topic_without_a_docstring_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Topics, "novel", property(lambda self: f"{self.base}/novel"), raising=False)
    with pytest.raises(SystemExit, match=r"Topics\.novel"):
        list(docs_tables.topics())
