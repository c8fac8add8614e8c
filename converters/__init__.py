"""Converts a trained model to one certified int8 bundle. For a workstation; edge_oneshot never imports it."""
