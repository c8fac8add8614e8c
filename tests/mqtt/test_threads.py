"""Many threads that use one link, its states and its outbox at the same time."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from link_parts import MakeLink, empty, until
from mosquitto import Mosquitto, Subscriber
from mqtt_parts import event, wait_until

from edge_oneshot.config import MqttConfig
from edge_oneshot.events.outbox import Outbox
from edge_oneshot.mqtt.client import MqttLink

SECONDS = 2.0


@pytest.fixture
def fast_switching() -> Iterator[None]:
    """Python changes threads a thousand times as often as usual."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(5e-6)
    yield
    sys.setswitchinterval(before)


def at_the_same_time(*jobs: Callable[[int], object]) -> list[BaseException]:
    """Repeat each job, with a number that rises, on a thread of its own; returns what was raised."""
    raised: list[BaseException] = []
    end = time.monotonic() + SECONDS

    def work(job: Callable[[int], object]) -> None:
        number = 0
        try:
            while time.monotonic() < end and not raised:
                job(number)
                number += 1
        except BaseException as e:
            raised.append(e)

    threads = [threading.Thread(target=work, args=(job,)) for job in jobs]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    return raised


def test_every_method_may_be_called_from_any_thread(
    broker: Mosquitto, outbox: Outbox, make_link: MakeLink, fast_switching: None
) -> None:
    # Many topics of an earlier process: a loop over them takes long enough for another thread to add one.
    others = [(f"edge-oneshot/porch/other/{n}",) for n in range(3000)]
    outbox._file.run(lambda db: db.execute_many("INSERT INTO retained (topic) VALUES (?)", others), None)
    link = make_link(broker.port)
    link.start()
    until(link, "online")
    state, base = link.topics.person_state, f"{link.topics.base}/person/"
    raised = at_the_same_time(
        lambda n: link.set_state(state(f"a{n % 300}"), "ON"),
        lambda n: link.set_state(state(f"b{n % 300}"), {"n": n}),
        lambda n: link.clear_others(base, [state("a1")]),
        lambda n: link.clear_state(state(f"a{n % 300}")),
        lambda n: link.republish(base),
        lambda n: link.reply("edge-oneshot/porch/response/x", {"n": n}),
        lambda n: link.picture(b"x"),
        lambda n: (outbox.events.commit(event()), link.wake()),
        lambda n: link.status(),
    )
    assert raised == []
    assert link.status().state == "online" and outbox.events.status().fault == ""
    link.clear_others(base, [])
    wait_until(lambda: outbox.topics.to_empty() == [], "every topic to be emptied")
    assert [t for t in outbox.topics.retained() if t.startswith(base)] == []
    empty(outbox)
    with Subscriber(broker.port) as latecomer:
        latecomer.wait("/availability")
        assert latecomer.on("/state") == []


def test_states_and_topics_agree_when_a_topic_is_set_and_emptied_at_once(tmp_path: Path, fast_switching: None) -> None:
    """A process that starts later must know of each value that the broker keeps, and empty no topic that is in use."""
    box = Outbox(tmp_path / "o.sqlite")
    link = MqttLink(MqttConfig(), "porch", box)
    topics = [link.topics.person_state(f"p{n}") for n in range(3)]

    def acknowledge(_: int) -> None:
        if (sent := link._states.next_unsent()) is not None:
            link._states.acknowledged(*sent)

    raised = at_the_same_time(
        lambda n: link.set_state(topics[n % 3], "ON"),
        lambda n: link.set_state(topics[n % 3], "OFF"),
        lambda n: link.clear_state(topics[n % 3]),
        acknowledge,
        acknowledge,
    )
    assert raised == []
    in_use = sorted([link.topics.availability, *(t for t, value in link._states._values.items() if value)])
    to_empty = sorted(t for t, value in link._states._values.items() if not value)
    assert box.topics.to_empty() == to_empty
    assert [t for t in box.topics.retained() if t not in to_empty] == in_use
    link.stop()
    box.close()
