"""Google Cloud KMS: the data key is the ciphertext of one symmetric key; every value travels with its CRC-32C.

google-cloud-kms in its REST form speaks to cloudkms.googleapis.com and, for its credentials (application default), to
the metadata server or the token endpoint named in the key file. Its own retries are off, the start retries.
Source: contract/operations.md section 1.4; https://cloud.google.com/kms/docs/data-integrity-guidelines.
"""

import base64
import contextlib
import logging
import os
from collections.abc import Iterator
from typing import Any, Final

import google.auth
import requests
from google.api_core.exceptions import (
    BadRequest,
    Forbidden,
    GoogleAPICallError,
    NotFound,
    ServerError,
    TooManyRequests,
    Unauthorized,
)
from google.auth.exceptions import DefaultCredentialsError, GoogleAuthError
from google.cloud import kms
from google.protobuf.json_format import ParseError  # type: ignore[import-untyped]

from agenthifive.vault.envelope import KEY_BYTES
from agenthifive.vault.kms.crc32c import crc32c
from agenthifive.vault.kms.model import KeyServiceDenied, KeyServiceRefused, KeyServiceUnreachable, NewKey

ATTEMPT_S: Final = 5
AAD: Final = b"agenthifive"
SCOPE: Final = "https://www.googleapis.com/auth/cloudkms"

# below this level it writes down replies, the data key among them
logging.getLogger("google.cloud.kms_v1").setLevel(logging.WARNING)


class GcpKms:
    """One symmetric key of Cloud KMS."""

    def __init__(self, key_name: str) -> None:
        """Reach nothing yet. Shapes: key_name: projects/…/locations/…/keyRings/…/cryptoKeys/…."""
        self._key_name = key_name
        self._client: kms.KeyManagementServiceClient | None = None

    def describe(self) -> str:
        """Which key where."""
        return f"Google Cloud KMS key {self._key_name}"

    def wrap(self, key: bytes) -> str:
        """Encrypt under the primary version. Permission: cloudkms.cryptoKeyVersions.useToEncrypt."""
        request = kms.EncryptRequest(
            name=self._key_name,
            plaintext=key,
            plaintext_crc32c=crc32c(key),
            additional_authenticated_data=AAD,
            additional_authenticated_data_crc32c=crc32c(AAD),
        )
        with self._calling("cloudkms.cryptoKeyVersions.useToEncrypt") as client:
            reply = client.encrypt(request=request, retry=None, timeout=ATTEMPT_S)
        is_whole = reply.verified_plaintext_crc32c and reply.verified_additional_authenticated_data_crc32c
        self._require_whole(is_request_whole=is_whole, octets=reply.ciphertext, checksum=reply.ciphertext_crc32c)
        return base64.b64encode(reply.ciphertext).decode("ascii")

    def unwrap(self, blob: str) -> bytes:
        """Decrypt. Permission: cloudkms.cryptoKeyVersions.useToDecrypt."""
        ciphertext = base64.b64decode(blob)
        request = kms.DecryptRequest(
            name=self._key_name,
            ciphertext=ciphertext,
            ciphertext_crc32c=crc32c(ciphertext),
            additional_authenticated_data=AAD,
            additional_authenticated_data_crc32c=crc32c(AAD),
        )
        with self._calling("cloudkms.cryptoKeyVersions.useToDecrypt") as client:
            reply = client.decrypt(request=request, retry=None, timeout=ATTEMPT_S)
        self._require_whole(is_request_whole=True, octets=reply.plaintext, checksum=reply.plaintext_crc32c)
        return bytes(reply.plaintext)

    def rewrap(self, blob: str) -> str:
        """Decrypt and encrypt: the primary version wraps."""
        return self.wrap(self.unwrap(blob))

    def generate(self) -> NewKey:
        """Drawn here: the service draws only for a wider permission."""
        material = os.urandom(KEY_BYTES)
        return NewKey(material, self.wrap(material))

    @contextlib.contextmanager
    def _calling(self, permission: str) -> Iterator[kms.KeyManagementServiceClient]:
        """A client, and every way its call may fail as one of ours."""
        try:
            yield self._connect()
        except GoogleAPICallError as error:
            raise self._translate(error, permission) from None
        except DefaultCredentialsError:
            raise KeyServiceRefused(
                f"there are no Google credentials for {self.describe()}; give the machine a service account, or set "
                "GOOGLE_APPLICATION_CREDENTIALS in the process environment"
            ) from None
        except GoogleAuthError as error:
            if error.retryable:
                raise KeyServiceUnreachable(f"cannot reach {self.describe()} (no token: {_name(error)})") from None
            raise KeyServiceDenied(f"Google does not accept the credentials for {self.describe()}") from None
        except requests.exceptions.JSONDecodeError:
            raise self._garbage() from None
        except requests.exceptions.RequestException as error:
            raise KeyServiceUnreachable(f"cannot reach {self.describe()} ({_name(error)})") from None
        except (ParseError, ValueError):
            raise self._garbage() from None

    def _connect(self) -> kms.KeyManagementServiceClient:
        """The client, made once, so that one start asks for one token."""
        if self._client is None:
            credentials, _ = google.auth.default(scopes=[SCOPE])
            self._client = kms.KeyManagementServiceClient(credentials=credentials, transport="rest")
        return self._client

    def _translate(self, error: GoogleAPICallError, permission: str) -> Exception:
        if isinstance(error, ServerError | TooManyRequests):
            return KeyServiceUnreachable(f"cannot reach {self.describe()} (it answered {error.code})")
        if isinstance(error, Forbidden):
            return KeyServiceDenied(f"{self.describe()} denies it; the permission {permission} is missing")
        if isinstance(error, Unauthorized):
            return KeyServiceDenied(f"Google does not accept the credentials for {self.describe()}")
        if isinstance(error, NotFound):
            return KeyServiceRefused(f"{self.describe()} refuses: no such key; check GCP_KMS_KEY_NAME")
        if isinstance(error, BadRequest):
            return KeyServiceRefused(
                f"{self.describe()} refuses: the key version is disabled or destroyed, or the wrapped key was not made "
                "with this key and the additional data `agenthifive`; enable the version, check GCP_KMS_WRAPPED_DEK"
            )
        return (
            self._garbage()
            if error.code is None
            else KeyServiceRefused(f"{self.describe()} cannot be used (it answered {error.code})")
        )

    def _require_whole(self, *, is_request_whole: bool, octets: bytes, checksum: Any) -> None:
        """Raises: KeyServiceUnreachable, because what was damaged on its way may arrive whole the next time."""
        if not octets or checksum is None:
            raise self._garbage()
        if not is_request_whole or int(checksum) != crc32c(octets):
            raise KeyServiceUnreachable(f"cannot reach {self.describe()} (a value does not match its CRC32C)")

    def _garbage(self) -> KeyServiceRefused:
        return KeyServiceRefused(f"{self.describe()} answered something that is no reply of Google Cloud KMS")


def _name(error: Exception) -> str:
    return type(error).__name__
