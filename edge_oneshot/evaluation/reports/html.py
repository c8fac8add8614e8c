"""A report as one HTML page that loads nothing: no script, no font, no image. People are named, never shown.

Every page of the project uses this stylesheet. A chart is inline SVG (charts.py).
"""

from __future__ import annotations

import html
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edge_oneshot import __version__
from edge_oneshot.errors import EdgeOneshotError

LIGHT = (
    "--page:#fff;--text:#1b1f23;--soft:#57606a;--rule:#d3d9de;--band:#f3f5f7;--link:#0a58a8;"
    "--s0:#0a62b4;--s1:#b5321e;--s2:#1f7446;--s3:#855600;--s4:#6a41a6;--s5:#00727d"
)
DARK = (
    "--page:#14171a;--text:#e3e7eb;--soft:#a2acb6;--rule:#3a434c;--band:#1d2227;--link:#7fb9f2;"
    "--s0:#6cb0f3;--s1:#ff9182;--s2:#6bcf98;--s3:#edb64c;--s4:#c4a8f6;--s5:#56d0d9"
)
STYLE = f"""
:root{{color-scheme:light dark;{LIGHT}}}
@media (prefers-color-scheme:dark){{:root{{{DARK}}}}}
@media print{{:root{{color-scheme:light;{LIGHT}}}}}
*{{box-sizing:border-box}}
body{{margin:0;background:var(--page);color:var(--text);font:1rem/1.55 system-ui,-apple-system,"Segoe UI",sans-serif}}
main{{max-width:70rem;margin:0 auto;padding:1.5rem 1rem 3rem}}
h1{{font-size:1.7rem;line-height:1.2;margin:.3rem 0 .8rem}}
h2{{font-size:1.2rem;line-height:1.3;margin:2rem 0 .5rem}}
p,ul,ol{{max-width:46rem;margin:.5rem 0}}
a{{color:var(--link)}}
pre{{background:var(--band);padding:.8rem 1rem;overflow-x:auto;font-size:.82rem;line-height:1.45}}
footer{{margin-top:2.5rem;padding-top:.8rem;border-top:1px solid var(--rule);color:var(--soft);font-size:.88rem;
overflow-wrap:anywhere}}
.scroll{{overflow-x:auto;margin:.8rem 0;min-width:0}}
table{{border-collapse:collapse;font-size:.92rem;font-variant-numeric:tabular-nums}}
.caption{{color:var(--soft);font-size:.88rem;margin:1rem 0 -.6rem}}
th,td{{padding:.3rem .8rem .3rem 0;text-align:left;vertical-align:bottom;border-bottom:1px solid var(--rule)}}
th:not(:first-child),td{{padding-left:.8rem}}
td,tbody th{{white-space:nowrap}}
thead th{{font-weight:600}}
tbody th{{font-weight:400}}
.n{{text-align:right}}
.columns>*{{min-width:0}}
.columns{{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(100%,26rem),1fr));gap:1rem 2rem}}
figure{{margin:.8rem 0;max-width:33rem;min-width:0}}
figure svg.chart{{display:block;width:100%;height:auto;margin:.4rem 0}}
figcaption strong{{display:block}}
figcaption,.legend{{font-size:.92rem}}
.legend{{list-style:none;padding:0;display:flex;flex-wrap:wrap;gap:.1rem 1.2rem}}
.legend svg{{width:30px;height:10px;margin-right:.4rem;vertical-align:middle}}
svg text{{font:14px system-ui,-apple-system,"Segoe UI",sans-serif;fill:var(--text)}}
svg path,svg polyline{{fill:none}}
@media (max-width:36rem){{tbody th{{white-space:normal;min-width:5.5rem}}table{{font-size:.85rem}}
th:not(:first-child),td{{padding-left:.4rem}}th,td{{padding-right:.4rem}}}}
.grid{{stroke:var(--rule)}}
.axis{{stroke:var(--soft)}}
.mark{{stroke:var(--soft);stroke-dasharray:2 3;stroke-width:1.5}}
""" + "".join(f".s{i}{{stroke:var(--s{i});stroke-width:2}}circle.s{i}{{fill:var(--s{i})}}\n" for i in range(6))


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """lead: what was measured and how, one paragraph each. sections: HTML. encoder_id: of the measured model."""

    title: str
    lead: Sequence[str]
    sections: Sequence[str]
    encoder_id: str = ""

    def html(self, record: str = "") -> str:
        """The whole page. record: the name of a JSON file beside it, to link to."""
        title = html.escape(self.title)
        name = html.escape(record)
        link = f'<p>All values as JSON: <a href="{name}">{name}</a></p>' if record else ""
        encoder = f"; encoder {html.escape(self.encoder_id)}" if self.encoder_id else ""
        return (
            '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
            '<meta name="viewport" content="width=device-width, initial-scale=1">'
            f'<meta name="color-scheme" content="light dark"><title>{title}</title><style>{STYLE}</style></head>\n'
            f"<body><main><header><h1>{title}</h1>{''.join(map(paragraph, self.lead))}</header>\n"
            + "\n".join(self.sections)
            + f"\n<footer>{link}<p>edge-oneshot {html.escape(__version__)}{encoder}</p></footer>"
            "</main></body></html>\n"
        )

    def write(self, path: Path, result: dict[str, Any]) -> tuple[Path, Path]:
        """Write the page, and beside it the result as JSON, as --json prints it. Returns both paths.

        Raises EdgeOneshotError.
        """
        record = path.with_suffix(".json")
        if record == path:
            raise EdgeOneshotError(
                f"cannot write the page to {path}: its values are written to the .json file beside it",
                "give the page a name that ends in .html",
            )
        try:
            path.write_text(self.html(record.name), encoding="utf-8")
            record.write_text(json.dumps(result, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
        except OSError as e:
            raise EdgeOneshotError(
                f"cannot write {e.filename}: {e.strerror}", "give a file in a writable folder"
            ) from None
        return path, record


def escaped(text: str) -> str:
    """The text as HTML, with no line break between a number and its per cent sign."""
    return html.escape(re.sub(r"(?<=\d) %", "\N{NO-BREAK SPACE}%", text))


def paragraph(text: str) -> str:
    return f"<p>{escaped(text)}</p>"


def section(heading: str, *parts: str) -> str:
    return f"<section><h2>{html.escape(heading)}</h2>{''.join(parts)}</section>"


def items(texts: Sequence[str], tag: str = "ul") -> str:
    """A list; tag: "ul" or "ol"."""
    return f"<{tag}>{''.join(f'<li>{html.escape(t)}</li>' for t in texts)}</{tag}>"


def side_by_side(*parts: str) -> str:
    """Charts or tables side by side where there is room."""
    return f'<div class="columns">{"".join(parts)}</div>'


def table(head: Sequence[str], rows: Sequence[Sequence[object]], caption: str = "") -> str:
    """The first column names the row. A column of numbers is aligned to the right."""
    texts = [["" if v is None else str(v) for v in row] for row in rows]
    numeric = [
        bool(texts) and all(re.match(r"[-+]?\d|not measured|$", row[i]) for row in texts) for i in range(len(head))
    ]
    numeric[0] = False

    def cell(i: int, text: str, tag: str) -> str:
        kind = ' class="n"' if numeric[i] else ""
        return f"<{tag}{kind}>{html.escape(text)}</{tag.split()[0]}>"

    def line(row: Sequence[str]) -> str:
        return "<tr>" + "".join(cell(i, t, "td" if i else 'th scope="row"') for i, t in enumerate(row)) + "</tr>"

    top = "".join(cell(i, name, 'th scope="col"') for i, name in enumerate(head))
    named = html.escape(caption or ", ".join(h for h in head if h))
    above = f'<p class="caption">{html.escape(caption)}</p>' if caption else ""
    return (
        f'<div>{above}<div class="scroll" role="region" tabindex="0" aria-label="{named}"><table>'
        f"<thead><tr>{top}</tr></thead><tbody>{''.join(map(line, texts))}</tbody></table></div></div>"
    )
