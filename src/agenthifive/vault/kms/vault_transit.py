"""HashiCorp Vault and OpenBao: the transit engine encrypts the data key under a versioned key that never leaves it.

hvac speaks to VAULT_ADDR only and follows no redirect. One sign-in a start: a token, an AppRole, or the service account
of the pod. Source: contract/operations.md section 1.4; https://developer.hashicorp.com/vault/api-docs/secret/transit.
"""

import base64
import binascii
import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import hvac  # type: ignore[import-untyped]
import requests
from hvac.exceptions import (  # type: ignore[import-untyped]
    BadGateway,
    Forbidden,
    InternalServerError,
    InvalidPath,
    InvalidRequest,
    RateLimitExceeded,
    Unauthorized,
    VaultDown,
    VaultError,
    VaultNotInitialized,
)

from agenthifive.vault.kms.model import KeyServiceDenied, KeyServiceRefused, KeyServiceUnreachable, NewKey
from agenthifive.vault.secret import Secret

ATTEMPT_S: Final = 5
SERVICE_ACCOUNT: Final = Path("/var/run/secrets/kubernetes.io/serviceaccount/token")


@dataclass(frozen=True, slots=True)
class TokenSignIn:
    """A token that exists already."""

    token: Secret[str]

    def enter(self, client: Any) -> None:
        """Use it."""
        client.token = self.token.reveal()


@dataclass(frozen=True, slots=True)
class AppRoleSignIn:
    """A role and its secret."""

    role_id: str
    secret_id: Secret[str]

    def enter(self, client: Any) -> None:
        """Exchange them for a token, which the client keeps."""
        client.auth.approle.login(role_id=self.role_id, secret_id=self.secret_id.reveal())


@dataclass(frozen=True, slots=True)
class KubernetesSignIn:
    """The service account of the pod this process runs in."""

    role: str
    token_file: Path = SERVICE_ACCOUNT

    def enter(self, client: Any) -> None:
        """Exchange the account's token for Vault's, which the client keeps."""
        try:
            account = self.token_file.read_text("utf-8").strip()
        except (OSError, UnicodeDecodeError):
            raise KeyServiceRefused(
                f"the service account's token {self.token_file} cannot be read; VAULT_K8S_ROLE is for pods"
            ) from None
        client.auth.kubernetes.login(role=self.role, jwt=account)


SignIn = TokenSignIn | AppRoleSignIn | KubernetesSignIn


@dataclass(frozen=True, slots=True)
class TransitKey:
    """One key of a transit engine. Shapes: address: an origin."""

    address: str
    mount: str = "transit"
    name: str = "agenthifive"
    namespace: str | None = None


