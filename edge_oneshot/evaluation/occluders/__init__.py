"""Things that hide a face, rendered by landmarks: masks, sunglasses, caps, hoods, scarves, hands, phones.

`occlude` serves training, benchmarks and evaluation. Each kind has shapes and textures that are held out for reports.
"""

from edge_oneshot.evaluation.occluders.render import KINDS, LEARNT, occlude

__all__ = ["KINDS", "LEARNT", "occlude"]
