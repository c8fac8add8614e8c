"""The certificate as one HTML page that needs nothing else: no script, no font, no picture from elsewhere."""

from __future__ import annotations

import html
import json
from statistics import NormalDist

import numpy as np

from converters.certify import Certificate, as_text
from converters.graph import Array

_COLOURS = {"float": "#1b6ca8", "int8": "#d1495b"}
_W, _H, _PAD = 520, 300, 46
_TICKS = (1e-5, 1e-4, 1e-3, 1e-2, 0.1, 0.4)
_STYLE = """body{font:16px/1.5 system-ui,sans-serif;max-width:70rem;margin:2rem auto;padding:0 1rem;color:#222}
pre{background:#f5f5f2;padding:1rem;overflow-x:auto;font-size:13px}figure{display:inline-block;margin:0 1rem 1rem 0}
figcaption{font-size:14px}svg text{font:11px system-ui,sans-serif;fill:#444}.no{color:#a4161a}.yes{color:#2d6a4f}
table{border-collapse:collapse;font-size:13px}td,th{padding:.1rem .7rem;text-align:right}td:last-child{text-align:left}"""


def _line(x: Array, y: Array, colour: str, dash: str = "") -> str:
    points = " ".join(f"{a:.1f},{b:.1f}" for a, b in zip(x, y, strict=True))
    return f'<polyline fill="none" stroke="{colour}" stroke-width="1.6" stroke-dasharray="{dash}" points="{points}"/>'


def _frame(body: list[str], x_label: str, y_label: str, title: str) -> str:
    axes = (f'<path d="M{_PAD} {_PAD / 2} V{_H - _PAD} H{_W - 8}" fill="none" stroke="#888"/>'
            f'<text x="{_W / 2}" y="{_H - 8}" text-anchor="middle">{x_label}</text>'
            f'<text x="12" y="{_H / 2}" text-anchor="middle" transform="rotate(-90 12 {_H / 2})">{y_label}</text>')
    return (f'<svg width="{_W}" height="{_H}" viewBox="0 0 {_W} {_H}" role="img" aria-label="{title}">'
            + axes + "".join(body) + "</svg>")


def _legend(entries: list[tuple[str, str, str]]) -> str:
    rows = []
    for i, (name, colour, dash) in enumerate(entries):
        y = 20 + 15 * i
        rows.append(f'<path d="M{_W - 150} {y - 4} h22" stroke="{colour}" stroke-width="2" stroke-dasharray="{dash}"/>'
                    f'<text x="{_W - 122}" y="{y}">{name}</text>')
    return "".join(rows)


def histogram(certificate: Certificate) -> str:
    """Densities of mated and non-mated scores, float and int8, as SVG."""
    mated = certificate.pairs.mated
    scores = {"float": certificate.float_score, "int8": certificate.int8_score}
    low = min(float(s.min()) for s in scores.values())
    high = max(float(s.max()) for s in scores.values())
    edges = np.linspace(low, high, 81)
    x = _PAD + (edges[:-1] + edges[1:] - 2 * low) / 2 / (high - low) * (_W - _PAD - 12)
    curves = {(side, kind): np.histogram(s[mated if kind == "mated" else ~mated], edges, density=True)[0]
              for side, s in scores.items() for kind in ("mated", "non-mated")}
    top = max(float(c.max()) for c in curves.values())
    body = [_line(x, _H - _PAD - c / top * (_H - 1.5 * _PAD), _COLOURS[side], "4 3" if kind == "mated" else "")
            for (side, kind), c in curves.items()]
    for value in np.linspace(low, high, 6):
        at = _PAD + (value - low) / (high - low) * (_W - _PAD - 12)
        body.append(f'<text x="{at:.0f}" y="{_H - _PAD + 16}" text-anchor="middle">{value:.2f}</text>')
    body.append(_legend([(f"{side} {kind}", _COLOURS[side], "4 3" if kind == "mated" else "") for side, kind in curves]))
    return _frame(body, "comparison score", "density", "score histograms")


