"""What an agent keeps on its own machine: its private key, where it enrolled, and its last access token.

    $AGENTHIFIVE_HOME/agents/<name>.json   key and place, 0600      <name>.token   access token, 0600
                             .pending-<digest>.json                 a key whose enrolment has not been answered

The key is on disk before it is registered: an answer that got lost costs nothing, the same secret and key are sent
again. Source: contract/agents.md sections 4 to 6.
"""

import hashlib
import json
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from agenthifive.cli.console import CommandError, Exit

_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
_ASSERTION_TTL_S: Final = 30
_PUBLIC: Final = ("kty", "crv", "x", "y")
_KEY: Final = frozenset({*_PUBLIC, "d"})


@dataclass(frozen=True, slots=True)
class Identity:
    """An enrolled agent as its own machine knows it. Shapes: key: private P-256 JWK."""

    agent_id: str
    name: str
    base: str
    key: Mapping[str, str] = field(repr=False)

    def assertion(self, audience: str, now_s: float, jti: str) -> str:
        """A signed statement of who this is, good for half a minute, once. Source: contract/agents.md section 6.1."""
        from joserfc import jwt
        from joserfc.jwk import ECKey

        claims = {
            "iss": self.agent_id,
            "sub": self.agent_id,
            "aud": audience,
            "iat": int(now_s),
            "exp": int(now_s) + _ASSERTION_TTL_S,
            "jti": jti,
        }
        return jwt.encode({"alg": "ES256"}, claims, ECKey.import_key(dict(self.key)))


class AgentKeys:
    """The agents of one home directory."""

    def __init__(self, home: Path) -> None:
        self._place = home / "agents"

    def pending_key(self, secret: str) -> Mapping[str, str]:
        """The key to enrol with under this secret: the one already tried, or a new one."""
        path = self._pending(secret)
        if path.exists():
            return _read(path)
        from joserfc.jwk import ECKey

        made = ECKey.generate_key("P-256", private=True).as_dict(private=True)
        key = {name: str(made[name]) for name in (*_PUBLIC, "d")}
        self._write(path, key)
        return key

    def forget_pending(self, secret: str) -> None:
        """Drop a key that was refused."""
        self._pending(secret).unlink(missing_ok=True)

    def keep(self, secret: str, name: str, identity: Identity) -> Path:
        """Keep an enrolled key under its final name. Raises: CommandError when the name cannot be a file."""
        path = self.path(name)
        members = {"agentId": identity.agent_id, "name": identity.name, "base": identity.base, "key": identity.key}
        self._write(path, members)
        self.forget_pending(secret)
        self._token_path(name).unlink(missing_ok=True)
        return path

    def load(self, name: str) -> Identity:
        """An enrolled agent by its id or file name. Raises: CommandError."""
        path = self.path(name)
        if not path.exists():
            raise CommandError(
                f"No key of an agent {name} is in {self._place}.",
                code="unknown_agent",
                hint="Enrol it first: agenthifive agent enrol --secret ah5b_...",
            )
        members = _read(path)
        texts = [members.get(name) for name in ("agentId", "name", "base")]
        key = members.get("key")
        if not all(isinstance(text, str) for text in texts) or not isinstance(key, dict) or not key.keys() >= _KEY:
            raise _unreadable(path)
        return Identity(members["agentId"], members["name"], members["base"], key)

    def load_token(self, name: str, now_s: float) -> str | None:
        """The access token this agent got last, if it will last a minute more."""
        path = self._token_path(name)
        if not path.exists():
            return None
        members = _read(path)
        is_good = isinstance(members.get("expiresAtS"), int) and members["expiresAtS"] > now_s + 60
        return str(members["accessToken"]) if is_good and "accessToken" in members else None

    def keep_token(self, name: str, token: str, expires_at_s: float) -> None:
        """Remember an access token."""
        self._write(self._token_path(name), {"accessToken": token, "expiresAtS": int(expires_at_s)})

    def path(self, name: str) -> Path:
        """Where an agent's key is. Raises: CommandError when the name cannot be a file."""
        if not _NAME.fullmatch(name):
            raise CommandError(
                f"{name} cannot be the name of a key file.",
                exit_code=Exit.USAGE,
                code="usage",
                hint="Use letters, digits, dots, dashes and underscores.",
            )
        return self._place / f"{name}.json"

    def _token_path(self, name: str) -> Path:
        return self.path(name).with_suffix(".token")

    def _pending(self, secret: str) -> Path:
        return self._place / f".pending-{hashlib.sha256(secret.encode()).hexdigest()[:32]}.json"

    def _write(self, path: Path, members: Mapping[str, Any]) -> None:
        draft = path.with_name(f"{path.name}.new")
        try:
            self._place.mkdir(mode=0o700, parents=True, exist_ok=True)
            draft.unlink(missing_ok=True)
            handle = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
            with open(handle, "w", encoding="utf-8") as file:
                json.dump(members, file)
                file.flush()
                os.fsync(handle)
            draft.replace(path)
        except OSError as error:
            raise CommandError(f"{path} cannot be written ({error.strerror}).", code="unwritable") from None


def public_part(key: Mapping[str, str]) -> dict[str, str]:
    """What the server may know of a key."""
    return {name: key[name] for name in _PUBLIC}


def _read(path: Path) -> dict[str, Any]:
    try:
        members = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError):
        raise _unreadable(path) from None
    if not isinstance(members, dict):
        raise _unreadable(path)
    return members


def _unreadable(path: Path) -> CommandError:
    return CommandError(f"{path} cannot be read.", code="unreadable", hint="Remove it and enrol the agent again.")
