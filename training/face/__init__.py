"""Distillation of the face encoder from two networks. Results: docs/explanation/encoder.md."""
