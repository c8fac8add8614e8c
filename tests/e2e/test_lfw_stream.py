"""20 people enrolled from one picture each; other pictures of them, and of 20 others, streamed through the daemon process."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

import pytest
from device import Device
from mosquitto import Subscriber
from pictures import Lfw, Pixels, empty_scene, frame
from waiting import wait_until

from edge_oneshot.cameras.images import load_image
from edge_oneshot.errors import EnrollmentError
from edge_oneshot.gallery.naming import propose_id
from edge_oneshot.gallery.store import Gallery
from edge_oneshot.matching.compare import References
from edge_oneshot.recognition.enrollment import enroll_from_frame
from edge_oneshot.recognition.pipeline import Pipeline
from edge_oneshot.types import Identity

PEOPLE = 20
FPS, SHOWN, PAUSE = 10, 6, 6  # frames per second; of each appearance; of an empty wall behind it
MATCHES = 18  # of 20, at least: FNMR of the shipped bundle at FMR 1e-4 is some 5 % per comparison


@pytest.mark.slow
def test_twenty_enrolled_and_twenty_strangers(
    make_device: Callable[..., Device], subscriber: Subscriber, lfw: Lfw, pipeline: Pipeline, collins: Pixels
) -> None:
    device = make_device(fps=FPS, decision={"unknown_frames": 5, "gone_after_s": 0.4})
    people = sorted(name for number in (5, 6) for name, count in lfw.sets[number] if count >= 2)
    nobody = References(pipeline.encoder.card.comparator, pipeline.encoder.encoder_id, ())
    mated: list[tuple[str, str]] = []
    refused = 0
    with Gallery(device.state / "gallery.sqlite") as gallery:
        anchor = enroll_from_frame(pipeline, frame(collins), Identity(identity_id="anchor", name="Anchor"), nobody)
        gallery.add(anchor.identity, [anchor.template])
        for name in people:
            identity = Identity(identity_id=propose_id(name), name=name)
            try:
                enrolled = enroll_from_frame(pipeline, load_image(lfw.picture(name, 1)), identity, nobody)
            except EnrollmentError:
                refused += 1  # several faces, mostly
                continue
            gallery.add(identity, [enrolled.template])
            mated.append((name, identity.identity_id))
            if len(mated) == PEOPLE:
                break
    strangers = people[-PEOPLE:]
    assert not {name for name, _ in mated} & set(strangers)

    # The anchor comes first: the time of its match shows which frame the times of the events count from.
    wall = [empty_scene()] * PAUSE
    device.camera.show([*[collins] * SHOWN, *wall])
    shown: list[str | None] = ["anchor"]
    for pair, stranger in zip(mated, strangers, strict=True):
        for name, number, identity_id in ((pair[0], 2, pair[1]), (stranger, 1, None)):
            device.camera.show([*[lfw.picture(name, number)] * SHOWN, *wall])
            shown.append(identity_id)
    device.start(ready=False)
    assert device.ends() == 0, device.log()
    wait_until(lambda: [h for h in subscriber.on("/availability") if h.payload == b"offline"], "the end")

    matches = [h.json for h in subscriber.on("/event") if h.json["event_type"] == "match"]
    start = datetime.fromisoformat(matches[0]["ts"])

    def appearance(event: dict[str, str]) -> int:
        frames = (
            datetime.fromisoformat(event["ts"]) - start
        ).total_seconds() * FPS + 2  # the first match came with frame 2
        return int((frames + 0.5) // (SHOWN + PAUSE))

    found = {appearance(m): m["identity"] for m in matches}
    false = {i: identity for i, identity in found.items() if shown[i] != identity}
    assert false == {}
    assert len(matches) == len(found)
    right = sum(1 for identity in found.values() if identity != "anchor")
    print(f"{right} of {PEOPLE} mated appearances matched, no false match; {refused} pictures refused at enrollment")
    assert right >= MATCHES
    unknown = {appearance(h.json) for h in subscriber.on("/event") if h.json["event_type"] == "unknown"}
    assert not {i for i in unknown if shown[i] is not None and i in found}
