"""The four key services as their APIs are, on loopback: real ciphers, real paths, real refusals, every request kept.

Each fake says which settings and which process environment lead to it, and can be told to misbehave (`trouble`).
"""

import base64
import os
import re
import ssl
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import parse_qs, urlsplit

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from agenthifive.vault.kms.crc32c import crc32c
from certificates import issue
from vault.kms.loopback import Answer, Asked, Listening, listening

GARBAGE = b"<html>Welcome to the hotel network</html>"
AWS_KEY = "arn:aws:kms:eu-central-1:111122223333:key/1234abcd-12ab-34cd-56ef-1234567890ab"
GCP_KEY = "projects/ah5/locations/europe-west1/keyRings/agenthifive/cryptoKeys/data"
IDENTITY = "7f2a1c44-90b5-4a3e-8c59-2d7d2f0f6b11"
OAEP = padding.OAEP(padding.MGF1(hashes.SHA256()), hashes.SHA256(), None)


class Fake(Protocol):
    """What the tests of all modes need of a service."""

    mode: str
    trouble: str
    operations: list[str]
    environ: Mapping[str, str]
    settings: Mapping[str, str]

    def ring(self, keys: Sequence[bytes]) -> dict[str, str]:
        """Wrap some keys; the settings that name them, the active one first."""

    def respond(self, asked: Asked) -> Answer:
        """The service's answer."""


def b64(octets: bytes) -> str:
    """Standard base64."""
    return base64.b64encode(octets).decode()


def b64url(octets: bytes) -> str:
    """The base64url of JSON web keys."""
    return base64.urlsafe_b64encode(octets).rstrip(b"=").decode()


def unb64url(text: str) -> bytes:
    """And back."""
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


class Cipher:
    """AES-256-GCM under one key, as the services that keep symmetric keys do it inside."""

    def __init__(self) -> None:
        self._cipher = AESGCM(os.urandom(32))

    def encrypt(self, plaintext: bytes, data: bytes) -> bytes:
        nonce = os.urandom(12)
        return nonce + self._cipher.encrypt(nonce, plaintext, data)

    def decrypt(self, blob: bytes, data: bytes) -> bytes | None:
        try:
            return self._cipher.decrypt(blob[:12], blob[12:], data)
        except InvalidTag:
            return None


@dataclass
class AwsFake:
    """KMS, JSON 1.1: one target for each action, SigV4 in the header."""

    port: int = 0
    trouble: str = ""
    mode: str = "aws-kms"
    operations: list[str] = field(default_factory=list)
    cipher: Cipher = field(default_factory=Cipher)
    environ: Mapping[str, str] = field(
        default_factory=lambda: {
            "AWS_ACCESS_KEY_ID": "AKIAIOSFODNN7EXAMPLE", "AWS_SECRET_ACCESS_KEY": "not-a-secret-of-anybody",
            "AWS_EC2_METADATA_DISABLED": "true",
        }
    )  # fmt: skip

    @property
    def settings(self) -> Mapping[str, str]:
        return {"AWS_KMS_KEY_ID": AWS_KEY, "AWS_KMS_ENDPOINT_URL": f"http://127.0.0.1:{self.port}"}

    def ring(self, keys: Sequence[bytes]) -> dict[str, str]:
        blobs = [b64(self.cipher.encrypt(key, b"app=agenthifive")) for key in keys]
        return {"AWS_KMS_WRAPPED_DEK": blobs[0], "AWS_KMS_WRAPPED_DEK_PREVIOUS": ",".join(blobs[1:])}

    def respond(self, asked: Asked) -> Answer:
        action = asked.headers.get("x-amz-target", "").removeprefix("TrentService.")
        self.operations.append(action)
        if not re.match(r"AWS4-HMAC-SHA256 Credential=AKIA\S+/eu-central-1/kms/aws4_request, ",
                        asked.headers.get("authorization", "")):  # fmt: skip
            return self._refuse("MissingAuthenticationTokenException")
        troubles = {
            "denied": "AccessDeniedException", "disabled": "DisabledException",
            "stranger": "UnrecognizedClientException", "gone": "NotFoundException",
        }  # fmt: skip
        if self.trouble in troubles:
            return self._refuse(troubles[self.trouble])
        if self.trouble == "busy":
            return Answer(500, {"__type": "KMSInternalException", "message": "busy"})
        if self.trouble == "garbage":
            return Answer(200, GARBAGE)
        if self.trouble == "empty":
            return Answer(200, {})
        data = ",".join(f"{k}={v}" for k, v in sorted(asked.body.get("EncryptionContext", {}).items())).encode()
        if asked.body["KeyId"] != AWS_KEY:
            return self._refuse("NotFoundException")
        if action == "Encrypt":
            blob = self.cipher.encrypt(base64.b64decode(asked.body["Plaintext"]), data)
            return Answer(200, {"KeyId": AWS_KEY, "CiphertextBlob": b64(blob)})
        if action == "GenerateDataKey":
            assert asked.body["KeySpec"] == "AES_256"
            key = os.urandom(32)
            return Answer(
                200, {"KeyId": AWS_KEY, "Plaintext": b64(key), "CiphertextBlob": b64(self.cipher.encrypt(key, data))}
            )
        assert action == "Decrypt"
        plaintext = self.cipher.decrypt(base64.b64decode(asked.body["CiphertextBlob"]), data)
        if plaintext is None:
            return self._refuse("InvalidCiphertextException")
        return Answer(200, {"KeyId": AWS_KEY, "Plaintext": b64(plaintext), "EncryptionAlgorithm": "SYMMETRIC_DEFAULT"})

    def _refuse(self, code: str) -> Answer:
        return Answer(400, {"__type": code, "message": "no"})


