"""What arrives from other processes: lines at the control socket, answers, MQTT requests, events for `listen` and `verify-event`."""

from __future__ import annotations

import contextlib
import io
import json
import socket
import threading
from collections.abc import Sequence
from pathlib import Path
from random import Random
from types import SimpleNamespace

from edge_oneshot.cli.listen import _Printer
from edge_oneshot.cli.live import LiveTable
from edge_oneshot.cli.verify_event import verify_event
from edge_oneshot.config import Config, DeviceConfig, ModelConfig, MqttConfig
from edge_oneshot.control.protocol import PendingRequest, read_answer
from edge_oneshot.control.requests import REQUESTS, List, Status
from edge_oneshot.control.server import ControlServer
from edge_oneshot.events.outbox import Outbox
from edge_oneshot.events.signing import Key, Sealer
from edge_oneshot.gallery.archive import to_document
from edge_oneshot.gallery.store import Gallery
from edge_oneshot.mqtt.client import MqttLink
from edge_oneshot.mqtt.commands import VERBS, MqttRequests
from edge_oneshot.mqtt.shared import Incoming
from edge_oneshot.recognition.recognizer import Recognizer
from edge_oneshot.service.requests import Requests
from edge_oneshot.shown import plain
from fuzzing.mutate import WORDS, dump_json, mutate_bytes, mutate_document, mutate_json
from fuzzing.sound import people
from fuzzing.target import READ, REFUSED, Silent, Target, Unclean

EVENT = {
    "schema": 1,
    "event_id": "0190-1",
    "event_type": "match",
    "ts": "2026-01-02T03:04:05.000Z",
    "expires_at": "2126-01-02T03:04:05.000Z",
    "device": "porch",
    "clock": "synced",
    "late": False,
    "identity": "alice",
    "name": "Alice",
    "score": 0.71,
    "margin": 0.19,
    "threshold": 0.52,
    "faults": ["too_small"],
    "quality": {"inter_eye_px": 41.0},
}


class Served:
    """A recognizer with five people and the handler of requests, as the daemon has them."""

    def __init__(self, folder: Path) -> None:
        config = Config(device=DeviceConfig(state_dir=str(folder)), model=ModelConfig(threads=1))
        with Gallery(config.gallery_path) as gallery:
            if not gallery.identities():
                gallery.add_all(people())
        self.recognizer = Recognizer.open(config)
        self.requests = Requests(self.recognizer, lambda event: None)

    def serve(self, pending: PendingRequest) -> None:
        self.requests.start(pending)
        self.requests.stop()  # no camera: what waits for frames ends
        if len(names := self.recognizer.people.names) > 40:  # people whom `import` added
            for identity_id in list(names)[5:]:
                self.recognizer.people.remove(identity_id)


class SocketLine(Target):
    """A line through the real socket to the handler of the daemon, whose answer must be one."""

    name, share = "control socket", 3.0

    def make_seeds(self) -> Sequence[bytes]:
        with Gallery(self.folder / "document.sqlite") as gallery:
            if not gallery.identities():
                gallery.add_all(people())
            document = to_document(gallery)
        arguments = {
            "enroll": {"name": "Eve", "image": "iVBORw0KGgo=", "replace": True, "timeout_s": 1},
            "import": {"document": document, "replace": True},
            "verify": {"name": "Alice", "image": "/9j/4AAQ", "source": "x.jpg"},
            "identify": {"image": "R0lGODlhAQABAAAAACw=", "source": "x"},
            "rename": {"name": "Li", "to": "Lee"},
            "show": {"name": "id:p2"},
            "forget": {"name": "p4"},
            "capture": {"timeout_s": 1},
            "explain": {"last_s": 60},
        }
        return [json.dumps({"verb": v, "arguments": arguments.get(v, {})}).encode() for v in sorted(REQUESTS)]

    def mutate(self, seed: int, rng: Random) -> bytes:
        return mutate_document(self.seeds[seed], rng, self.seeds)

    def read(self, seed: int, data: bytes) -> str:
        if not hasattr(self, "server"):
            self.served = Served(self.folder)
            self.server = ControlServer(self.folder / "s")
        answer = self.ask(data)
        if not answer:
            return REFUSED  # an empty line is a check whether a daemon listens
        last = json.loads(answer.splitlines()[-1])
        if last["status"] == "error":
            for text in (last["error"], last["hint"]):
                if "internal error" in text:
                    raise AssertionError(text)
                if plain(text) != text:
                    raise Unclean(f"control characters in {text[:200]!r}")
        return READ if last["status"] == "ok" else REFUSED

    def ask(self, data: bytes) -> bytes:
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(str(self.server.path))
            answer: list[bytes] = []
            sender = threading.Thread(target=self._talk, args=(client, data, answer))
            sender.start()
            while sender.is_alive():
                if (pending := self.server.next_request()) is not None:
                    self.served.serve(pending)
                sender.join(0.0005)
        return b"".join(answer)

    @staticmethod
    def _talk(client: socket.socket, data: bytes, answer: list[bytes]) -> None:
        with contextlib.suppress(OSError):
            client.sendall(data)
            client.shutdown(socket.SHUT_WR) if not data.endswith(b"\n") else None
        with contextlib.suppress(OSError):
            while part := client.recv(1 << 16):
                answer.append(part)

    def close(self) -> None:
        if hasattr(self, "server"):
            self.server.close()


