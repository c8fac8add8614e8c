"""A small real RTSP server for one client: MPEG-TS over RTP, interleaved in the TCP connection (RFC 2326, RFC 2250)."""

from __future__ import annotations

import io
import socket
import struct
import threading

import av
import numpy as np

SDP = "v=0\r\no=- 0 0 IN IP4 127.0.0.1\r\ns=test\r\nc=IN IP4 0.0.0.0\r\nt=0 0\r\nm=video 0 RTP/AVP 33\r\na=control:track0\r\n"


def transport_stream(count: int = 60, fps: int = 25, width: int = 64, height: int = 48) -> bytes:
    """MPEG-TS with `count` pictures, red on the left, brightness rising."""
    out = io.BytesIO()
    with av.open(out, "w", format="mpegts") as container:
        stream = container.add_stream("mpeg2video", rate=fps, options={"g": "5", "bf": "0"})
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        for i in range(count):
            pixels = np.full((height, width, 3), 40 + 2 * i, np.uint8)
            pixels[:, : width // 2] = (220, 0, 0)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
        container.mux(stream.encode())
    return out.getvalue()


class RtspServer:
    """after: what follows the last packet of the stream: "silence" (the connection stays open) or "hang up".

    deaf: accept the connection and never reply.
    """

    def __init__(self, after: str = "silence", deaf: bool = False) -> None:
        self._after, self._deaf = after, deaf
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._listener.settimeout(0.1)
        self.port = self._listener.getsockname()[1]
        self.seen: list[str] = []
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._serve, name="rtsp server")

    def __enter__(self) -> RtspServer:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()
        self._listener.close()

    def _serve(self) -> None:
        while not self._stop.is_set():
            try:
                client, _ = self._listener.accept()
            except TimeoutError:
                continue
            with client:
                client.settimeout(0.1)
                try:
                    self._talk(client)
                except OSError:
                    continue

    def _talk(self, client: socket.socket) -> None:
        buffer = b""
        while not self._stop.is_set():
            try:
                received = client.recv(4096)
            except TimeoutError:
                continue
            if not received:
                return
            if self._deaf:
                continue
            buffer += received
            while b"\r\n\r\n" in buffer:
                request, buffer = buffer.split(b"\r\n\r\n", 1)
                lines = request.decode().split("\r\n")
                method, url = lines[0].split()[:2]
                cseq = next(line for line in lines if line.lower().startswith("cseq"))
                self.seen.append(method)
                extra, body = "", ""
                if method == "DESCRIBE":
                    extra, body = f"Content-Type: application/sdp\r\nContent-Base: {url}/\r\n", SDP
                elif method == "SETUP":
                    extra = "Transport: RTP/AVP/TCP;unicast;interleaved=0-1\r\nSession: 1\r\n"
                elif method == "OPTIONS":
                    extra = "Public: OPTIONS, DESCRIBE, SETUP, PLAY, TEARDOWN\r\n"
                client.sendall(
                    f"RTSP/1.0 200 OK\r\n{cseq}\r\n{extra}Content-Length: {len(body)}\r\n\r\n{body}".encode()
                )
                if method == "PLAY":
                    self._play(client)
                    if self._after == "hang up":
                        return

    def _play(self, client: socket.socket) -> None:
        data = transport_stream()
        for seq, start in enumerate(range(0, len(data), 7 * 188)):
            if self._stop.wait(0.002):
                return
            rtp = struct.pack(">BBHII", 0x80, 33, seq, seq * 900, 0x1234) + data[start : start + 7 * 188]
            client.sendall(b"$\x00" + struct.pack(">H", len(rtp)) + rtp)
