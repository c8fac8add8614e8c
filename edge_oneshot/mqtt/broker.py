"""A paho client for one connection: address, client id, credentials, TLS, will; and the meaning of a refusal."""

from __future__ import annotations

import os
import ssl
from datetime import UTC, datetime
from pathlib import Path

from paho.mqtt.client import Client
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode

from edge_oneshot.config import MqttConfig
from edge_oneshot.errors import ConfigError
from edge_oneshot.mqtt.payloads import OFFLINE
from edge_oneshot.text_file import read_text

V5, V311 = MQTTProtocolVersion.MQTTv5, MQTTProtocolVersion.MQTTv311
CONNECT_TIMEOUT_S = 5.0
MAX_PACKET_BYTES = 2_000_000  # that the device accepts: a request has at most 1 MB, a picture from `listen` less

# Reason codes (MQTT 5, section 2.4) after which a retry can succeed: unspecified, implementation specific, server
# unavailable, busy, shutting down, keep alive, receive maximum, message rate, quota, administrative action, connection
# rate, connect time. Any other failure lasts until the configuration of the device or the broker changes.
_TRANSIENT = {0x80, 0x83, 0x88, 0x89, 0x8B, 0x8D, 0x93, 0x96, 0x97, 0x98, 0x9F, 0xA0}
UNSUPPORTED_PROTOCOL, TAKEN_OVER, PACKET_TOO_LARGE = 0x84, 0x8E, 0x95


def is_permanent(reason: ReasonCode) -> bool:
    """Whether a refusal lasts until credentials, ACL, client id or the broker's limits are changed."""
    return reason.is_failure and reason.value not in _TRANSIENT


def address(config: MqttConfig) -> tuple[str, int]:
    return config.host, config.port or (8883 if config.tls else 1883)


def protocols(config: MqttConfig) -> tuple[MQTTProtocolVersion, ...]:
    """The versions to try, in this order."""
    return {"5": (V5,), "3.1.1": (V311,)}.get(config.protocol, (V5, V311))


def credential_path(name: str) -> Path:
    """A file of secrets. A name without a folder is looked up among systemd's credentials first."""
    path = Path(name).expanduser()
    credentials = os.environ.get("CREDENTIALS_DIRECTORY")
    if credentials and path.name == name and (Path(credentials) / name).exists():
        return Path(credentials) / name
    return path


def read_password(config: MqttConfig) -> str | None:
    """The first line of the password file. Raises ConfigError if the file cannot be read or is empty."""
    if not config.password_file:
        return None
    path = credential_path(config.password_file)
    try:
        lines = read_text(path).splitlines()
    except OSError as e:
        raise ConfigError(
            f"mqtt.password_file {path}: expected a readable file, got: {e.strerror}",
            "check the path and its permissions",
        ) from None
    except ValueError:  # without the byte at fault, which is of the password
        raise ConfigError(
            f"mqtt.password_file {path}: expected UTF-8 text, got another encoding", "save the file as UTF-8"
        ) from None
    if not lines or not lines[0]:
        raise ConfigError(
            f"mqtt.password_file {path}: expected the password in the first line, got nothing",
            "write the password to the file",
        )
    return lines[0]


def tls_context(config: MqttConfig) -> ssl.SSLContext | None:
    """TLS with certificate and host name verified; None without TLS. Raises ConfigError for an unusable file."""
    if not config.tls:
        return None
    try:
        context = ssl.create_default_context(cafile=config.ca_file or None)
    except OSError as e:  # ssl.SSLError is one
        raise ConfigError(
            f"mqtt.ca_file {config.ca_file}: expected PEM certificates, got: {e}", "name the authority's PEM file"
        ) from None
    context.sslsocket_class = _ClosingSocket
    if config.cert_file:
        try:
            # Without this callback OpenSSL would prompt for a password on the terminal, and wait.
            context.load_cert_chain(config.cert_file, credential_path(config.key_file), password=lambda: "")
        except OSError as e:
            message = f"mqtt.cert_file {config.cert_file}, mqtt.key_file {config.key_file}: expected a certificate and its unencrypted key"
            raise ConfigError(
                f"{message}, got: {e}",
                "check both paths, their permissions, and that key and certificate belong together",
            ) from None
    return context


_NOT_YET_VALID, _EXPIRED = 9, 10  # X509_V_ERR_CERT_NOT_YET_VALID, X509_V_ERR_CERT_HAS_EXPIRED


