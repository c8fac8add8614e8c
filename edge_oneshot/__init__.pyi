# The public API for type checkers. edge_oneshot/__init__.py gives the same names when they are first used.
from edge_oneshot import errors as errors
from edge_oneshot.cameras import open_camera as open_camera
from edge_oneshot.config import Config as Config
from edge_oneshot.recognition.enrollment import Enrollment as Enrollment
from edge_oneshot.recognition.recognition import Recognition as Recognition
from edge_oneshot.recognition.recognizer import Recognizer as Recognizer
from edge_oneshot.types import Box as Box
from edge_oneshot.types import Decision as Decision
from edge_oneshot.types import DecisionKind as DecisionKind
from edge_oneshot.types import Frame as Frame
from edge_oneshot.types import Identity as Identity
from edge_oneshot.types import Observation as Observation
from edge_oneshot.types import Quality as Quality
from edge_oneshot.types import Rate as Rate
from edge_oneshot.types import Sample as Sample

__version__: str
__all__ = [
    "Box",
    "Config",
    "Decision",
    "DecisionKind",
    "Enrollment",
    "Frame",
    "Identity",
    "Observation",
    "Quality",
    "Rate",
    "Recognition",
    "Recognizer",
    "Sample",
    "__version__",
    "errors",
    "open_camera",
]
