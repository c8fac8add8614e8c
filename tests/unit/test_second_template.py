"""`enroll --add`: one more template of a person, as for the night."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner
from pictures import Pixels, view

from edge_oneshot.cli import cli
from edge_oneshot.errors import GalleryError
from edge_oneshot.gallery.people import MAX_TEMPLATES
from edge_oneshot.recognition.recognizer import Recognizer


def test_the_best_template_counts_and_the_threshold_allows_for_it(
    recognizer: Recognizer, collins: Pixels, hopper: Pixels
) -> None:
    recognizer.enroll("Grace", hopper)
    recognizer.enroll("Eileen", collins)
    before = recognizer.threshold.value
    added = recognizer.enroll("Eileen", view(collins, 1), beside=True)
    assert added.own_score is not None and added.own_score > before
    assert recognizer.threshold.value > before
    assert [len(p.templates) for p in recognizer.people.gallery.people()] == [2, 1]
    for picture in (collins, view(collins, 1)):
        found = recognizer.identify_one(picture)
        assert found.identity == "eileen"
        assert (found.score or 0) > 0.99


def test_only_a_person_with_a_template_gets_another_one(recognizer: Recognizer, collins: Pixels) -> None:
    with pytest.raises(GalleryError, match="expected 1 to 4 templates of the current encoder, got 0"):
        recognizer.enroll("Eileen", collins, beside=True)
    assert recognizer.people.gallery.people() == []
    for number in range(MAX_TEMPLATES):
        recognizer.enroll("Eileen", collins, beside=number > 0)
    with pytest.raises(GalleryError, match="got 5"):
        recognizer.enroll("Eileen", collins, beside=True)
    assert len(recognizer.references) == MAX_TEMPLATES


def test_without_add_the_templates_stay_protected(recognizer: Recognizer, collins: Pixels) -> None:
    recognizer.enroll("Eileen", collins)
    with pytest.raises(GalleryError, match="already enrolled"):
        recognizer.enroll("Eileen", collins)
    recognizer.enroll("Eileen", collins, beside=True)
    recognizer.enroll("Eileen", collins, replace=True)
    assert len(recognizer.references) == 1


def test_the_command_warns_of_a_capture_of_somebody_else(tmp_path: Path, portrait_files: dict[str, Path]) -> None:
    config = tmp_path / "c.toml"
    config.write_text(f'[device]\nstate_dir = "{tmp_path}/state"\n')

    def enroll(picture: str, *flags: str) -> tuple[int, str]:
        words = ["--config", str(config), "enroll", "--name", "eileen", "--image", str(portrait_files[picture]), *flags]
        done = CliRunner().invoke(cli, words)
        return done.exit_code, done.output

    assert enroll("collins")[0] == 0
    code, said = enroll("collins", "--add")
    assert code == 0 and "warning: scores only" not in said
    code, said = enroll("hopper", "--add")
    assert code == 0 and "warning: scores only" in said
    code, said = enroll("collins", "--add", "--replace")
    assert code == 2 and "give one of them" in said