class AnswerLine(Target):
    """What a command reads from something that answers at the socket."""

    name, share = "answer", 0.5

    def make_seeds(self) -> Sequence[bytes]:
        person = {"identity": "a", "name": "A", "templates": 1, "old": 0, "enrolled_at": "2026-01-02T03:04:05+00:00"}
        ok = {"status": "ok", "data": {"identities": [person]}}
        error = {"status": "error", "kind": "GalleryError", "error": "x", "hint": "y", "faults": ["z"]}
        return [json.dumps(value).encode() for value in (ok, error, {"progress": "look here"})]

    def mutate(self, seed: int, rng: Random) -> bytes:
        return dump_json(mutate_json(json.loads(self.seeds[seed]), rng), rng)

    def read(self, seed: int, data: bytes) -> str:
        try:
            value = json.loads(data)
        except (ValueError, RecursionError):
            return REFUSED
        read_answer(List(), value)
        read_answer(Status(), value)
        return READ


class MqttMessage(Target):
    """A request over MQTT, from the arrival to the answer. No broker: answers are built, and dropped."""

    name, share = "MQTT request", 1.5

    def make_seeds(self) -> Sequence[bytes]:
        arguments: dict[str, dict[str, object]] = {
            "enroll": {"name": "Eve", "image": "iVBORw0KGgo="},
            "rename": {"name": "Li", "to": "Lee"},
        }
        more: list[dict[str, object]] = [
            {},
            {},
            {"transaction": "t1"},
            {"ts": "2126-01-02T03:04:05Z", "transaction": 5},
        ]
        return [
            v.encode() + b"\n" + json.dumps({**arguments.get(v, {}), **extra}).encode() for v in VERBS for extra in more
        ]

    def mutate(self, seed: int, rng: Random) -> bytes:
        verb, _, payload = self.seeds[seed].partition(b"\n")
        if rng.random() < 0.05:
            verb = rng.choice(WORDS).encode("utf-8", "replace").replace(b"\n", b"")
        return verb + b"\n" + mutate_document(payload, rng)

    def read(self, seed: int, data: bytes) -> str:
        if not hasattr(self, "source"):
            self.served = Served(self.folder)
            self.box = Outbox(self.folder / "outbox.sqlite")
            self.link = MqttLink(MqttConfig(requests=True), "porch", self.box)
            self.source = MqttRequests(self.link)
        verb, _, payload = data.partition(b"\n")
        topic = f"edge-oneshot/porch/request/{verb.decode('utf-8', 'replace')}"
        self.source.take(Incoming(topic=topic, payload=payload, retained=False))
        served = 0
        while (pending := self.source.next_request()) is not None:
            self.served.serve(pending)
            served += 1
        return READ if served else REFUSED

    def close(self) -> None:
        if hasattr(self, "box"):
            self.box.close()


class Listened(Target):
    """A message for `listen`, `listen --json` and `listen --live`: what reaches the terminal must be plain."""

    name, share = "listen", 1.5

    def make_seeds(self) -> Sequence[bytes]:
        health = {"state": "running", "fps": 9.9, "outbox": {"depth": 0}}
        presence = {"identities": ["alice"], "unknown": 1}
        return [b"event\n" + json.dumps(EVENT, ensure_ascii=False).encode()] * 3 + [
            b"health\n" + json.dumps(health).encode(),
            b"presence\n" + json.dumps(presence).encode(),
            b"availability\nonline",
        ]

    def mutate(self, seed: int, rng: Random) -> bytes:
        leaf, _, payload = self.seeds[seed].partition(b"\n")
        new = mutate_bytes(payload, rng) if leaf == b"availability" else mutate_document(payload, rng)
        return leaf + b"\n" + new

    def read(self, seed: int, data: bytes) -> str:
        leaf, _, payload = data.partition(b"\n")
        topic = f"edge-oneshot/{'porch' if seed % 2 else chr(0x9B) + '31m'}/{leaf.decode('latin-1')}"
        message = SimpleNamespace(topic=topic, payload=payload, retain=False)
        table = LiveTable()
        out, err = io.StringIO(), io.StringIO()
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            _Printer(False)(message)
            _Printer(True)(message)
            table(message)
            table.draw()
        text = (out.getvalue() + err.getvalue()).replace("\x1b[H\x1b[J", "")
        if any(plain(line) != line for line in text.split("\n")):
            raise Unclean(repr(text[:300]))
        return READ


class SignedEvents(Target):
    """A file for `verify-event`: only what was signed is accepted, and what it prints is plain."""

    name, share = "verify-event", 1.0
    keys = (Key("hmac-sha256", bytes(32)), Key("ed25519-private", bytes(range(32))))

    def make_seeds(self) -> Sequence[bytes]:
        for number, key in enumerate(self.keys):
            (self.folder / f"key{number}").write_text(key.public().text())
        return [Sealer(key, lambda: 17)(EVENT) for key in self.keys]

    def mutate(self, seed: int, rng: Random) -> bytes:
        if rng.random() < 0.5:
            return mutate_bytes(self.seeds[seed], rng, self.seeds)
        return dump_json(mutate_json(json.loads(self.seeds[seed]), rng), rng)

    def read(self, seed: int, data: bytes) -> str:
        state = self.folder / "state"
        state.unlink(missing_ok=True)
        arguments = [str(self.file(data, "event")), "--key", str(self.folder / f"key{seed}"), "--state", str(state)]
        out = io.StringIO()
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(out):
            code = verify_event.main(arguments, standalone_mode=False)
            verify_event.main([*arguments, "--signature-only", "--json"], standalone_mode=False)
        text = out.getvalue()
        if any(plain(line) != line for line in text.split("\n")):
            raise Unclean(repr(text[:300]))
        if "accepted: " in text and self.seeds[seed] not in data.split(b"\n"):
            raise Silent(f"a changed payload was accepted: {data[:200]!r}")
        return REFUSED if code else READ


TARGETS: tuple[type[Target], ...] = (SocketLine, AnswerLine, MqttMessage, Listened, SignedEvents)
