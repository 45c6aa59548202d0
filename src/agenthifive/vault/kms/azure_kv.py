"""Azure Key Vault: the data key lies in a secret, wrapped by an RSA key of the same vault.

    secret NAME[/VERSION] --get--> base64 + tag kek-version --unwrapKey, RSA-OAEP-256--> 32 bytes, or 64 hex digits

The client libraries speak to the vault, and to the identity endpoint of the managed identity or, on a person's machine,
of the default chain; no browser, no redirects, no retries of their own. A blob is `VERSION:BASE64`, or the name of the
secret that holds it. Source: contract/operations.md section 1.4; https://learn.microsoft.com/rest/api/keyvault/.
"""

import base64
import binascii
import contextlib
import json
import logging
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final

from azure.core.exceptions import (
    AzureError,
    ClientAuthenticationError,
    DecodeError,
    HttpResponseError,
    ServiceRequestError,
    ServiceResponseError,
)
from azure.identity import CredentialUnavailableError, DefaultAzureCredential, ManagedIdentityCredential
from azure.keyvault.keys import KeyClient
from azure.keyvault.keys.crypto import CryptographyClient, KeyWrapAlgorithm
from azure.keyvault.secrets import SecretClient

from agenthifive.vault.envelope import KEY_BYTES
from agenthifive.vault.kms.model import (
    KeyServiceDenied,
    KeyServiceError,
    KeyServiceRefused,
    KeyServiceUnreachable,
    NewKey,
)

ATTEMPT_S: Final = 5
VERSION_TAG: Final = "kek-version"

for _talkative in ("azure", "msal"):
    logging.getLogger(_talkative).setLevel(logging.WARNING)  # below it they write down requests and replies

_OPTIONS: Final[Mapping[str, Any]] = {
    "retry_total": 0,
    "permit_redirects": False,
    "connection_timeout": ATTEMPT_S,
    "read_timeout": ATTEMPT_S,
}
_HEX_KEY: Final = re.compile(rb"[0-9A-Fa-f]{64}")
_VERSION: Final = re.compile(r"[0-9A-Za-z]{1,64}")
_LONG_AGO: Final = datetime.min.replace(tzinfo=UTC)
_STATES: Final = {
    "KeyDisabled": "the key version is disabled; enable it",
    "SecretDisabled": "the secret is disabled; enable it",
    "ForbiddenByFirewall": "the vault's network rules keep this address out",
    "ForbiddenByConnection": "the vault only takes private connections",
}


