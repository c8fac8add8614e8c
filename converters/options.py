"""The options of edge-oneshot-convert, and what they say about the source."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from converters.card import About, Preparation
from converters.checks import check_source
from converters.passes.colour import bgr_to_rgb
from converters.sources import Source
from edge_oneshot.errors import ModelError
from edge_oneshot.model.card import InputSpec


@dataclass(frozen=True, kw_only=True)
class Options:
    """The command line. A field per argument or option of `command`."""

    source: Path
    calibration: Path | None
    out: Path
    mean: str | None
    std: str | None
    colour: str | None
    regions: str | None
    align: tuple[str, ...]
    mirror: bool
    certify: Path | None
    certify_pictures: Path | None
    max_tar_loss: float
    max_eer_loss: float
    max_float_eer: float
    draws: int
    report: Path | None
    force: bool
    source_check: bool
    reader: str
    finetune: bool
    finetune_steps: int
    pictures: int
    name: str | None
    version: str
    description: str
    licence: str
    training_data: str
    as_json: bool

    @property
    def calibration_folder(self) -> Path:
        """--calibration, or the folder of labelled pictures. ModelError: neither is given."""
        found = self.calibration or self.certify_pictures or self.certify
        if found is None:
            raise ModelError(
                "expected --calibration or --certify: int8 needs pictures of what the camera will see",
                "name a folder with 32 or more pictures",
            )
        return found

    @property
    def reversed_colours(self) -> bool:
        """The source takes BGR."""
        return self.colour == "BGR"

    @property
    def about(self) -> About:
        name = self.name or self.source.stem
        return About(
            name=name,
            version=self.version,
            description=self.description or f"{name}, converted by edge-oneshot-convert",
            source=self.source.name,
            licence=self.licence,
            training_data=self.training_data,
        )


def _numbers(text: str | None, name: str, count: int) -> list[float]:
    try:
        values = [float(v) for v in (text or "").split(",")]
    except ValueError:
        values = []
    if len(values) not in (1, count):
        raise ModelError(
            f"--{name}: expected one number or {count} separated by commas, got {text!r}",
            f"--{name} 127.5 or --{name} 123.7,116.3,103.5, for pixels from 0 to 255",
        )
    return values * count if len(values) == 1 else values


def _points(items: Sequence[str]) -> dict[str, list[float]]:
    found = {}
    for item in items:
        name, _, place = item.partition("=")
        try:
            x, y = (float(v) for v in place.split(","))
        except ValueError:
            raise ModelError(
                f"--align: expected NAME=X,Y in px of the chip, got {item!r}",
                "--align image_left_eye=38.3,51.7 --align image_right_eye=73.5,51.5 …",
            ) from None
        found[name] = [x, y]
    return found


def prepared(source: Source, o: Options) -> Preparation:
    """How pictures are prepared for the network: as the source states it, else as the options do.

    A network trained on BGR is changed to take RGB. ModelError: an option is missing; there are no defaults, since a
    wrong colour order costs accuracy without an error.
    """
    if source.preparation is not None:
        return source.preparation
    given = {"--mean": o.mean, "--std": o.std, "--colour": o.colour, "--regions": o.regions}
    missing = [name for name, value in given.items() if value is None]
    if o.regions == "face" and not o.align:
        missing.append("--align")
    if missing:
        raise ModelError(
            f"expected {', '.join(missing)}: the model file does not state how its training prepared the pictures",
            "give the values that the training used",
        )
    channels = 1 if o.colour == "L" else 3
    width, height = check_source(source.graph, channels)
    mean, std = _numbers(o.mean, "mean", channels), _numbers(o.std, "std", channels)
    if o.colour == "BGR":
        bgr_to_rgb(source.graph)
        mean, std = mean[::-1], std[::-1]
    return Preparation(
        input=InputSpec(
            width_px=width,
            height_px=height,
            channels=channels,
            colour="L" if channels == 1 else "RGB",
            mean=tuple(mean),
            std=tuple(std),
        ),
        regions="face" if o.regions == "face" else "frame",
        points=_points(o.align) if o.regions == "face" else {},
    )
