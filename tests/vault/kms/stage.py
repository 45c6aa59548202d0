"""A key service of each mode, the settings that lead to it, and the client libraries of this process led there too."""

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from unittest import mock

from agenthifive.settings import Settings, load_settings
from agenthifive.vault.kms.model import KeyService
from agenthifive.vault.kms.unwrapping import unwrap_all
from vault.kms.loopback import Listening
from vault.kms.services import running

UNWRAP_ALL = unwrap_all
MODES = ("azure-kv", "aws-kms", "gcp-kms", "vault-transit")
SIGN_IN_SECRET = "0123456789abcdef-sign-in-secret-of-these-tests"


@dataclass
class Stage:
    """One service and the settings of an instance that uses it."""

    fake: Any
    server: Listening
    home: Path
    ring: dict[str, str] = field(default_factory=dict)

    def environ(self, **more: str) -> dict[str, str]:
        """Settings; the process environment of the client libraries is not among them."""
        return {
            "HOME": str(self.home), "AGENTHIFIVE_HOME": str(self.home / "home"), "BETTER_AUTH_SECRET": SIGN_IN_SECRET,
            "ENCRYPTION_KEY_MODE": self.fake.mode, "KEY_INIT_TIMEOUT_SECONDS": "30", **self.fake.settings, **self.ring,
            **more,
        }  # fmt: skip

    def settings(self, **more: str) -> Settings:
        """Those settings, read."""
        return load_settings(self.environ(**more), cwd=self.home).settings


@contextmanager
def staged(mode: str, home: Path) -> Iterator[Stage]:
    """A stage for the length of a block."""
    with running(mode, home) as (fake, server), mock.patch.dict(os.environ, fake.environ), ExitStack() as stack:
        if mode == "gcp-kms":
            host = fake.environ["GCE_METADATA_HOST"]  # the library reads it when it is imported
            stack.enter_context(mock.patch("google.auth.compute_engine._metadata._GCE_METADATA_HOST", host))
        yield Stage(fake, server, home)


@dataclass
class Hurry:
    """A clock that only pauses move, so that the patience of a start takes no time."""

    now_s: float = 0.0
    pauses_s: list[float] = field(default_factory=list)
    on_pause: Callable[[int], None] = lambda _: None

    def pause(self, seconds: float) -> None:
        """Let time pass."""
        self.now_s += seconds
        self.pauses_s.append(seconds)
        self.on_pause(len(self.pauses_s))

    def unwrap_all(self, service: KeyService, blobs: Sequence[str], timeout_s: float) -> tuple[bytes, ...]:
        """As the start does it, under this clock."""
        return UNWRAP_ALL(service, blobs, timeout_s, lambda: self.now_s, self.pause)
