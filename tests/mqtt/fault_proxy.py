"""A TCP proxy in front of a broker that causes faults. It knows where MQTT packets begin, and little else of them.

drop_pubacks    the broker's acknowledgements are dropped
cut_at_puback   the connection is cut at the next acknowledgement: the broker has the message, the publisher does not know
cut_in_publish  half of the next PUBLISH is forwarded, then the connection is cut
slow            five kilobytes per second in both directions
stall           nothing is forwarded; afterwards the connection continues, unless a side has closed it
half_open       all bytes are dropped, and the connection is cut when the fault ends
refuse          connections are closed, and new ones as soon as they are accepted
"""

from __future__ import annotations

import contextlib
import select
import socket
import struct
import threading
import time

CONNECT, PUBLISH, PUBACK = 1, 3, 4
KINDS = ("drop_pubacks", "cut_at_puback", "cut_in_publish", "slow", "stall", "half_open", "refuse")


class FaultProxy:
    """fault: the kind that is active, or "". v5: "pass", "refuse" (as a broker of 3.1.1 does) or "hang up".

    after_cut: the fault that replaces `cut_at_puback` once it has cut, before the publisher can connect again.
    """

    def __init__(self, target_port: int, v5: str = "pass") -> None:
        self.fault, self.v5, self.after_cut = "", v5, "cut_at_puback"
        self.hits = 0  # times that a fault affected a connection
        self._target = ("127.0.0.1", target_port)
        self._server = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._server.getsockname()[1]
        self._closing = threading.Event()
        self._threads: list[threading.Thread] = []

    def __enter__(self) -> FaultProxy:
        self._spawn(self._accept)
        return self

    def __exit__(self, *exc: object) -> None:
        self._closing.set()
        with contextlib.suppress(OSError):
            self._server.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join(10)
        self._server.close()

    def _spawn(self, work: object, *args: object) -> None:
        thread = threading.Thread(target=work, args=args, daemon=True)  # type: ignore[arg-type]
        self._threads = [t for t in self._threads if t.is_alive()] + [thread]
        thread.start()

    def _accept(self) -> None:
        while not self._closing.is_set():
            try:
                client, _ = self._server.accept()
            except OSError:
                return
            if self.fault == "refuse":
                self.hits += 1
                client.close()
                continue
            try:
                broker = socket.create_connection(self._target, timeout=5)
            except OSError:
                client.close()
                continue
            self._spawn(self._pump, client, broker)

    def _pump(self, client: socket.socket, broker: socket.socket) -> None:
        buffers = {client: b"", broker: b""}
        dropped = False
        try:
            while not self._closing.is_set():
                if self.fault == "refuse" or (dropped and self.fault != "half_open"):
                    return
                if self.fault == "stall" and not self._stall(client, broker):
                    return
                for source in select.select([client, broker], [], [], 0.02)[0]:
                    data = source.recv(65536)
                    if not data:
                        return
                    if self.fault == "half_open":
                        self.hits, dropped = self.hits + (not dropped), True
                        continue
                    packets, buffers[source] = split(buffers[source] + data)
                    to = client if source is broker else broker
                    if not all(self._forward(packet, to, source is broker, client) for packet in packets):
                        return
        except OSError:
            pass
        finally:
            for s in (client, broker):
                abort(s)

    def _stall(self, client: socket.socket, broker: socket.socket) -> bool:
        """Wait for the end of the fault. False: a side has closed its connection meanwhile."""
        self.hits += 1
        while self.fault == "stall" and not self._closing.is_set():
            time.sleep(0.01)
        return not any(gave_up(s) for s in (client, broker))

    def _forward(self, packet: bytes, to: socket.socket, from_broker: bool, client: socket.socket) -> bool:
        """Forward a packet, or do what the fault requires. False: cut the connection."""
        kind, fault = packet[0] >> 4, self.fault
        if self.v5 != "pass" and kind == CONNECT and packet[packet.index(b"MQTT") + 4] == 5:
            if self.v5 == "refuse":
                client.sendall(b"\x20\x02\x00\x01")  # CONNACK of 3.1.1: unacceptable protocol version
            return False
        if from_broker and kind == PUBACK and fault in ("drop_pubacks", "cut_at_puback"):
            if fault == "cut_at_puback":
                self.fault = self.after_cut
            self.hits += 1
            return fault == "drop_pubacks"
        if not from_broker and kind == PUBLISH and fault == "cut_in_publish":
            self.hits += 1
            to.sendall(packet[: len(packet) // 2])
            return False
        if fault == "slow":
            self.hits += 1
            for start in range(0, len(packet), 100):
                to.sendall(packet[start : start + 100])
                time.sleep(0.02 if self.fault == "slow" else 0)
        else:
            to.sendall(packet)
        return True


def split(data: bytes) -> tuple[list[bytes], bytes]:
    """Whole MQTT packets at the front of `data`, and the rest."""
    packets = []
    while True:
        length, shift, position = 0, 0, 1
        while True:
            if position >= len(data):
                return packets, data
            length |= (data[position] & 127) << shift
            shift, position = shift + 7, position + 1
            if not data[position - 1] & 128:
                break
        end = position + length
        if len(data) < end:
            return packets, data
        packets.append(data[:end])
        data = data[end:]


def gave_up(s: socket.socket) -> bool:
    poller = select.poll()
    poller.register(s, select.POLLIN | select.POLLRDHUP)
    return any(flags & (select.POLLHUP | select.POLLERR | select.POLLRDHUP) for _, flags in poller.poll(0))


def abort(s: socket.socket) -> None:
    with contextlib.suppress(OSError):
        s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    s.close()
