"""Who belongs to a fleet, in which role, and which records of theirs count.

A member is admitted by a record that an admin has signed; the first one by the root key. A revocation names the records of the
revoked device that remain in force; everything else that it has signed or will sign is void, whatever its clock says.
Two admins may revoke each other without knowing of it, so there is an order: an admin is junior to the admin who admitted it, and
only a senior admin, or the root key, can revoke an admin. Both follow from the set of records alone, so all devices agree.
"""

from __future__ import annotations

import base64
import heapq
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache

from edge_oneshot.fleet.hlc import ZERO, Hlc
from edge_oneshot.fleet.records import ID_BYTES, Record, read
from edge_oneshot.fleet.topics import MEMBER, device_id
from edge_oneshot.storage.cipher import x25519

DOOR, DESK, ADMIN = "door", "desk", "admin"
ROLES = (DOOR, DESK, ADMIN)


@dataclass(frozen=True, slots=True)
class Admission:
    """The content of a member record. key: Ed25519. exchange: X25519. Both public, hex."""

    key: str
    exchange: str
    role: str
    name: str


@dataclass(frozen=True, slots=True)
class Member:
    """One device. seniority: the smaller, the more senior. revoked_by: the key of who revoked it, or ""."""

    device_id: str
    admission: Admission
    admitted: Record | None  # None: the root key
    seniority: tuple[int, Hlc, str]
    revoked_by: str = ""
    revocation: Record | None = None
    kept: frozenset[bytes] = frozenset()

    @property
    def key(self) -> str:
        return self.admission.key

    @property
    def role(self) -> str:
        return self.admission.role

    @property
    def name(self) -> str:
        return self.admission.name

    @property
    def in_force(self) -> bool:
        return self.revocation is None

    def counts(self, record_id: bytes) -> bool:
        """Whether a record that it has signed is in force."""
        return self.revocation is None or record_id in self.kept


def evaluate(root: str, admissions: Iterable[Record], revocations: Iterable[Record]) -> dict[str, Member]:
    """public key -> member, the root key included. A function of the set of records; their order does not matter."""
    admits, revokes = _by_author(admissions), _by_author(revocations)
    top = Admission(root, "", ADMIN, "root")
    queue: list[tuple[tuple[int, Hlc, str], bytes, Admission, Record | None]] = [((0, ZERO, root), b"", top, None)]
    found: dict[str, Member] = {}
    revoked: dict[str, Record] = {}  # device id -> the revocation by the most senior admin
    while queue:
        seniority, _, about, admitted = heapq.heappop(queue)
        if about.key in found:
            continue
        member = _with(Member(device_id(about.key), about, admitted, seniority), revoked)
        found[about.key] = member
        if member.role != ADMIN:
            continue
        for record in revokes.get(about.key, ()):
            if member.counts(record.id):  # an admin who was found before is senior, and is not looked up again
                revoked.setdefault(record.subject, record)
        for record in admits.get(about.key, ()):
            if member.counts(record.id):
                new = admission_of(record.raw)
                heapq.heappush(queue, ((seniority[0] + 1, record.hlc, new.key), record.id, new, record))
    return {key: m if m.role == ADMIN else _with(m, revoked) for key, m in found.items()}


def _with(member: Member, revoked: dict[str, Record]) -> Member:
    record = revoked.get(member.device_id)
    if record is None:
        return member
    return Member(
        member.device_id,
        member.admission,
        member.admitted,
        member.seniority,
        record.author,
        record,
        kept_of(record.raw),
    )


def _by_author(records: Iterable[Record]) -> dict[str, list[Record]]:
    found: dict[str, list[Record]] = {}
    for record in records:
        found.setdefault(record.author, []).append(record)
    return found


def agrees(exchange: str) -> bool:
    """Whether a secret can be shared with the owner of this X25519 public key, hex: with some, every secret is zero."""
    try:
        x25519(b"\1" * 32, bytes.fromhex(exchange))
    except ValueError:
        return False
    return True


@lru_cache(maxsize=8192)
def admission_of(raw: bytes) -> Admission:
    """What a member record says. Raises ValueError if it says nothing valid."""
    record = read(raw)
    about = record.content
    if set(about) != {"key", "exchange", "role", "name"} or not all(isinstance(v, str) for v in about.values()):
        raise ValueError("it admits no device")
    if any(len(bytes.fromhex(about[k])) != 32 or about[k] != about[k].lower() for k in ("key", "exchange")):
        raise ValueError("it admits a device without keys")
    if not agrees(about["exchange"]):
        raise ValueError("it admits a device with which no key can be agreed")
    if about["role"] not in ROLES or len(about["name"]) > 200:
        raise ValueError("it admits a device to an unknown role")
    if record.topic != f"{MEMBER}/{device_id(about['key'])}":
        raise ValueError("it admits another device than its topic says")
    return Admission(about["key"], about["exchange"], about["role"], about["name"])


@lru_cache(maxsize=256)
def kept_of(raw: bytes) -> frozenset[bytes]:
    """The ids of the records that remain in force after a revocation. Raises ValueError if it is none."""
    content = read(raw).content
    if set(content) != {"kept"} or not isinstance(content["kept"], str):
        raise ValueError("it revokes no device")
    ids = base64.b64decode(content["kept"], validate=True)
    if len(ids) % ID_BYTES:
        raise ValueError("its list of records is damaged")
    return frozenset(ids[i : i + ID_BYTES] for i in range(0, len(ids), ID_BYTES))


def revocation_content(kept: Iterable[bytes]) -> dict[str, str]:
    return {"kept": base64.b64encode(b"".join(sorted(kept))).decode()}
