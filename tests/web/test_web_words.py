"""The catalogue: every sentence of the page is in it, and every one of it is used."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from edge_oneshot.web import words
from edge_oneshot.web.words import Words

WEB = Path(words.__file__).parent
TEMPLATES = sorted((WEB / "templates").glob("*.html"))
CODE = "\n".join(p.read_text(encoding="utf-8") for p in [*TEMPLATES, *sorted(WEB.rglob("*.py"))])
KEYS = Words().keys


def test_every_key_that_is_used_exists() -> None:
    used = set(re.findall(r'(?:\bt|words)\("([a-z_]+\.[a-z_0-9]+)"(?! [~+])', CODE))
    used |= set(re.findall(r'FormError\("([a-z_]+\.[a-z_]+)"', CODE))
    assert len(used) > 100
    assert used - KEYS == set()


def test_every_key_of_the_catalogue_is_used() -> None:
    # Keys that are put together, such as "visits.result_" ~ result.
    made = set(re.findall(r'"([a-z_]+\.[a-z_]*)"\s*(?:~|\+)', CODE)) | set(re.findall(r'f"([a-z_]+\.[a-z_]*)\{', CODE))
    unused = [k for k in KEYS if f'"{k}"' not in CODE and not any(k.startswith(m) for m in made)]
    unused = [k for k in unused if f"'{k}'" not in CODE and not k.endswith("_person")]
    assert unused == [], unused


@pytest.mark.parametrize("path", TEMPLATES, ids=lambda p: p.name)
def test_a_template_holds_no_sentence_of_its_own(path: Path) -> None:
    text = re.sub(r"\{% block width %\}\w+", "", path.read_text(encoding="utf-8"))
    text = re.sub(r"\{[{%].*?[%}]\}", "", text, flags=re.DOTALL)
    text = re.sub(r"<pre><code>edge-oneshot web pair</code></pre>", "", text)
    text = re.sub(r"<[^>]*>", " ", text, flags=re.DOTALL)
    assert re.findall(r"[A-Za-z]{2,}", text) == []