@dataclass
class GcpFake:
    """Cloud KMS in its REST form, behind a proxy on loopback, and the metadata server of a machine of Google's."""

    trouble: str = ""
    mode: str = "gcp-kms"
    operations: list[str] = field(default_factory=list)
    cipher: Cipher = field(default_factory=Cipher)
    environ: Mapping[str, str] = field(default_factory=dict)
    token: str = "ya29.not-a-token-of-anybody"
    settings: Mapping[str, str] = field(default_factory=lambda: {"GCP_KMS_KEY_NAME": GCP_KEY})

    def ring(self, keys: Sequence[bytes]) -> dict[str, str]:
        blobs = [b64(self.cipher.encrypt(key, b"agenthifive")) for key in keys]
        return {"GCP_KMS_WRAPPED_DEK": blobs[0], "GCP_KMS_WRAPPED_DEK_PREVIOUS": ",".join(blobs[1:])}

    def respond(self, asked: Asked) -> Answer:
        name, _, action = urlsplit(asked.path).path.removeprefix("/v1/").rpartition(":")
        self.operations.append(action)
        if asked.headers.get("authorization") != f"Bearer {self.token}" or self.trouble == "stranger":
            return self._refuse(401, "UNAUTHENTICATED")
        troubles = {"denied": (403, "PERMISSION_DENIED"), "disabled": (400, "FAILED_PRECONDITION"),
                    "busy": (503, "UNAVAILABLE"), "gone": (404, "NOT_FOUND")}  # fmt: skip
        if self.trouble in troubles:
            return self._refuse(*troubles[self.trouble])
        if self.trouble == "garbage":
            return Answer(200, GARBAGE)
        if self.trouble == "empty":
            return Answer(200, {})
        if name != GCP_KEY:
            return self._refuse(404, "NOT_FOUND")
        data = base64.b64decode(asked.body["additionalAuthenticatedData"])
        assert int(asked.body["additionalAuthenticatedDataCrc32c"]) == crc32c(data)
        field_name = "plaintext" if action == "encrypt" else "ciphertext"
        sent = base64.b64decode(asked.body[field_name])
        assert int(asked.body[f"{field_name}Crc32c"]) == crc32c(sent)
        wrong = 1 if self.trouble == "damaged" else 0
        if action == "encrypt":
            blob = self.cipher.encrypt(sent, data)
            return Answer(200, {
                "name": f"{GCP_KEY}/cryptoKeyVersions/3", "ciphertext": b64(blob), "protectionLevel": 1,
                "ciphertextCrc32c": str(crc32c(blob) ^ wrong), "verifiedPlaintextCrc32c": self.trouble != "unverified",
                "verifiedAdditionalAuthenticatedDataCrc32c": True,
            })  # fmt: skip
        plaintext = self.cipher.decrypt(sent, data)
        if plaintext is None:
            return self._refuse(400, "INVALID_ARGUMENT")
        return Answer(200, {"plaintext": b64(plaintext), "plaintextCrc32c": str(crc32c(plaintext) ^ wrong),
                            "usedPrimary": True, "protectionLevel": 1})  # fmt: skip

    def metadata(self, asked: Asked) -> Answer:
        """The metadata server."""
        path = urlsplit(asked.path).path
        assert asked.headers.get("metadata-flavor") == "Google"
        account = {"email": "agenthifive@ah5.iam.gserviceaccount.com", "aliases": ["default"],
                   "scopes": ["https://www.googleapis.com/auth/cloud-platform"]}  # fmt: skip
        known: dict[str, Any] = {
            "/": b"computeMetadata/",
            "/computeMetadata/v1/project/project-id": b"ah5",
            "/computeMetadata/v1/universe/universe-domain": b"googleapis.com",
            "/computeMetadata/v1/universe/universe_domain": b"googleapis.com",
            "/computeMetadata/v1/instance/service-accounts/default/": account,
        }
        flavor = {"metadata-flavor": "Google"}
        if path.endswith("/token"):
            token = {"access_token": self.token, "expires_in": 3599, "token_type": "Bearer"}
            return Answer(200, token, flavor)
        if path not in known:
            return Answer(404, b"", {"content-type": "text/plain", **flavor})
        body = known[path]
        return Answer(
            200, body, {**({"content-type": "application/text"} if isinstance(body, bytes) else {}), **flavor}
        )

    def _refuse(self, status: int, name: str) -> Answer:
        return Answer(status, {"error": {"code": status, "message": "no", "status": name}})


