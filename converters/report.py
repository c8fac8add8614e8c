"""The certificate as one self-contained HTML page, in the style of the reports of `edge-oneshot evaluate`."""

from __future__ import annotations

import html

import numpy as np

from converters.certify import Certificate, as_text
from edge_oneshot.evaluation.page import densities, dets, page, table


def report_page(certificate: Certificate, name: str, latency_ms: dict[str, float], passes: tuple[str, ...]) -> str:
    """latency_ms: median time of one inference on this machine, one thread, for "float" and "int8"."""
    r, mated = certificate.record, certificate.pairs.mated
    result = "certified" if r["passed"] else "not certified"
    scores = {
        side: s.astype(np.float64) for side, s in (("float", certificate.float_score), ("int8", certificate.int8_score))
    }
    kinds = {
        f"{side} {kind}": s[mated if kind == "mated" else ~mated]
        for side, s in scores.items()
        for kind in ("mated", "non-mated")
    }
    times = ", ".join(f"{side} {ms:.1f} ms" for side, ms in latency_ms.items())
    return page(
        f"{name}: {result}",
        r["protocol"],
        [
            _list("ul", r["reasons"]),
            f"<pre>{html.escape(as_text(certificate, 0))}</pre>",
            densities("Comparison scores", kinds),
            dets(
                "Detection error trade-off",
                "false match rate",
                "false non-match rate",
                {side: (s[mated], s[~mated]) for side, s in scores.items()},
            ),
            f"<p>Median time of one inference on the converting machine, one thread: {times}.</p>",
            "<h2>Passes</h2>",
            _list("ol", passes),
            "<h2>Layers, largest loss first</h2>",
            table(
                ("layer", "SNR, dB", "loss, dB"),
                [(f"{n.kind} {n.name}", f"{n.snr_db:.1f}", f"{n.lost_db:.1f}") for n in certificate.layers],
            ),
        ],
        r,
    )


def _list(tag: str, items: tuple[str, ...] | list[str]) -> str:
    return f"<{tag}>{''.join(f'<li>{html.escape(i)}</li>' for i in items)}</{tag}>"
