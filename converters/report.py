"""The certificate as one self-contained HTML page, with the stylesheet and the charts of the reports of `edge-oneshot evaluate`."""

from __future__ import annotations

import html

import numpy as np

from converters.certify import Certificate, as_text
from edge_oneshot.evaluation.reports.charts import densities, trade_off
from edge_oneshot.evaluation.reports.html import Page, items, paragraph, section, side_by_side, table


def report_page(certificate: Certificate, name: str, latency_ms: dict[str, float], passes: tuple[str, ...]) -> str:
    """The whole page. latency_ms: median invoke() on this machine, one thread, "float" and "int8"."""
    r, mated = certificate.record, certificate.pairs.mated
    scores = {
        side: s.astype(np.float64) for side, s in (("float", certificate.float_score), ("int8", certificate.int8_score))
    }
    kinds = {
        f"{side} {kind}": s[mated if kind == "mated" else ~mated]
        for side, s in scores.items()
        for kind in ("mated", "non-mated")
    }
    times = ", ".join(f"{side} {ms:.1f} ms" for side, ms in latency_ms.items())
    trials = {side: (s[mated], s[~mated]) for side, s in scores.items()}
    rates = ("FMR", "FNMR")
    layers = [(f"{n.kind} {n.name}", f"{n.snr_db:.1f}", f"{n.lost_db:.1f}") for n in certificate.layers]
    return Page(
        title=f"{name}: {'certified' if r['passed'] else 'not certified'}",
        lead=(r["protocol"],),
        sections=(
            section("Certificate", items(r["reasons"]), f"<pre>{html.escape(as_text(certificate, 0))}</pre>"),
            section(
                "Scores and errors",
                side_by_side(
                    densities(
                        "Comparison scores", "Distribution of the scores of the float and the int8 model.", kinds
                    ),
                    trade_off(
                        "Detection error trade-off (DET)",
                        "The false non-match rate (FNMR) against the false match rate (FMR) as the threshold moves.",
                        rates,
                        trials,
                    ),
                ),
                paragraph(f"Median time of one inference on the machine that converted, one thread: {times}."),
            ),
            section("Conversion steps", items(passes, "ol")),
            section("Layers, largest loss first", table(("layer", "SNR (dB)", "lost (dB)"), layers)),
        ),
    ).html()
