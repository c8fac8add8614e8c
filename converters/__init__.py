"""Workstation side: a trained model becomes one int8 bundle, certified. Never imported by the device's package."""
