"""An example of a PAD plug-in, and NOT a PAD method: it calls every bright face an attack, and detects no attack."""

from edge_oneshot.types import PadDecision, PadResult


class DemoPad:
    name = "demo-pad 1 (an example, detects nothing)"
    limit = 150.0  # mean of the chip, 0-255

    def judge(self, frame, face, chip):
        score = float(chip.pixels.mean()) - self.limit
        return PadResult(
            decision=PadDecision.ATTACK if score > 0 else PadDecision.BONA_FIDE, score=score, method=self.name
        )
