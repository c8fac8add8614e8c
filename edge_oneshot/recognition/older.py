"""The encoders of old templates. A bundle is read only when the gallery holds a template of an encoder not yet known."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from pathlib import Path

from edge_oneshot.errors import ModelError
from edge_oneshot.model.bundle import Bundle
from edge_oneshot.model.encoder import TwinEncoder
from edge_oneshot.recognition.pipeline import Pipeline

log = logging.getLogger(__name__)


class OlderEncoders:
    """Finds an encoder by its id among bundle files. pipeline: of the current encoder. read: a file. make: loads a bundle."""

    def __init__(
        self,
        paths: Iterable[Path],
        pipeline: Pipeline,
        read: Callable[[Path], Bundle],
        make: Callable[[Bundle], TwinEncoder],
    ) -> None:
        self._paths, self._pipeline, self._read, self._make = tuple(paths), pipeline, read, make
        self._ids: dict[Path, str] = {}  # of the bundles read so far; "" for one that cannot be used

    def __call__(self, encoder_id: str) -> TwinEncoder | None:
        """The encoder, loaded; None if no file holds it. A file that cannot be used is logged once and skipped."""
        for path in self._paths:
            if self._ids.get(path, encoder_id) != encoder_id:
                continue
            try:
                bundle = self._read(path)
                self.check(bundle)
                self._ids[path] = bundle.encoder_id
                if bundle.encoder_id == encoder_id:
                    log.info("loading %s for the people who have a template of it", bundle.encoder.name)
                    return self._make(bundle)
            except ModelError as e:
                self._ids[path] = ""
                log.error("old templates of this encoder are not compared: %s", e.message)
        return None

    def check(self, bundle: Bundle) -> None:
        """Raises ModelError unless the encoder can work beside the current one."""
        old, new, locator = bundle.encoder, self._pipeline.encoder.card, self._pipeline.locator
        fix = "name another bundle, and enroll the people again whose templates are of this one"
        if (old.regions, old.comparator.kind) != (new.regions, new.comparator.kind):
            raise ModelError(
                f"{bundle.path}: expected regions {new.regions!r} and comparator {new.comparator.kind!r} as of {new.name}, "
                f"got {old.regions!r} and {old.comparator.kind!r}",
                fix,
            )
        if locator is not None and (absent := set(old.alignment) - set(locator.refiner.card.landmarks)):
            raise ModelError(
                f"{bundle.path} alignment: expected landmarks of {locator.refiner.card.name}, got {sorted(absent)} too",
                fix,
            )
        if old.thresholds is None and old.cohort is None:
            raise ModelError(f"{bundle.path} thresholds: expected a table in the card, got none", fix)
