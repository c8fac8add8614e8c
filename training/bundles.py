"""Writing a bundle that a trainer made."""

from __future__ import annotations

from pathlib import Path

from converters.card import Json
from edge_oneshot.model.bundle import Bundle, read_bundle, write_bundle
from edge_oneshot.model.encoder import TwinEncoder
from edge_oneshot.recognition.checked import trust_made_here


def write(out: Path, model: bytes, card: Json) -> Bundle:
    """Write the bundle once the device's own code has loaded it, and trust it for this user."""
    part = out.with_name(out.name + ".unproved")
    try:
        write_bundle(part, model, card)
        TwinEncoder(read_bundle(part))
        part.replace(out)
        trust_made_here(out)
    finally:
        part.unlink(missing_ok=True)
    return read_bundle(out)
