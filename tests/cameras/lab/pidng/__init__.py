"""Stands in for the raw-file writer of the same name, which has no wheel: no raw file is written here."""
