"""Who may use the page: accounts with a role and a password, the one-time code that creates an account, and tokens of programs.

They are in one JSON file with mode 0600, which is replaced at each change. The page and `edge-oneshot web pair` both write it,
under a lock.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import hmac
import json
import os
import re
import secrets
import stat
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from edge_oneshot.errors import StorageError
from edge_oneshot.web.faults import FormError

Role = Literal["viewer", "owner"]
ROLES: tuple[Role, ...] = ("viewer", "owner")  # an owner may do what a viewer may
Scope = Literal["api", "metrics"]
SCOPES: tuple[Scope, ...] = ("api", "metrics")
ALPHABET = "23456789ABCDEFGHJKMNPQRSTUVWXYZ"  # without characters that look alike
CODE_LENGTH = 8  # 40 bits
CODE_S = 600.0
CODE_TRIES = 5
PASSWORD = (12, 128)
# OWASP Password Storage Cheat Sheet: N = 2^14, r = 8, p = 5, which needs 16 MiB.
COST = {"n": 1 << 14, "r": 8, "p": 5}
_NAME = re.compile(r"[a-z0-9][a-z0-9_.-]{0,31}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Account:
    """stamp: changes with the password, so that the sessions of the old one end."""

    name: str
    role: Role
    stamp: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Token:
    """Lets a program use /api/. scope: api for everything there, metrics for /metrics alone."""

    name: str
    scope: Scope


class Accounts:
    """The accounts in the file at `path`. Raises StorageError where the file cannot be read or written."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._seen: tuple[int, int, int] | None = None
        self._data: dict[str, Any] = {}

    # ---- reading

    @property
    def all(self) -> list[Account]:
        return [_account(name, entry) for name, entry in sorted(self._read()["accounts"].items())]

    def find(self, name: str) -> Account | None:
        return next((a for a in self.all if a.name == name), None)

    def check(self, name: str, password: str) -> Account | None:
        """The account, if the password is right. An unknown name takes as long as a wrong password."""
        entry = self._read()["accounts"].get(name.strip().lower())
        stored = entry or {"salt": "00" * 16, "hash": "", **COST}
        right = hmac.compare_digest(_hash(password, stored), stored["hash"])
        return _account(name.strip().lower(), entry) if right and entry else None

    def browser_token(self, name: str) -> str:
        """What a browser keeps that has logged in to this account. A new password makes another."""
        stored = bytes.fromhex(self._read()["accounts"][name]["hash"])
        return hmac.new(stored, f"browser of {name}".encode(), "sha256").hexdigest()

    def knows(self, name: str, token: str) -> bool:
        """Whether a browser with this token has logged in to the account before."""
        return name in self._read()["accounts"] and hmac.compare_digest(self.browser_token(name), token)

    @property
    def code_s(self) -> float:
        """Seconds for which the pairing code is still valid; 0 if there is none."""
        pairing = self._read().get("pairing")
        if pairing is None or pairing["tries"] >= CODE_TRIES:
            return 0.0
        return max(0.0, min(CODE_S, float(pairing["until"]) - time.time()))

    # ---- changes

    def new_code(self, role: Role) -> str:
        """A code that makes one account within ten minutes, as XXXX-XXXX. The one before is void."""
        code = "".join(secrets.choice(ALPHABET) for _ in range(CODE_LENGTH))
        with self._changed() as data:
            data["pairing"] = {"hash": _digest(code), "role": role, "until": time.time() + CODE_S, "tries": 0}
        return f"{code[:4]}-{code[4:]}"

    def pair(self, code: str, name: str, password: str) -> Account:
        """Make the account that a code stands for. Raises FormError; the code stays valid if only name or password is refused."""
        name = name.strip().lower()
        with self._changed() as data:
            pairing = data.get("pairing")
            given = re.sub(r"[^A-Z0-9]", "", code.upper())
            if pairing is None or not _valid(pairing, given):
                if pairing is not None:
                    pairing["tries"] += 1
                raise FormError("pair.wrong_code", "code")
            if not _NAME.fullmatch(name):
                raise FormError("pair.wrong_name", "name")
            if name in data["accounts"]:
                raise FormError("pair.name_taken", "name")
            check_password(password, name)
            data["accounts"][name] = {"role": pairing["role"], **_stored(password)}
            data["pairing"] = None
            return _account(name, data["accounts"][name])

    def set_password(self, name: str, password: str) -> None:
        """Raises FormError for a password that is too short or too long."""
        check_password(password, name)
        with self._changed() as data:
            data["accounts"][name].update(_stored(password))

    def remove(self, name: str) -> None:
        """Raises FormError for an unknown account, and for the last owner."""
        with self._changed() as data:
            if name not in data["accounts"]:
                raise FormError("account.unknown", "account")
            others = [n for n, e in data["accounts"].items() if e["role"] == "owner" and n != name]
            if data["accounts"][name]["role"] == "owner" and not others:
                raise FormError("account.last_owner", "account")
            del data["accounts"][name]

    # ---- tokens of programs

    @property
    def tokens(self) -> list[Token]:
        return [Token(name=name, scope=entry["scope"]) for name, entry in sorted(self._tokens().items())]

    def new_token(self, name: str, scope: Scope) -> str:
        """A token for a program, 256 random bits; it is shown once. Raises FormError for a name in use."""
        if not _NAME.fullmatch(name):
            raise FormError("token.wrong_name", "name")
        secret = "eo_" + secrets.token_urlsafe(32)
        with self._changed() as data:
            if name in (tokens := data.setdefault("tokens", {})):
                raise FormError("token.name_taken", "name")
            tokens[name] = {"hash": _digest(secret), "scope": scope}
        return secret

    def token(self, secret: str) -> Token | None:
        """The token with this secret. So many random bits need no slow hash."""
        digest = hashlib.sha256(secret.encode("utf-8", "surrogateescape")).hexdigest()
        found = [n for n, entry in self._tokens().items() if hmac.compare_digest(entry["hash"], digest)]
        return next((t for t in self.tokens if t.name in found), None)

    def revoke(self, name: str) -> None:
        """Raises FormError for an unknown token."""
        with self._changed() as data:
            if data.get("tokens", {}).pop(name, None) is None:
                raise FormError("token.unknown", "name")

    def _tokens(self) -> dict[str, Any]:
        found: dict[str, Any] = self._read().get("tokens", {})
        return found

    # ---- the file

    def _read(self) -> dict[str, Any]:
        try:
            at = self.path.stat()
        except FileNotFoundError:
            return {"accounts": {}, "pairing": None}
        except OSError as e:
            raise self._fault("read", e) from None
        seen = (at.st_mtime_ns, at.st_ino, at.st_size)
        if seen != self._seen:
            try:
                self._data, self._seen = json.loads(self.path.read_text(encoding="utf-8")), seen
            except (OSError, ValueError) as e:
                raise self._fault("read", e) from None
        return self._data

    @contextlib.contextmanager
    def _changed(self) -> Iterator[dict[str, Any]]:
        """The data to change; written also after a FormError, since a wrong code counts."""
        try:
            self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            with os.fdopen(open_own(self.path.parent / "accounts.lock", os.O_WRONLY | os.O_APPEND), "a") as lock:
                fcntl.flock(lock, fcntl.LOCK_EX)
                data = json.loads(json.dumps(self._read()))
                try:
                    yield data
                finally:
                    self._write(data)
        except OSError as e:
            raise self._fault("write", e) from None

    def _write(self, data: dict[str, Any]) -> None:
        part = self.path.with_suffix(".part")
        part.unlink(missing_ok=True)
        with os.fdopen(open_own(part, os.O_WRONLY | os.O_EXCL), "w", encoding="utf-8") as file:
            json.dump(data, file)
            file.flush()
            os.fsync(file.fileno())
        part.replace(self.path)

    def _fault(self, verb: str, e: Exception) -> StorageError:
        reason = e.strerror if isinstance(e, OSError) and e.strerror else e
        fix = "free space on its disk, and run the command as the user of the page, or with sudo"
        return StorageError(f"cannot {verb} the accounts of the page in {self.path}: {reason}", fix)