@dataclass
class VaultFake:
    """Vault's transit engine, its policies, and two ways to sign in."""

    port: int = 0
    trouble: str = ""
    mode: str = "vault-transit"
    operations: list[str] = field(default_factory=list)
    versions: list[Cipher] = field(default_factory=lambda: [Cipher()])
    min_decryption_version: int = 1
    namespace: str | None = None
    token: str = "hvs.not-a-token-of-anybody"
    environ: Mapping[str, str] = field(default_factory=dict)

    @property
    def settings(self) -> Mapping[str, str]:
        return {"VAULT_ADDR": f"http://127.0.0.1:{self.port}", "VAULT_TOKEN": self.token}

    def ring(self, keys: Sequence[bytes]) -> dict[str, str]:
        blobs = [self._wrap(key) for key in keys]
        return {"VAULT_WRAPPED_DEK": blobs[0], "VAULT_WRAPPED_DEK_PREVIOUS": ",".join(blobs[1:])}

    def respond(self, asked: Asked) -> Answer:
        path = asked.path.removeprefix("/v1/")
        if asked.headers.get("x-vault-namespace") != self.namespace:
            return Answer(404, {"errors": ["no handler for route"]})
        if path == "auth/approle/login":
            self.operations.append("login")
            is_known = asked.body == {"role_id": "ah5-role", "secret_id": "ah5-secret-id"}
            return self._welcome(is_known)
        if path == "auth/kubernetes/login":
            self.operations.append("login")
            return self._welcome(asked.body == {"role": "ah5", "jwt": "account-token"})
        mount, _, rest = path.partition("/")
        action, _, key_name = rest.rpartition("/")
        self.operations.append(action)
        if asked.headers.get("x-vault-token") != self.token or self.trouble == "denied":
            return Answer(403, {"errors": ["1 error occurred:\n\t* permission denied\n\n"]})
        if self.trouble == "busy":
            return Answer(503, {"errors": ["Vault is sealed"]})
        if self.trouble == "garbage":
            return Answer(200, GARBAGE)
        if self.trouble == "empty":
            return Answer(200, {"data": {}})
        if mount != "transit":
            return Answer(404, {"errors": [f'no handler for route "{path}"']})
        if key_name != "agenthifive" or self.trouble in ("gone", "disabled"):
            return Answer(400, {"errors": ["encryption key not found"]})
        return self._act(action, asked.body)

    def _act(self, action: str, body: Mapping[str, Any]) -> Answer:
        if action == "encrypt":
            return self._data(ciphertext=self._wrap(base64.b64decode(body["plaintext"])))
        if action == "datakey/plaintext":
            key = os.urandom(body["bits"] // 8)
            return self._data(plaintext=b64(key), ciphertext=self._wrap(key))
        assert action in ("decrypt", "rewrap")
        _, version, blob = body["ciphertext"].split(":")
        number = int(version[1:])
        is_open = self.min_decryption_version <= number <= len(self.versions)
        plaintext = self.versions[number - 1].decrypt(base64.b64decode(blob), b"") if is_open else None
        if plaintext is None:
            return Answer(400, {"errors": ["cipher: message authentication failed"]})
        if action == "rewrap":
            return self._data(ciphertext=self._wrap(plaintext))
        return self._data(plaintext=b64(plaintext))

    def _wrap(self, key: bytes) -> str:
        return f"vault:v{len(self.versions)}:{b64(self.versions[-1].encrypt(key, b''))}"

    def _welcome(self, is_known: bool) -> Answer:
        if not is_known:
            return Answer(400, {"errors": ["invalid role or secret ID"]})
        return Answer(200, {"auth": {"client_token": self.token, "lease_duration": 1200, "renewable": True}})

    def _data(self, **data: Any) -> Answer:
        return Answer(200, {"request_id": "1", "lease_id": "", "data": data, "warnings": None})


@dataclass
class AzureFake:
    """A Key Vault: challenge first, then secrets and RSA keys in versions; and the identity endpoint of a machine."""

    port: int = 0
    trouble: str = ""
    mode: str = "azure-kv"
    operations: list[str] = field(default_factory=list)
    permissions: set[str] = field(default_factory=lambda: {"keys/unwrapKey", "secrets/get"})
    keys: dict[str, rsa.RSAPrivateKey] = field(default_factory=dict)
    disabled: set[str] = field(default_factory=set)
    secrets: dict[str, tuple[str, dict[str, str]]] = field(default_factory=dict)
    token: str = "eyJ.not-a-token-of-anybody"
    environ: Mapping[str, str] = field(default_factory=dict)
    tokens_given: list[str] = field(default_factory=list)
    resource: str = ""

    def __post_init__(self) -> None:
        self.add_version("a" * 32)

    @property
    def url(self) -> str:
        return f"https://127.0.0.1:{self.port}"

    @property
    def settings(self) -> Mapping[str, str]:
        return {"AZURE_KEY_VAULT_URI": self.url}

    def add_version(self, version: str) -> None:
        """A new version of the key-encryption key; the newest is the last."""
        self.keys[version] = rsa.generate_private_key(65537, 2048)

    def wrap(self, key: bytes, version: str = "") -> bytes:
        return self.keys[version or list(self.keys)[-1]].public_key().encrypt(key, OAEP)

    def ring(self, keys: Sequence[bytes]) -> dict[str, str]:
        names = ["WRAPPED-DATA-KEY", *(f"OLD-{number}" for number in range(1, len(keys)))]
        for name, key in zip(names, keys, strict=True):
            self.secrets[name] = (b64(self.wrap(key)), {"kek-version": list(self.keys)[-1]})
        return {"AZURE_KV_WRAPPED_DEK_SECRET_PREVIOUS": ",".join(names[1:])}

    def identity(self, asked: Asked) -> Answer:
        """The endpoint that gives the machine's tokens."""
        query = {name: values[0] for name, values in parse_qs(urlsplit(asked.path).query).items()}
        assert asked.headers["x-identity-header"] == "header-of-this-machine"
        assert query["resource"] == f"https://0.0.1:{self.port}"
        self.tokens_given.append(query.get("client_id", ""))
        return Answer(200, {"access_token": self.token, "expires_on": "4102444800", "resource": query["resource"],
                            "token_type": "Bearer"})  # fmt: skip

    def respond(self, asked: Asked) -> Answer:
        if "authorization" not in asked.headers:
            # the resource must be a suffix of the vault's own host, as vault.azure.net is
            authority = f"https://login.microsoftonline.com/{IDENTITY}"
            resource = self.resource or f"https://0.0.1:{self.port}"
            challenge = f'Bearer authorization="{authority}", resource="{resource}"'
            return Answer(401, {"error": {"code": "Unauthorized"}}, {"www-authenticate": challenge})
        assert asked.headers["authorization"] == f"Bearer {self.token}"
        parts = urlsplit(asked.path).path.strip("/").split("/")
        assert "api-version=" in asked.path
        if parts[0] == "secrets":
            return self._secret(parts[1])
        if asked.method == "GET" and len(parts) == 3 and parts[2] == "versions":
            return self._versions(parts[1])
        if asked.method == "GET":
            return self._refuse(403, "Forbidden", "ForbiddenByRbac")  # keys/get is not asked for
        return self._key_operation(parts[1], parts[2], parts[3], asked.body)

    def _secret(self, name: str) -> Answer:
        self.operations.append("get secret")
        if self.trouble == "no secret":
            return self._refuse(403, "Forbidden", "ForbiddenByPolicy")
        if name not in self.secrets:
            return self._refuse(404, "SecretNotFound")
        value, tags = self.secrets[name]
        return Answer(200, {"value": value, "id": f"{self.url}/secrets/{name}/{'0' * 32}", "tags": tags,
                            "attributes": {"enabled": True, "created": 1700000000, "updated": 1700000000}})  # fmt: skip

    def _versions(self, name: str) -> Answer:
        self.operations.append("list versions")
        if "keys/list" not in self.permissions:
            return self._refuse(403, "Forbidden", "ForbiddenByPolicy")
        value = [
            {"kid": f"{self.url}/keys/{name}/{version}",
             "attributes": {"enabled": version not in self.disabled, "created": 1700000000 + number,
                            "updated": 1700000000}}
            for number, version in enumerate(self.keys)
        ]  # fmt: skip
        return Answer(200, {"value": value, "nextLink": None})

    def _key_operation(self, name: str, version: str, action: str, body: Mapping[str, str]) -> Answer:
        self.operations.append(action)
        troubles = {"denied": (403, "Forbidden", "ForbiddenByPolicy"), "disabled": (403, "Forbidden", "KeyDisabled"),
                    "busy": (503, "ServiceUnavailable", ""), "gone": (404, "KeyNotFound", "")}  # fmt: skip
        if self.trouble in troubles:
            return self._refuse(*troubles[self.trouble])
        if self.trouble == "garbage":
            return Answer(200, GARBAGE)
        if self.trouble == "empty":
            return Answer(200, {})
        if f"keys/{action.replace('key', 'Key')}" not in self.permissions:
            return self._refuse(403, "Forbidden", "ForbiddenByPolicy")
        if name != "data-encryption-kek" or version not in self.keys:
            return self._refuse(404, "KeyNotFound")
        assert body["alg"] == "RSA-OAEP-256"
        value = unb64url(body["value"])
        try:
            result = self.wrap(value, version) if action == "wrapkey" else self.keys[version].decrypt(value, OAEP)
        except ValueError:
            return self._refuse(400, "BadParameter")
        return Answer(200, {"kid": f"{self.url}/keys/{name}/{version}", "value": b64url(result)})

    def _refuse(self, status: int, code: str, inner: str = "") -> Answer:
        more = {"innererror": {"code": inner}} if inner else {}
        return Answer(status, {"error": {"code": code, "message": "no", **more}})


def _context(folder: Path, host: str) -> tuple[ssl.SSLContext, Path]:
    root, chain, key = issue(folder, host)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(chain, key)
    return context, root


@contextmanager
def running(mode: str, folder: Path) -> Iterator[tuple[Any, Listening]]:
    """The service of a mode, and the server it listens at, for the length of a block."""
    with ExitStack() as stack:
        if mode == "azure-kv":
            azure = AzureFake()
            tls, root = _context(folder, "127.0.0.1")
            server = stack.enter_context(listening(azure.respond, tls=tls))
            azure.port = server.port
            identity = stack.enter_context(listening(azure.identity))
            azure.environ = {
                "REQUESTS_CA_BUNDLE": str(root), "IDENTITY_HEADER": "header-of-this-machine",
                "IDENTITY_ENDPOINT": f"http://127.0.0.1:{identity.port}/msi/token",
            }  # fmt: skip
            yield azure, server
        elif mode == "gcp-kms":
            gcp = GcpFake()
            tls, root = _context(folder, "cloudkms.googleapis.com")
            server = stack.enter_context(listening(gcp.respond, tunnel=tls))
            metadata = stack.enter_context(listening(gcp.metadata))
            here = f"127.0.0.1:{metadata.port}"
            gcp.environ = {
                "REQUESTS_CA_BUNDLE": str(root), "HTTPS_PROXY": f"http://127.0.0.1:{server.port}",
                "GCE_METADATA_HOST": here, "GCE_METADATA_IP": here, "CLOUDSDK_CONFIG": str(folder),
            }  # fmt: skip
            yield gcp, server
        else:
            fake = AwsFake() if mode == "aws-kms" else VaultFake()
            server = stack.enter_context(listening(fake.respond))
            fake.port = server.port
            yield fake, server
