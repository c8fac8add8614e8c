"""TLS on a device whose clock is wrong: the error says that it may be the clock."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

import pytest
from link_parts import MakeLink, until
from mosquitto import Mosquitto

from edge_oneshot.config import MqttConfig
from edge_oneshot.errors import BrokerRefused
from edge_oneshot.mqtt.subscriber import Subscriber
from edge_oneshot.mqtt.walk import walk


def certificate(folder: Path, first_day: datetime) -> None:
    """A self-signed certificate of localhost that is valid for a year from first_day."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "localhost")])
    address = x509.IPAddress(ip_address("127.0.0.1"))
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(first_day)
        .not_valid_after(first_day + timedelta(days=365))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost"), address]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    (folder / "crt").write_bytes(made.public_bytes(serialization.Encoding.PEM))
    (folder / "key").write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )


@pytest.mark.parametrize("years", [50, -50], ids=["clock in the past", "clock in the future"])
def test_the_error_says_the_clock(
    make_broker: Callable[..., Mosquitto], make_link: MakeLink, tmp_path: Path, years: int
) -> None:
    """A certificate of another time is the same to TLS as a clock of another time."""
    now = datetime.now(UTC)
    certificate(tmp_path, now + timedelta(days=365 * years))
    lines = [
        "listener {PORT} 127.0.0.1",
        "allow_anonymous true",
        f"certfile {tmp_path / 'crt'}",
        f"keyfile {tmp_path / 'key'}",
    ]
    broker = make_broker("\n".join(lines), listener=False).start()
    tls = {"tls": True, "ca_file": str(tmp_path / "crt")}
    config = MqttConfig(host="localhost", port=broker.port, **tls)  # type: ignore[arg-type]
    link = make_link(broker.port, **tls)
    link.start()
    until(link, "refused")
    with pytest.raises(BrokerRefused) as caught:
        Subscriber(config, ["x"], lambda m: None, "t").connect()
    (step,) = walk(config, "porch")
    for said in (link.status().error, str(caught.value), f"{step.detail} {step.fix}"):
        assert f"the clock of this device says {now:%Y-%m-}" in said and "NTP" in said
