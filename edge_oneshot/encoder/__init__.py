"""Chip -> embedding: one half of the twin, run by the device. The other half of a comparison is a stored template."""

from edge_oneshot.encoder.twin import TwinEncoder

__all__ = ["TwinEncoder"]
