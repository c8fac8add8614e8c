"""What the person in front of the camera can do, as one sentence: the same on the page, over MQTT and in the terminal."""

from __future__ import annotations

from collections.abc import Sequence

from edge_oneshot.types import Fault

LOOK, HOLD = "Look at the camera.", "Hold still."
EVERY_NS = 1_000_000_000  # between two sentences

# Fault code -> sentence, in the order that helps: a face that is too small or in the dark is measured badly in other ways, too.
HINTS = {
    "no_frame": "Wait: the camera has delivered no picture yet.",
    "frozen": "Wait: the camera repeats one picture.",
    "no_face": "Stand 0.5 to 2 m in front of the camera, and look at it.",
    "several_faces": "One person at a time: let the others step aside.",
    "too_far": "Come closer.",
    "cropped": "Move to the middle of the picture.",
    "too_dark": "Turn to the lamp, or switch on a light.",
    "too_bright": "Turn away from the bright light.",
    "flat": "Turn to the lamp. If this does not help, clean the lens.",
    "turned": "Turn your face to the camera.",
    "tilted": "Look straight at the camera, with your head upright.",
    "hidden": "Uncover your face: no hand, dark glasses or mask.",
    "blurred": "Hold still. If this does not help, add light or check the focus.",
}


def hint(faults: Sequence[Fault]) -> str:
    """The sentence for the fault that should be corrected first; "" without a fault.

    A fault that is not in the catalogue, as of a plug-in, is said in its own words.
    """
    codes = {fault.code for fault in faults}
    first = next((text for code, text in HINTS.items() if code in codes), None)
    return first or next((fault.message for fault in faults), "")


class Prompter:
    """Sentences for one person, at most one a second: nobody can follow more."""

    def __init__(self, text: str, now_ns: int) -> None:
        self.text, self._said_ns = text, now_ns

    def say(self, text: str, now_ns: int) -> None:
        """Replace the sentence, unless the last one is not a second old. now_ns: on the clock of the frames."""
        if text != self.text and now_ns - self._said_ns >= EVERY_NS:
            self.text, self._said_ns = text, now_ns