def untrusted(e: ssl.SSLCertVerificationError) -> tuple[str, str]:
    """What is wrong with the certificate of the broker, and the fix."""
    if e.verify_code in (_NOT_YET_VALID, _EXPIRED):
        # A device without a battery for its clock starts in the past until NTP has set it.
        clock = f"the clock of this device says {datetime.now(UTC):%Y-%m-%d %H:%M} UTC"
        return (
            f"{e.verify_message}; {clock}",
            "set the clock (NTP); if it is right, renew the certificate of the broker",
        )
    return e.verify_message, "set mqtt.ca_file to the CA of the broker, and mqtt.host to the name in its certificate"


class _ClosingSocket(ssl.SSLSocket):
    """Closes when its handshake fails: paho 2 leaves the socket to the garbage collector."""

    def do_handshake(self, block: bool = False) -> None:
        try:
            super().do_handshake(block)
        except BaseException:
            self.close()
            raise


class BoundedClient(Client):
    """Ends the connection at a packet of more than MAX_PACKET_BYTES, before it takes memory for it: paho reads any size.

    A broker with MQTT 5 sends none, since CONNECT states this limit. too_large: the size of such a packet, else 0.
    """

    too_large = 0

    def _sock_recv(self, bufsize: int) -> bytes:
        if bufsize > MAX_PACKET_BYTES:
            self.too_large = bufsize
            raise ConnectionError(f"a packet of {bufsize} bytes")
        return super()._sock_recv(bufsize)


def make_client(config: MqttConfig, client_id: str, protocol: MQTTProtocolVersion) -> BoundedClient:
    """A new client, for one connection. Raises ConfigError."""
    client = BoundedClient(
        CallbackAPIVersion.VERSION2,
        client_id=client_id,
        protocol=protocol,
        reconnect_on_failure=False,
        clean_session=None if protocol == V5 else True,
    )
    client.connect_timeout = CONNECT_TIMEOUT_S
    client.max_inflight_messages_set(0)  # no limit and no queue inside paho: the sender keeps its own window
    if config.username:
        client.username_pw_set(config.username, read_password(config))
    context = tls_context(config)
    if context is not None:
        client.tls_set_context(context)
    return client


def set_will(client: Client, topic: str, protocol: MQTTProtocolVersion, delay_s: int) -> None:
    """`offline`, retained, which the broker publishes when the device is away for `delay_s` (MQTT 3.1.1: at once)."""
    properties = None
    if protocol == V5:
        properties = new_properties(PacketTypes.WILLMESSAGE)
        properties.WillDelayInterval = delay_s
    client.will_set(topic, OFFLINE, qos=1, retain=True, properties=properties)


def connect(client: Client, config: MqttConfig, protocol: MQTTProtocolVersion, session_expiry_s: int) -> None:
    """Open the socket and send CONNECT; blocks for at most CONNECT_TIMEOUT_S after the name is resolved.

    Clean start: unacknowledged events are in the outbox, and missed requests need no delivery. Raises OSError
    (ssl.SSLError included).
    """
    host, port = address(config)
    if protocol == V5:
        properties = new_properties(PacketTypes.CONNECT)
        properties.SessionExpiryInterval = session_expiry_s
        properties.MaximumPacketSize = MAX_PACKET_BYTES
        client.connect(host, port, config.keepalive_s, clean_start=True, properties=properties)
    else:
        client.connect(host, port, config.keepalive_s)


def new_properties(packet_type: int) -> Properties:
    return Properties(packet_type)  # type: ignore[no-untyped-call]


def packet_bytes(
    topic: str, payload: bytes, protocol: MQTTProtocolVersion, properties: Properties | None = None
) -> int:
    """The size of a PUBLISH packet with QoS 1: what a Maximum Packet Size limits."""
    rest = 4 + len(topic.encode()) + len(payload)
    if protocol == V5:
        rest += 1 if properties is None else len(properties.pack())  # type: ignore[no-untyped-call]
    length_bytes = next(n for n in (1, 2, 3, 4) if rest < 128**n or n == 4)
    return 1 + length_bytes + rest


def picture_properties(expiry_s: int) -> Properties:
    properties = new_properties(PacketTypes.PUBLISH)
    properties.ContentType = "image/jpeg"
    properties.MessageExpiryInterval = expiry_s
    return properties


def event_properties(schema_version: int, expiry_s: int) -> Properties:
    """The properties of MQTT 5 beside the payload: content type, expiry, and the schema's version."""
    properties = new_properties(PacketTypes.PUBLISH)
    properties.ContentType = "application/json"
    properties.PayloadFormatIndicator = 1
    properties.MessageExpiryInterval = expiry_s
    properties.UserProperty = ("schema", str(schema_version))
    return properties
