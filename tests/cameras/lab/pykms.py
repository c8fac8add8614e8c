"""Stands in for the display library of the same name, which Debian does not package: nothing is displayed here."""


class _Any(type):
    def __getattr__(cls, name: str) -> None:
        return None


class PixelFormat(metaclass=_Any):
    pass