class AzureKeyVault:
    """One RSA key of a vault, and the secrets beside it."""

    def __init__(self, vault: str, kek_name: str, identity_client_id: str | None = None) -> None:
        """Reach nothing yet.

        Shapes: vault: an https origin. identity_client_id: the user-assigned identity; None for the system-assigned
        one or the default chain.
        """
        self._vault = vault
        self._kek_name = kek_name
        self._credential = _credential(identity_client_id)

    def describe(self) -> str:
        """Which key where."""
        return f"Azure Key Vault key {self._kek_name} at {self._vault}"

    def wrap(self, key: bytes) -> str:
        """WrapKey under the newest version. Permissions: keys/list, keys/wrapKey."""
        version = self._newest_versions()[0]
        with self._calling("keys/wrapKey"), self._crypto(version) as crypto:
            wrapped = crypto.wrap_key(KeyWrapAlgorithm.rsa_oaep_256, key).encrypted_key
        return f"{version}:{base64.b64encode(wrapped).decode('ascii')}"

    def unwrap(self, blob: str) -> bytes:
        """UnwrapKey. Permissions: keys/unwrapKey, and secrets/get for a blob in a secret."""
        version, _, text = (blob if ":" in blob else self._read(blob)).partition(":")
        wrapped = _read_base64(text)
        if wrapped is None:
            raise KeyServiceRefused(f"{self.describe()}: the secret {blob} is not base64; expected a wrapped key")
        if version:
            return _key(self._unwrap(version, wrapped))
        return _key(self._unwrap_with_any(self._newest_versions(), wrapped))

    def rewrap(self, blob: str) -> str:
        """UnwrapKey and WrapKey: the newest version wraps."""
        return self.wrap(self.unwrap(blob))

    def generate(self) -> NewKey:
        """Drawn here: a vault draws only for a wider permission."""
        material = os.urandom(KEY_BYTES)
        return NewKey(material, self.wrap(material))

    def _read(self, name: str) -> str:
        with self._calling("secrets/get"), SecretClient(self._vault, self._credential, **_OPTIONS) as client:
            secret_name, _, version = name.partition("/")
            secret = client.get_secret(secret_name, version or None)
            tagged = (secret.properties.tags or {}).get(VERSION_TAG, "")
        if tagged and not _VERSION.fullmatch(tagged):
            raise KeyServiceRefused(f"{self.describe()}: the tag {VERSION_TAG} of the secret {name} is no version")
        return f"{tagged}:{(secret.value or '').strip()}"

    def _newest_versions(self) -> Sequence[str]:
        """The enabled versions of the key, the newest first. Permission: keys/list."""
        doing = f"keys/list (or the tag {VERSION_TAG} on the secret)"
        with self._calling(doing), KeyClient(self._vault, self._credential, **_OPTIONS) as client:
            found = [each for each in client.list_properties_of_key_versions(self._kek_name) if each.enabled]
        found.sort(key=lambda each: each.created_on or _LONG_AGO, reverse=True)
        versions = [each.version for each in found if each.version]
        if not versions:
            raise KeyServiceRefused(f"{self.describe()} refuses: there is no enabled version of this key")
        return versions

    def _unwrap_with_any(self, versions: Sequence[str], wrapped: bytes) -> bytes:
        refusal: KeyServiceError | None = None
        for version in versions:
            try:
                return self._unwrap(version, wrapped)
            except KeyServiceRefused as refused:
                refusal = refused
        raise refusal or KeyServiceRefused(f"{self.describe()} refuses")

    def _unwrap(self, version: str, wrapped: bytes) -> bytes:
        with self._calling("keys/unwrapKey"), self._crypto(version) as crypto:
            return bytes(crypto.unwrap_key(KeyWrapAlgorithm.rsa_oaep_256, wrapped).key)

    def _crypto(self, version: str) -> CryptographyClient:
        return CryptographyClient(f"{self._vault}/keys/{self._kek_name}/{version}", self._credential, **_OPTIONS)

    @contextlib.contextmanager
    def _calling(self, permission: str) -> Iterator[None]:
        """Every way a request may fail as one of ours."""
        try:
            yield
        except CredentialUnavailableError:
            raise KeyServiceUnreachable(
                f"cannot reach {self.describe()} (no identity gave a token; is a managed identity assigned, and is "
                "AZURE_MANAGED_IDENTITY_CLIENT_ID right?)"
            ) from None
        except DecodeError:
            raise self._garbage() from None
        except HttpResponseError as error:
            raise self._translate(error, permission) from None
        except (ServiceRequestError, ServiceResponseError) as error:
            raise KeyServiceUnreachable(f"cannot reach {self.describe()} ({type(error).__name__})") from None
        except (AzureError, AttributeError, KeyError, TypeError, ValueError):
            raise self._garbage() from None

    def _translate(self, error: HttpResponseError, permission: str) -> Exception:
        status, state = error.status_code, _state(error)
        if status is not None and (status == 429 or status >= 500):
            return KeyServiceUnreachable(f"cannot reach {self.describe()} (it answered {status})")
        if state in _STATES:
            return KeyServiceRefused(f"{self.describe()} refuses: {_STATES[state]}")
        if status == 403:
            return KeyServiceDenied(f"{self.describe()} denies it; the permission {permission} is missing")
        if isinstance(error, ClientAuthenticationError):
            return KeyServiceDenied(f"{self.describe()} does not accept the identity of this machine")
        if status == 404:
            return KeyServiceRefused(
                f"{self.describe()} refuses: no such key or secret; check AZURE_KV_KEK_NAME and "
                "AZURE_KV_WRAPPED_DEK_SECRET"
            )
        if status == 400:
            return KeyServiceRefused(
                f"{self.describe()} refuses: the wrapped key was not made with this key version by RSA-OAEP-256; check "
                f"the secret and its tag {VERSION_TAG}"
            )
        return KeyServiceRefused(f"{self.describe()} cannot be used (it answered {status})")

    def _garbage(self) -> KeyServiceRefused:
        return KeyServiceRefused(f"{self.describe()} answered something that is no reply of Azure Key Vault")


def _credential(identity_client_id: str | None) -> DefaultAzureCredential | ManagedIdentityCredential:
    if identity_client_id is not None:
        return ManagedIdentityCredential(client_id=identity_client_id, **_OPTIONS)
    return DefaultAzureCredential(
        exclude_interactive_browser_credential=True,
        exclude_shared_token_cache_credential=True,
        exclude_visual_studio_code_credential=True,
        exclude_powershell_credential=True,
        exclude_developer_cli_credential=True,
        exclude_broker_credential=True,
        **_OPTIONS,
    )


def _state(error: HttpResponseError) -> str:
    """The inner code of a refusal, which tells a disabled key from a missing right."""
    try:
        body = json.loads(error.response.text()) if error.response is not None else {}
        return str(body["error"]["innererror"]["code"])
    except (ValueError, KeyError, TypeError):
        return ""


def _read_base64(text: str) -> bytes | None:
    """The bytes of base64, standard or url, padded or not; None for anything else."""
    standard = text.replace("-", "+").replace("_", "/").rstrip("=")
    try:
        return base64.b64decode(standard + "=" * (-len(standard) % 4), validate=True) or None
    except binascii.Error:
        return None


def _key(plaintext: bytes) -> bytes:
    return bytes.fromhex(plaintext.decode("ascii")) if _HEX_KEY.fullmatch(plaintext) else plaintext