class VaultTransit:
    """That key, used under one sign-in."""

    def __init__(self, key: TransitKey, sign_in: SignIn) -> None:
        """Reach nothing yet."""
        self._key = key
        self._sign_in = sign_in
        self._signed_in: Any = None

    def describe(self) -> str:
        """Which key where."""
        key = self._key
        where = f"{key.address} namespace {key.namespace}" if key.namespace else key.address
        return f"Vault transit key {key.mount}/{key.name} at {where}"

    def wrap(self, key: bytes) -> str:
        """transit/encrypt. Policy: update on it."""
        reply = self._ask("encrypt", {"plaintext": base64.b64encode(key).decode("ascii")})
        return self._blob(reply)

    def unwrap(self, blob: str) -> bytes:
        """transit/decrypt. Policy: update on it."""
        return self._plaintext(self._ask("decrypt", {"ciphertext": blob}))

    def rewrap(self, blob: str) -> str:
        """transit/rewrap: the data key does not leave Vault. Policy: update on it."""
        return self._blob(self._ask("rewrap", {"ciphertext": blob}))

    def generate(self) -> NewKey:
        """transit/datakey/plaintext. Policy: update on it."""
        reply = self._ask("datakey/plaintext", {"bits": 256})
        return NewKey(self._plaintext(reply), self._blob(reply))

    def _ask(self, verb: str, body: dict[str, object]) -> dict[str, Any]:
        path = f"{self._key.mount}/{verb}/{self._key.name}"
        with self._calling(path):
            reply = self._client().write_data(path, data=body)
            if isinstance(reply, dict) and isinstance(reply.get("data"), dict):
                data: dict[str, Any] = reply["data"]
                return data
        raise self._garbage()

    def _client(self) -> Any:
        """The client that is signed in. Kept, so that one start signs in once."""
        if self._signed_in is None:
            client = hvac.Client(
                url=self._key.address,
                token="",  # not VAULT_TOKEN of the process or ~/.vault-token: only what the settings say
                timeout=ATTEMPT_S,
                allow_redirects=False,
                namespace=self._key.namespace,
            )
            with self._calling("auth", is_sign_in=True):
                self._sign_in.enter(client)
            self._signed_in = client
        return self._signed_in

    @contextlib.contextmanager
    def _calling(self, path: str, *, is_sign_in: bool = False) -> Iterator[None]:
        """Every way a request may fail as one of ours."""
        try:
            yield
        except (Forbidden, Unauthorized, InvalidRequest, InvalidPath) as error:
            raise self._translate(error, path, is_sign_in=is_sign_in) from None
        except (VaultDown, BadGateway, InternalServerError, RateLimitExceeded, VaultNotInitialized) as error:
            raise KeyServiceUnreachable(f"cannot reach {self.describe()} ({_what(error)})") from None
        except requests.exceptions.JSONDecodeError:
            raise self._garbage() from None
        except requests.exceptions.RequestException as error:
            raise KeyServiceUnreachable(f"cannot reach {self.describe()} ({type(error).__name__})") from None
        except VaultError as error:
            raise KeyServiceRefused(f"{self.describe()} cannot be used ({type(error).__name__})") from None
        except (KeyError, TypeError, AttributeError):
            raise self._garbage() from None

    def _translate(self, error: VaultError, path: str, *, is_sign_in: bool) -> Exception:
        if is_sign_in:
            return KeyServiceDenied(
                f"{self.describe()} does not accept the sign-in; check VAULT_ROLE_ID and VAULT_SECRET_ID, or "
                "VAULT_K8S_ROLE"
            )
        if isinstance(error, Forbidden | Unauthorized):
            return KeyServiceDenied(
                f"{self.describe()} denies it; a policy with `update` on {path} is missing, or the token has ended"
            )
        if isinstance(error, InvalidPath):
            return KeyServiceRefused(
                f"{self.describe()} refuses: no such mount; check VAULT_TRANSIT_MOUNT and VAULT_NAMESPACE"
            )
        return KeyServiceRefused(
            f"{self.describe()} refuses: no such key, or the wrapped key was made with another key or with a version "
            "below its min_decryption_version; check VAULT_TRANSIT_KEY and VAULT_WRAPPED_DEK"
        )

    def _garbage(self) -> KeyServiceRefused:
        return KeyServiceRefused(f"{self.describe()} answered something that is no reply of Vault's transit engine")

    def _plaintext(self, data: dict[str, Any]) -> bytes:
        try:
            return base64.b64decode(data["plaintext"], validate=True)
        except (KeyError, TypeError, ValueError, binascii.Error):
            raise self._garbage() from None

    def _blob(self, data: dict[str, Any]) -> str:
        blob = data.get("ciphertext")
        if not isinstance(blob, str) or not blob.startswith("vault:v"):
            raise self._garbage()
        return blob


def _what(error: VaultError) -> str:
    reasons = {VaultDown: "it is sealed or in standby", RateLimitExceeded: "it limits our rate",
               VaultNotInitialized: "it is not initialised"}  # fmt: skip
    return reasons.get(type(error), type(error).__name__)
