"""What a door states about itself."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class DoorReport:
    """The door's own rates at the threshold in force. fmr, fpir and their 95 % intervals: None while they are not known.

    visits: of unknown people, on `days` days, that were counted; no rate is stated below `needed`. fpir: of a visit, against
    all people who are measured. missed: share of the counted visits that were enrolled people, as estimated. raised: part
    of the threshold in force. above: the lower bound exceeds the stated rate.
    """

    visits: int
    needed: int
    days: int
    raised: float
    fmr: float | None = None
    fmr_low: float | None = None
    fmr_high: float | None = None
    fpir: float | None = None
    fpir_low: float | None = None
    fpir_high: float | None = None
    missed: float | None = None
    above: bool = False

    def words(self, *, fpir: bool) -> str:
        """One line for people, beside Rate.words. fpir: the stated rate is an FPIR."""
        kind, rate, low, high = "FMR", self.fmr, self.fmr_low, self.fmr_high
        if fpir:
            kind, rate, low, high = "FPIR", self.fpir, self.fpir_low, self.fpir_high
        counted = f"from {self.visits} visits of unknown people on {self.days} days"
        raised = f"; threshold raised by {self.raised:.3f}" if self.raised else ""
        if rate is None or low is None or high is None or self.missed is None:
            return f"this door: no rate is known yet, {counted} (needed: {self.needed} visits, and some with a high score){raised}"
        above = ", above the stated rate" if self.above else ""
        return (
            f"this door: {kind} {100 * rate:.2g} % (95 % interval {100 * low:.2g} to {100 * high:.2g} %){above}, {counted}, of which "
            f"about {100 * self.missed:.0f} % were enrolled people who were missed{raised}"
        )
