"""What a person who was just enrolled can expect: how far away they are recognized, and who looks like them.

Only measured and modelled figures are stated; where there is none, a sentence says so.
"""

from __future__ import annotations

from edge_oneshot.config import CameraConfig, Config
from edge_oneshot.control.parts import Forecast, Nearest, RangeForecast
from edge_oneshot.matching import alike
from edge_oneshot.recognition import reach
from edge_oneshot.recognition.recognizer import Recognizer

LIGHTS = {"day": 1.0, "dusk": 0.25}


def forecast(
    config: Config, recognizer: Recognizer, name: str, nearest: Nearest | None, current: bool, width_px: int | None
) -> Forecast:
    """name: of the enrolled person. nearest: the most similar other person; current: compared by the current encoder.

    width_px: of the camera's frames; None: as configured.
    """
    ranges, far = _ranges(config, recognizer.encoder_id, width_px or _width(config.camera))
    share, like = None, f"{name} is the only enrolled person, so there is no one to be confused with."
    if nearest is not None:
        model = alike.read() if current else None
        if model is not None and model.encoder_id == recognizer.encoder_id:
            share = float(f"{model.share(nearest.score, nearest.threshold):.2g}")
        like = _like(name, recognizer.people.names.get(nearest.identity, nearest.identity), share, nearest, model)
    return Forecast(sentences=[far, like], ranges=ranges, taken_for=share)


def _width(camera: CameraConfig) -> int:
    return camera.width_px if camera.rotation in (0, 180) else camera.height_px


def _ranges(config: Config, encoder_id: str, width_px: int) -> tuple[list[RangeForecast], str]:
    table = reach.read()
    differs = ["no table of ranges"] if table is None else table.differs(encoder_id, config)
    if table is None or differs:
        return (
            [],
            "How far away people are recognized was not measured for this configuration "
            f"({', '.join(differs)}): see `evaluate conditions`.",
        )
    by_light = {light: table.distance_m(at, width_px, reach.FIELD_OF_VIEW_DEG) for light, at in LIGHTS.items()}
    ranges = [
        RangeForecast(light="day" if light == "day" else "dusk", metres=None if m is None else round(m, 1))
        for light, m in by_light.items()
    ]
    about = "at least" if width_px > table.width_px else "about"
    parts = [f"{about} {r.metres:.1f} m" if r.metres is not None else "not even close up" for r in ranges]
    text = (
        f"9 of 10 people who are recognized close up are still recognized at {parts[0]} by day, and at {parts[1]} at dusk (a "
        f"quarter of the brightness). Modelled from pictures of {table.people} people, for a lens of "
        f"{reach.FIELD_OF_VIEW_DEG:g} degrees."
    )
    return ranges, text.replace("at not even", "not even")


def _like(name: str, other: str, share: float | None, nearest: Nearest, model: alike.Alike | None) -> str:
    if share is None or model is None:
        return f"{other} is the most similar person. How often a picture of {other} matches {name} was not measured for this encoder."
    if nearest.score < model.lowest:
        return (
            f"No enrolled person looks like {name}: fewer than {_one_in(share)} pictures of {other}, the most similar person, "
            f"match {name}."
        )
    return f"{other} looks like {name}: about {_one_in(share)} pictures of {other} also match {name}."


def _one_in(share: float) -> str:
    """0.00025 -> "1 in 4,000"; two significant digits."""
    count = float(f"{1 / share:.2g}")
    return f"1 in {count:,.0f}" if count >= 3 else f"{100 * share:.0f} in 100"
