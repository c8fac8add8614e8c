"""One-shot recognition on the edge. Importing the package loads no interpreter, camera, broker or image library."""

__version__ = "0.1.0"
