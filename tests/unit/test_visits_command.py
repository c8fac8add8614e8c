"""`edge-oneshot visits` and `evaluate door`: all that the page does with visits, in the terminal and without a daemon."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
from test_visits_of import track

from edge_oneshot import cli
from edge_oneshot.config import Config, DecisionConfig, DeviceConfig
from edge_oneshot.events.journal import Journal
from edge_oneshot.events.pictures import Pictures
from edge_oneshot.gallery.store import Gallery
from edge_oneshot.storage.cipher import Cipher, new_key, write_key
from edge_oneshot.storage.keys import Keys

Run = Callable[..., tuple[int, str, str]]
MATCH, UNKNOWN = "20261127203459123-1", "20261127204459123-2"


@pytest.fixture
def state(tmp_path: Path, portrait_files: dict[str, Path]) -> Path:
    folder = tmp_path / "state"
    folder.mkdir()
    config = Config(device=DeviceConfig(state_dir=str(folder)))
    with closing(Journal(config.explain_path, DecisionConfig())) as journal:
        journal._write(track(1, 0, 5, "match", "ada"))
        journal._write(track(2, 600, 605) | {"best": {"identity": "ada", "score": 0.2}})
    return folder


@pytest.fixture
def run(state: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    path = state.parent / "default.toml"
    path.write_text(f'[device]\nstate_dir = "{state}"\n[visits]\nasked_share = 1.0\n')

    def call(*arguments: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["edge-oneshot", "-c", str(path), *arguments])
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            cli.main()
        return (int(ended.value.code or 0), *capsys.readouterr())

    return call


def test_visits_are_listed_explained_answered_and_counted(run: Run, portrait_files: dict[str, Path]) -> None:
    assert run("enroll", "--name", "Ada", "--image", str(portrait_files["collins"]))[0] == 0
    code, out, _ = run("visits", "list")
    lines = out.splitlines()
    assert code == 0 and [line.split()[0] for line in lines] == [UNKNOWN, MATCH]
    assert "recognized" in lines[1] and "Ada" in lines[1] and "who was it?" in lines[0]
    assert [line.split()[0] for line in run("visits", "list", "--person", "ada")[1].splitlines()] == [MATCH]
    assert len(run("visits", "list", "--result", "unknown")[1].splitlines()) == 1
    assert "no such visit" in run("visits", "list", "--day", "2001-01-01")[2]
    assert "best ada 0.200" in run("visits", "show", UNKNOWN)[1]
    assert run("visits", "show", "7")[0] == 1

    assert "answer: Ada (missed)" in run("visits", "label", UNKNOWN, "--person", "Ada")[1]
    assert "not enrolled (false match)" in run("visits", "label", MATCH, "--stranger")[1]
    assert not run("visits", "list", "--todo")[1]
    rates = run("evaluate", "door")[1]
    assert "visits by strangers that matched: 1 of 1: 100 %" in rates and "30000 visits are needed" in rates
    assert json.loads(run("evaluate", "door", "--json")[1])["missed"]["errors"] == 1
    assert "was removed" in run("visits", "label", MATCH, "--remove")[1]
    assert "no answers" in run("evaluate", "door")[1]


def test_two_entries_of_one_person_are_merged(run: Run, portrait_files: dict[str, Path]) -> None:
    for name, picture in (("Ada", "collins"), ("Berta", "collins"), ("Grace", "hopper")):
        run("enroll", "--name", name, "--image", str(portrait_files[picture]))
    assert "has 2 templates" in run("gallery", "merge", "Ada", "Berta", "--yes")[1]
    code, _, err = run("gallery", "merge", "Grace", "Berta", "--yes")
    assert code == 1 and "do not match each other" in err
    assert "has 3 templates" in run("gallery", "merge", "Grace", "Berta", "--yes", "--force")[1]
    assert [line.split()[0] for line in run("gallery", "list")[1].splitlines()] == ["berta"]
    assert "a person removed since" in run("visits", "show", UNKNOWN)[1], "visits no longer name Ada"


def test_a_label_takes_one_answer(run: Run) -> None:
    assert run("visits", "label", MATCH)[0] == 2
    assert run("visits", "label", MATCH, "--stranger", "--person", "Ada")[0] == 2
    assert run("visits", "label", MATCH, "--stranger", "--add-template")[0] == 2


def test_a_picture_becomes_a_template_only_if_it_passes(
    run: Run, state: Path, portrait_files: dict[str, Path], tmp_path: Path
) -> None:
    key, file = tmp_path / "gallery.key", tmp_path / "default.toml"
    write_key(key, material := new_key())
    file.write_text(file.read_text() + f'pictures = true\npicture_days = 365\n[gallery]\nkey_file = "{key}"\n')
    (state / "explain-default.sqlite").unlink()  # it is not sealed
    config = Config(device=DeviceConfig(state_dir=str(state)))
    with closing(Journal(config.explain_path, DecisionConfig(), Keys(key))) as journal:
        journal._write(track(2, 600, 605))
    picture = portrait_files["hopper"].read_bytes()
    with closing(Pictures(config.pictures_path, Cipher(material).derived("pictures"), 365, 50)) as pictures:
        pictures.add(UNKNOWN, 2e9, None, picture)
    run("enroll", "--name", "Ada", "--image", str(portrait_files["collins"]))
    run("enroll", "--name", "Grace", "--image", str(portrait_files["hopper"]))

    code, _, err = run("visits", "label", UNKNOWN, "--person", "Ada", "--add-template")
    assert code == 4 and "resembles grace" in err
    code, out, err = run("visits", "label", UNKNOWN, "--person", "Grace", "--add-template")
    assert code == 0 and "Grace has one more template" in err and "Grace (missed)" in out
    with Gallery(config.gallery_path, Keys(key)) as gallery:
        assert [len(p.templates) for p in gallery.people()] == [1, 2]
    assert run("visits", "picture", UNKNOWN, str(tmp_path / "p.jpg"))[0] == 0
    assert (tmp_path / "p.jpg").read_bytes() == picture and (tmp_path / "p.jpg").stat().st_mode & 0o77 == 0
    assert "erased 1 pictures" in run("visits", "erase-pictures", "--yes")[1]
    code, _, err = run("visits", "label", UNKNOWN, "--person", "Grace", "--add-template")
    assert code == 4 and "got none" in err
