"""The face encoder: distilled from two networks into the shape of one. What it gave: docs/explanation/encoder.md."""