def det(certificate: Certificate) -> str:
    """Detection error trade-off: FNMR over FMR on normal deviate axes (ISO/IEC 19795-1), as SVG."""
    normal = NormalDist()
    z = {t: normal.inv_cdf(t) for t in _TICKS}
    low, high = z[_TICKS[0]], z[_TICKS[-1]]

    def place(values: Array, vertical: bool) -> Array:
        share = np.array([(normal.inv_cdf(float(np.clip(v, 1e-6, 0.5))) - low) / (high - low) for v in values])
        share = np.clip(share, 0, 1)
        return np.asarray(_H - _PAD - share * (_H - 1.5 * _PAD) if vertical else _PAD + share * (_W - _PAD - 12))

    body, mated = [], certificate.pairs.mated
    for side, score in (("float", certificate.float_score), ("int8", certificate.int8_score)):
        genuine, other = np.sort(score[mated]), np.sort(score[~mated])
        at = np.quantile(other, 1 - np.geomspace(1e-5, 0.4, 120))
        fmr = 1 - np.searchsorted(other, at) / len(other)
        fnmr = np.searchsorted(genuine, at) / len(genuine)
        body.append(_line(place(fmr, False), place(fnmr, True), _COLOURS[side]))
    for t in _TICKS:
        (x,), (y,) = place(np.array([t]), False), place(np.array([t]), True)
        body.append(f'<path d="M{x:.0f} {_H - _PAD} V{_PAD / 2} M{_PAD} {y:.0f} H{_W - 8}" stroke="#eee"/>'
                    f'<text x="{x:.0f}" y="{_H - _PAD + 16}" text-anchor="middle">{t:g}</text>'
                    f'<text x="{_PAD - 4}" y="{y + 4:.0f}" text-anchor="end">{t:g}</text>')
    body.append(_legend([("float", _COLOURS["float"], ""), ("int8", _COLOURS["int8"], "")]))
    return _frame(body, "false match rate", "false non-match rate", "DET curves")


def page(certificate: Certificate, name: str, latency_ms: dict[str, float], passes: tuple[str, ...]) -> str:
    """The whole page. latency_ms: median invoke() on this machine, one thread, "float" and "int8"."""
    r = certificate.record
    verdict = "certified" if r["passed"] else "not certified"
    reasons = "".join(f"<li>{html.escape(reason)}</li>" for reason in r["reasons"])
    layers = "".join(f"<tr><td>{n.snr_db:.1f}</td><td>{n.lost_db:.1f}</td><td>{html.escape(n.kind)} {html.escape(n.name)}</td></tr>"
                     for n in certificate.layers)
    times = ", ".join(f"{side} {ms:.1f} ms" for side, ms in latency_ms.items())
    return f"""<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>{html.escape(name)}: {verdict}</title><style>{_STYLE}</style></head><body>
<h1>{html.escape(name)}: <span class="{'yes' if r['passed'] else 'no'}">{verdict}</span></h1><ul>{reasons}</ul>
<p>{html.escape(r['protocol'])}</p>
<pre>{html.escape(as_text(certificate, 0))}</pre>
<figure>{histogram(certificate)}<figcaption>Comparison scores</figcaption></figure>
<figure>{det(certificate)}<figcaption>Detection error trade-off</figcaption></figure>
<p>Median time of one inference on the machine that converted, one thread: {times}.</p>
<h2>What was done</h2><ol>{''.join(f'<li>{html.escape(p)}</li>' for p in passes)}</ol>
<h2>Layers, largest loss first</h2>
<table><tr><th>SNR dB</th><th>lost dB</th><th>layer</th></tr>{layers}</table>
<h2>Record</h2><pre>{html.escape(json.dumps(r, indent=1))}</pre></body></html>
"""