def open_own(path: Path, flags: int) -> int:
    """Open a file of the page, made with mode 0600 if it is absent; its descriptor.

    A file that root makes belongs to the user of its folder, else the page could not read it. That user may have put a link to a
    file of root there: none is followed, and no file with two names changes its owner.
    """
    descriptor = os.open(path, flags | os.O_CREAT | os.O_NOFOLLOW, 0o600)
    owner, at = path.parent.stat(), os.fstat(descriptor)
    if os.geteuid() == 0 and owner.st_uid != 0 and at.st_nlink == 1 and stat.S_ISREG(at.st_mode):
        os.fchown(descriptor, owner.st_uid, owner.st_gid)
    return descriptor


def check_password(password: str, name: str) -> None:
    """Raises FormError. Length alone counts; any characters are accepted (NIST SP 800-63B)."""
    if not PASSWORD[0] <= len(password) <= PASSWORD[1]:
        raise FormError("pair.wrong_password", "password", least=PASSWORD[0], most=PASSWORD[1])
    if name and password.lower().replace(name, "").strip("0123456789 ") == "":
        raise FormError("pair.password_is_name", "password")


def _account(name: str, entry: dict[str, Any]) -> Account:
    return Account(name=name, role="owner" if entry["role"] == "owner" else "viewer", stamp=entry["salt"])


def _stored(password: str) -> dict[str, Any]:
    entry: dict[str, Any] = {"salt": secrets.token_hex(16), **COST}
    return entry | {"hash": _hash(password, entry)}


def _hash(password: str, entry: dict[str, Any]) -> str:
    n, r, p = entry["n"], entry["r"], entry["p"]
    key = hashlib.scrypt(
        password.encode("utf-8", "surrogatepass"), salt=bytes.fromhex(entry["salt"]), n=n, r=r, p=p, maxmem=1 << 26
    )
    return key.hex()


def _valid(pairing: dict[str, Any], code: str) -> bool:
    in_time = time.time() < pairing["until"] and pairing["tries"] < CODE_TRIES
    return in_time and hmac.compare_digest(_digest(code), pairing["hash"])


def _digest(code: str) -> str:
    return hashlib.sha256(code.encode()).hexdigest()
