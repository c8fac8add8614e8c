"""`edge-oneshot access` without a daemon: rules are stored, shown, ended, and kept by export and merge."""

from __future__ import annotations

import json
from datetime import date
from pathlib import Path

import pytest
from asking import ask
from click.testing import CliRunner, Result
from samples import person, random_unit, template

from edge_oneshot.cli import cli
from edge_oneshot.config import Config, load_config
from edge_oneshot.control import requests as rq
from edge_oneshot.errors import ConfigError, ControlError, EdgeOneshotError, GalleryError
from edge_oneshot.gallery.archive import digest_of, from_document, to_document
from edge_oneshot.gallery.store import Gallery
from edge_oneshot.recognition.recognizer import Recognizer
from edge_oneshot.types import AccessRules
from edge_oneshot.types.access import ALWAYS, UNREADABLE


class Device:
    """Zoe and Bob are enrolled; the device is the door `gate` and never allows by an unknown clock."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "default.toml"
        self.path.write_text(f'[device]\nslug = "front"\nstate_dir = "{folder}"\n[access]\ndoors = "gate"\n')
        self.config: Config = load_config(self.path)
        with Gallery(self.config.gallery_path) as gallery:
            gallery.add_all([(person(n), [template(n, random_unit(i))]) for i, n in enumerate(("zoe", "bob"))])

    def __call__(self, *arguments: str) -> Result:
        command = ["-c", str(self.path), "access", *arguments]
        return CliRunner().invoke(cli, command, standalone_mode=False)

    @property
    def rules(self) -> dict[str, AccessRules]:
        with Gallery(self.config.gallery_path) as gallery:
            return gallery.access()


@pytest.fixture
def device(tmp_path: Path) -> Device:
    (tmp_path / "device").mkdir()
    return Device(tmp_path / "device")


def test_rules_are_set_shown_and_cleared(device: Device) -> None:
    done = device(
        "set", "zoe", "--until", "2027-01-31", "--doors", "gate, desk", "--days", "sat-mon", "--time", "22:00-06:00"
    )
    assert "Zoe (zoe): until 2027-01-31; at gate, desk; mon,sat,sun 22:00-06:00" in done.stdout, done.output
    assert device.rules["zoe"].doors == ("gate", "desk") and device.rules["zoe"].until == date(2027, 1, 31)
    (shown,) = json.loads(device("show", "--json").stdout)
    assert shown["identity"] == "zoe" and shown["access"] == device.rules["zoe"].to_json()
    assert "everywhere and always" in device("show", "bob").stdout
    assert "everywhere and always" in device("clear", "zoe").stdout and device.rules == {}
    assert not device("show").stdout
    done = device("set", "bob", "--doors", "cellar", "--json")
    assert json.loads(done.stdout) == {
        "identity": "bob",
        "name": "Bob",
        "access": {"doors": ["cellar"]},
        "denied": "door",
    }
    assert "denied here now: this is none of the person's doors" in device("show", "bob").stdout


@pytest.mark.parametrize(
    ("options", "error"),
    [
        (["--until", "31.1.2027"], "set-access: access.until: expected a date such as 2027-01-31"),
        (["--until", "2027-01-31T18:00"], "a date, or a time with its offset from UTC"),
        (["--time", "08:00-25:00"], "access.times.to: expected a time from 00:00 to 24:00, got '25:00'"),
        (["--time", "08:00-08:00"], "expected two different times"),
        (["--doors", "Gate!"], "access.doors: expected"),
    ],
)
def test_a_rule_that_cannot_be_read_is_refused(device: Device, options: list[str], error: str) -> None:
    device("set", "zoe", "--doors", "gate")
    failed = device("set", "zoe", *options).exception
    assert isinstance(failed, ControlError) and error in failed.message
    assert device.rules == {"zoe": AccessRules(doors=("gate",))}, "the rules of before are still in force"


def test_a_call_without_rules_or_of_an_unknown_person_changes_nothing(device: Device) -> None:
    assert "give at least one of" in str(device("set", "zoe").exception)
    assert "expected days such as" in str(device("set", "zoe", "--days", "monday").exception)
    assert isinstance(device("clear", "nobody").exception, GalleryError) and device.rules == {}


def test_the_names_of_a_device_must_be_slugs(device: Device) -> None:
    device.path.write_text('[access]\ndoors = "gate, Nord"\n')
    with pytest.raises(ConfigError) as caught:
        load_config(device.path)
    assert "access.doors: expected names of a-z" in str(caught.value.faults) and "'Nord'" in str(caught.value.faults)


def test_an_export_keeps_rules_and_an_import_never_ends_them(device: Device, recognizer: Recognizer) -> None:
    gate = AccessRules(doors=("gate",))
    with Gallery(device.config.gallery_path) as gallery:
        before = to_document(gallery)
        gallery.set_access("zoe", gate)
        document = json.loads(json.dumps(to_document(gallery)))
    assert (before["version"], document["version"]) == (2, 3), "an earlier release would ignore the rules"
    ask(recognizer, rq.Import(document=document))
    people = recognizer.people
    assert people.access == people.gallery.access() == {"zoe": gate}
    ask(recognizer, rq.Import(document=json.loads(json.dumps(before)), replace=True))
    assert people.access == {"zoe": gate}, "a document without rules leaves them"
    document["identities"][1]["access"] = {"moon": "full"}
    document["digest"] = digest_of(document["identities"])
    with pytest.raises(GalleryError, match=r"identities\[1\] is damaged: access: expected only from"):
        from_document(document)
    people.set_access("zoe", UNREADABLE)
    document = json.loads(json.dumps(to_document(people.gallery)))
    assert from_document(document)[1].access == UNREADABLE, "what cannot be read stays a limit"


@pytest.mark.parametrize("into", ["zoe", "bob"])
def test_a_merge_ends_no_rules(device: Device, recognizer: Recognizer, into: str) -> None:
    people, own = recognizer.people, recognizer.encoder_id
    for n in ("zoe", "bob"):
        people.add(person(n), [template(n, random_unit(3), own)])
    people.set_access("bob", AccessRules(doors=("gate",)))
    (removed,) = {"zoe", "bob"} - {into}
    ask(recognizer, rq.Merge(name=removed, into=into, force=True))
    assert people.access == people.gallery.access() == {into: AccessRules(doors=("gate",))}
    people.set_access(into, ALWAYS)
    assert people.access == {}
    with pytest.raises(EdgeOneshotError, match="no person"):
        people.set_access(removed, ALWAYS)
