"""AWS KMS: the data key is a CiphertextBlob of one symmetric key, tied to an encryption context.

boto3 speaks to one endpoint (AWS_KMS_ENDPOINT_URL, else the region's) and to the identity endpoint of its credential
chain; its own retries are off, the start retries. Source: contract/operations.md section 1.4;
https://docs.aws.amazon.com/kms/latest/APIReference/.
"""

import base64
import contextlib
import logging
from collections.abc import Iterator, Mapping
from typing import Any, Final

import boto3  # type: ignore[import-untyped]
from botocore.config import Config  # type: ignore[import-untyped]
from botocore.exceptions import (  # type: ignore[import-untyped]
    BotoCoreError,
    ClientError,
    CredentialRetrievalError,
    HTTPClientError,
    NoCredentialsError,
    PartialCredentialsError,
)
from botocore.exceptions import (
    ConnectionError as BotoConnectionError,
)
from botocore.parsers import ResponseParserError  # type: ignore[import-untyped]

from agenthifive.vault.kms.model import KeyServiceDenied, KeyServiceRefused, KeyServiceUnreachable, NewKey

ATTEMPT_S: Final = 5

logging.getLogger("botocore").setLevel(logging.WARNING)  # below it writes down replies, the data key among them

_UNKNOWN_CALLER: Final = frozenset(
    {"UnrecognizedClientException", "InvalidClientTokenId", "InvalidSignatureException", "SignatureDoesNotMatch",
     "ExpiredTokenException", "ExpiredToken", "IncompleteSignature", "MissingAuthenticationToken",
     "MissingAuthenticationTokenException", "NotAuthorized"}
)  # fmt: skip
_PASSING: Final = frozenset(
    {"KeyUnavailableException", "KMSInternalException", "DependencyTimeoutException", "ThrottlingException",
     "LimitExceededException", "RequestLimitExceeded", "ServiceUnavailable", "InternalFailure"}
)  # fmt: skip
_EXPLAINED: Final[Mapping[str, str]] = {
    "DisabledException": "the key is disabled; enable it",
    "KMSInvalidStateException": "the key is not usable (pending deletion or import); cancel that",
    "NotFoundException": "no such key in this region; check AWS_KMS_KEY_ID and AWS_REGION",
    "InvalidCiphertextException": "the wrapped key was not made with this key and encryption context; check "
    "AWS_KMS_WRAPPED_DEK and AWS_KMS_ENCRYPTION_CONTEXT",
    "IncorrectKeyException": "the wrapped key was made with another key; check AWS_KMS_KEY_ID",
    "InvalidKeyUsageException": "the key is not for encryption; expected a symmetric one",
}


class AwsKms:
    """One symmetric KMS key."""

    def __init__(self, key_id: str, region: str, context: Mapping[str, str], endpoint_url: str | None = None) -> None:
        """Reach nothing yet. Shapes: context: of every call; AWS refuses a blob that was made with another."""
        self._key_id = key_id
        self._region = region
        self._context = dict(context)
        self._endpoint_url = endpoint_url
        self._client: Any = None

    def describe(self) -> str:
        """Which key where."""
        return f"AWS KMS key {self._key_id} at {self._endpoint_url or self._region}"

    def wrap(self, key: bytes) -> str:
        """Encrypt, for a key that exists already. Permission: kms:Encrypt."""
        with self._calling("kms:Encrypt") as client:
            reply = client.encrypt(KeyId=self._key_id, Plaintext=key, EncryptionContext=self._context)
            return _text(reply["CiphertextBlob"])

    def unwrap(self, blob: str) -> bytes:
        """Decrypt. Permission: kms:Decrypt."""
        with self._calling("kms:Decrypt") as client:
            reply = client.decrypt(
                KeyId=self._key_id, CiphertextBlob=base64.b64decode(blob), EncryptionContext=self._context
            )
            return bytes(reply["Plaintext"])

    def rewrap(self, blob: str) -> str:
        """Decrypt and Encrypt: the newest key material wraps."""
        return self.wrap(self.unwrap(blob))

    def generate(self) -> NewKey:
        """GenerateDataKey. Permission: kms:GenerateDataKey."""
        with self._calling("kms:GenerateDataKey") as client:
            reply = client.generate_data_key(KeyId=self._key_id, KeySpec="AES_256", EncryptionContext=self._context)
            return NewKey(bytes(reply["Plaintext"]), _text(reply["CiphertextBlob"]))

    @contextlib.contextmanager
    def _calling(self, permission: str) -> Iterator[Any]:
        """A client, and every way its call may fail as one of ours."""
        try:
            yield self._connect()
        except ClientError as error:
            raise self._translate(error, permission) from None
        except (NoCredentialsError, PartialCredentialsError):
            raise KeyServiceRefused(
                f"there are no AWS credentials for {self.describe()}; give the machine a role, or set "
                "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY in the process environment"
            ) from None
        except (BotoConnectionError, HTTPClientError, CredentialRetrievalError) as error:
            raise KeyServiceUnreachable(f"cannot reach {self.describe()} ({type(error).__name__})") from None
        except (ResponseParserError, KeyError, TypeError, ValueError):
            raise KeyServiceRefused(f"{self.describe()} answered something that is no reply of AWS KMS") from None
        except BotoCoreError as error:
            raise KeyServiceRefused(f"{self.describe()} cannot be used ({type(error).__name__})") from None

    def _connect(self) -> Any:
        """The client, made once: its description of the service is large."""
        if self._client is None:
            config = Config(
                connect_timeout=ATTEMPT_S,
                read_timeout=ATTEMPT_S,
                retries={"total_max_attempts": 1, "mode": "standard"},
                ignore_configured_endpoint_urls=True,
            )
            session = boto3.session.Session(region_name=self._region)
            self._client = session.client("kms", endpoint_url=self._endpoint_url, config=config)
        return self._client

    def _translate(self, error: ClientError, permission: str) -> Exception:
        code = str(error.response.get("Error", {}).get("Code", ""))
        status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
        if code in _PASSING or status == 429 or status >= 500:
            return KeyServiceUnreachable(f"cannot reach {self.describe()} (it answered {status} {_tame(code)})")
        if code in {"AccessDeniedException", "AccessDenied"}:
            return KeyServiceDenied(f"{self.describe()} denies it; the permission {permission} is missing")
        if code in _UNKNOWN_CALLER:
            return KeyServiceDenied(f"{self.describe()} does not accept the AWS credentials ({code})")
        reason = _EXPLAINED.get(code, f"it answered {status} {_tame(code)}")
        return KeyServiceRefused(f"{self.describe()} refuses: {reason}")


def _text(blob: bytes) -> str:
    return base64.b64encode(blob).decode("ascii")


def _tame(code: str) -> str:
    return code if code.isalnum() and len(code) <= 60 else "with an unknown code"
