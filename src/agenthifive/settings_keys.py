"""The knobs of encryption keys: where they come from, how they are replaced.

    ENCRYPTION_KEY_MODE=env      the keys themselves stand in ENCRYPTION_KEY and ENCRYPTION_KEY_PREVIOUS
    any other mode               wrapped keys (blobs), which a key service unwraps once, at start

Source: contract/operations.md sections 1 and 13.
"""

import base64
import binascii
import re
from collections.abc import Callable, Mapping
from typing import Annotated, Any, Final

from pydantic import BaseModel, BeforeValidator, ConfigDict, SecretStr, ValidationInfo, field_validator

from agenthifive.settings_values import (
    KEY_MODES,
    MAX_RING_KEYS,
    MIN_PASSPHRASE_CHARACTERS,
    NEW_SECRET,
    KeyMode,
    Keys,
    Passphrase,
    SecretText,
    Text,
    Whole,
    knob,
    read_origin,
    ring_keys,
)

_AZURE_NAME: Final = re.compile(r"[0-9A-Za-z-]{1,127}")
_AZURE_SECRET: Final = re.compile(r"[0-9A-Za-z-]{1,127}(?:/[0-9a-f]{32})?")
_AWS_KEY_ID: Final = re.compile(r"[A-Za-z0-9:/_-]{1,2048}")
_AWS_REGION: Final = re.compile(r"[a-z]{2,}(?:-[a-z0-9]+)+")
_GCP_KEY_NAME: Final = re.compile(
    r"projects/[^/\s]+/locations/[a-z0-9-]+/keyRings/[A-Za-z0-9_-]{1,63}/cryptoKeys/[A-Za-z0-9_-]{1,63}"
)
_VAULT_NAME: Final = re.compile(r"[A-Za-z0-9_.-]+")
_VAULT_MOUNT: Final = re.compile(r"[A-Za-z0-9_.-]+(?:/[A-Za-z0-9_.-]+)*")
_VAULT_BLOB: Final = re.compile(r"vault:v[1-9][0-9]{0,8}:(?P<base64>.+)")
_PAIR: Final = re.compile(r"[A-Za-z0-9_:/.-]+=[^=,\s]+")

_PREVIOUS_OF: Final[Mapping[str, str]] = {
    "azure_kv_wrapped_dek_secret_previous": "azure_kv_wrapped_dek_secret",
    "aws_kms_wrapped_dek_previous": "aws_kms_wrapped_dek",
    "gcp_kms_wrapped_dek_previous": "gcp_kms_wrapped_dek",
    "vault_wrapped_dek_previous": "vault_wrapped_dek",
}


def _reader(read: Callable[[str], object]) -> BeforeValidator:
    """Read text with `read`; a SecretStr is opened first, anything else passes."""

    def accept(value: object) -> object:
        text = value.get_secret_value() if isinstance(value, SecretStr) else value
        return read(text) if isinstance(text, str) else value

    return BeforeValidator(accept)


def _word(pattern: re.Pattern[str], wrong: str) -> Callable[[str], str]:
    def read(text: str) -> str:
        if not pattern.fullmatch(text):
            raise ValueError(wrong)
        return text

    return read


def _read_service_origin(text: str) -> str:
    """An origin as the consoles of the clouds print it, with a slash at its end."""
    return read_origin(text.removesuffix("/"))


def _read_azure_vault(text: str) -> str:
    if not text.startswith("https://"):
        raise ValueError("does not begin with https://")
    return _read_service_origin(text)


def _read_list(read: Callable[[str], str]) -> Callable[[str], tuple[str, ...]]:
    """A comma list in which every entry counts: an empty or repeated one is a mistake made while editing it."""

    def read_list(text: str) -> tuple[str, ...]:
        entries: list[str] = []
        for position, part in enumerate(text.split(","), 1):
            entry = part.strip(" ")
            if not entry:
                raise ValueError(f"entry {position} of the list is empty")
            try:
                read(entry)
            except ValueError as problem:
                raise ValueError(f"entry {position} of the list {problem}") from None
            if entry in entries:
                raise ValueError(f"entry {position} of the list repeats entry {entries.index(entry) + 1}")
            entries.append(entry)
        if len(entries) > MAX_RING_KEYS - 1:
            raise ValueError(f"{len(entries)} previous keys; with the active one that is more than {MAX_RING_KEYS}")
        return tuple(entries)

    return read_list


def _read_base64(text: str) -> str:
    if "," in text:
        raise ValueError("holds a list")
    try:
        base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise ValueError("is not base64") from None
    return text


def _read_vault_blob(text: str) -> str:
    if "," in text:
        raise ValueError("holds a list")
    match = _VAULT_BLOB.fullmatch(text)
    if match is None:
        raise ValueError("does not begin with vault:v and a key version")
    _read_base64(match["base64"])
    return text


def _secret(read: Callable[[str], str]) -> Callable[[str], SecretStr]:
    return lambda text: SecretStr(read(text))


def _secrets(read: Callable[[str], str]) -> Callable[[str], SecretStr]:
    return lambda text: SecretStr(",".join(_read_list(read)(text)))


_read_azure_secret: Final = _word(_AZURE_SECRET, "is not the name of a secret")

AzureVault = Annotated[str, _reader(_read_azure_vault)]
AzureName = Annotated[str, _reader(_word(_AZURE_NAME, "not the name of a key"))]
AzureSecret = Annotated[str, _reader(_read_azure_secret)]
AzureSecrets = Annotated[tuple[str, ...], _reader(_read_list(_read_azure_secret))]
AwsKeyId = Annotated[str, _reader(_word(_AWS_KEY_ID, "not a key id, alias or ARN"))]
AwsRegion = Annotated[str, _reader(_word(_AWS_REGION, "not the name of a region"))]
Pairs = Annotated[tuple[str, ...], _reader(_read_list(_word(_PAIR, "is not name=value")))]
GcpKeyName = Annotated[str, _reader(_word(_GCP_KEY_NAME, "not the resource name of a key"))]
ServiceOrigin = Annotated[str, _reader(_read_service_origin)]
VaultMount = Annotated[str, _reader(_word(_VAULT_MOUNT, "not a mount path"))]
VaultName = Annotated[str, _reader(_word(_VAULT_NAME, "not the name of a key"))]
Blob = Annotated[SecretStr, _reader(_secret(_read_base64))]
Blobs = Annotated[SecretStr, _reader(_secrets(_read_base64))]
VaultBlob = Annotated[SecretStr, _reader(_secret(_read_vault_blob))]
VaultBlobs = Annotated[SecretStr, _reader(_secrets(_read_vault_blob))]

_BLOBS: Final = f"a comma list of wrapped keys, at most {MAX_RING_KEYS - 1}, none empty or repeated"
_HOW: Final = "`agenthifive keys wrap` prints one"


_REQUIRED: Final[Mapping[str, tuple[str, ...]]] = {
    "azure-kv": ("azure_key_vault_uri",),
    "aws-kms": ("aws_kms_key_id", "aws_region"),
    "gcp-kms": ("gcp_kms_key_name",),
    "vault-transit": ("vault_addr", "vault_token"),
}
_REQUIRED_KEYS: Final[Mapping[str, str]] = {
    "env": "encryption_key",
    "azure-kv": "azure_kv_wrapped_dek_secret",
    "aws-kms": "aws_kms_wrapped_dek",
    "gcp-kms": "gcp_kms_wrapped_dek",
    "vault-transit": "vault_wrapped_dek",
}


def region_of(aws_key_id: str) -> str | None:
    """The region in the ARN of a KMS key; None for a key id or alias."""
    parts = aws_key_id.split(":")
    return parts[3] if len(parts) > 5 and parts[0] == "arn" and parts[3] else None


class KeySettings(BaseModel):
    """Encryption keys. Part of `Settings`; not used alone."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", hide_input_in_errors=True, defer_build=True, validate_default=True
    )

    encryption_key_mode: KeyMode = knob("env", "where keys come from", bounds=", ".join(KEY_MODES))
    encryption_key: Keys | None = knob(
        None,
        "active key of the mode `env`; `new,old` while rotating",
        bounds="64 hexadecimal characters (32 bytes)",
        example=NEW_SECRET,
        check="ENC-KEY",
        shown="– (generated by `init`)",
        secret=True,
    )
    encryption_key_previous: Keys | None = knob(
        None,
        "keys of the mode `env` that may still open, never seal",
        bounds=f"a comma list of keys of 64 hexadecimal characters (32 bytes), at most {MAX_RING_KEYS} in all",
        example=NEW_SECRET,
        check="ENC-KEY",
        secret=True,
    )
    key_init_timeout_seconds: Whole = knob(30, "retrying to reach the key service at start", low=1, high=300)
    reencrypt_batch_size: Whole = knob(200, "records re-encrypted in one transaction", low=1, high=5000)
    reencrypt_max_rows_per_second: Whole = knob(
        500, "pace of the re-encryption job; 0 = unlimited", low=0, high=100_000
    )
    azure_key_vault_uri: AzureVault | None = knob(
        None,
        "`azure-kv`: the vault with the key-encryption key and the secrets; required",
        bounds="an https origin",
        example="AZURE_KEY_VAULT_URI=https://agenthifive.vault.azure.net",
    )
    azure_kv_kek_name: AzureName = knob(
        "data-encryption-kek", "`azure-kv`: name of the key-encryption key", bounds="letters, digits and -"
    )
    azure_kv_wrapped_dek_secret: AzureSecret = knob(
        "WRAPPED-DATA-KEY", "`azure-kv`: secret with the wrapped active key", bounds="`name` or `name/version`"
    )
    azure_kv_wrapped_dek_secret_previous: AzureSecrets = knob(
        (),
        "`azure-kv`: secrets with wrapped keys that may still open",
        bounds=f"a comma list of `name` or `name/version`, at most {MAX_RING_KEYS - 1}, none empty or repeated",
        example="AZURE_KV_WRAPPED_DEK_SECRET_PREVIOUS=WRAPPED-DATA-KEY/0123456789abcdef0123456789abcdef",
    )
    azure_managed_identity_client_id: Text | None = knob(
        None, "`azure-kv`: user-assigned identity; without it the system-assigned one or the default chain"
    )
    aws_kms_key_id: AwsKeyId | None = knob(
        None,
        "`aws-kms`: the KMS key; required",
        bounds="a key id, alias/name or ARN",
        example="AWS_KMS_KEY_ID=alias/ah5",
    )
    aws_region: AwsRegion | None = knob(
        None,
        "`aws-kms`: region of the key; required unless AWS_KMS_KEY_ID is an ARN",
        bounds="the name of a region",
        example="AWS_REGION=eu-central-1",
    )
    aws_kms_encryption_context: Pairs = knob(
        "app=agenthifive", "`aws-kms`: encryption context of every call", bounds="a comma list of name=value"
    )
    aws_kms_endpoint_url: ServiceOrigin | None = knob(
        None,
        "`aws-kms`: another endpoint, such as a VPC endpoint",
        bounds="an origin; https in production unless loopback",
        example="AWS_KMS_ENDPOINT_URL=https://vpce-1.kms.eu-central-1.vpce.amazonaws.com",
    )
    aws_kms_wrapped_dek: Blob | None = knob(
        None, "`aws-kms`: the wrapped active key; required", bounds="base64", example=_HOW, secret=True
    )
    aws_kms_wrapped_dek_previous: Blobs | None = knob(
        None, "`aws-kms`: wrapped keys that may still open", bounds=_BLOBS, example=_HOW, secret=True
    )
    gcp_kms_key_name: GcpKeyName | None = knob(
        None,
        "`gcp-kms`: the key; required",
        bounds="projects/…/locations/…/keyRings/…/cryptoKeys/…",
        example="GCP_KMS_KEY_NAME=projects/p/locations/europe-west1/keyRings/agenthifive/cryptoKeys/data",
    )
    gcp_kms_wrapped_dek: Blob | None = knob(
        None, "`gcp-kms`: the wrapped active key; required", bounds="base64", example=_HOW, secret=True
    )
    gcp_kms_wrapped_dek_previous: Blobs | None = knob(
        None, "`gcp-kms`: wrapped keys that may still open", bounds=_BLOBS, example=_HOW, secret=True
    )
    vault_addr: ServiceOrigin | None = knob(
        None,
        "`vault-transit`: address of HashiCorp Vault or OpenBao; required",
        bounds="an origin; https in production unless loopback",
        example="VAULT_ADDR=https://vault.example.com:8200",
    )
    vault_namespace: Text | None = knob(None, "`vault-transit`: namespace", example="VAULT_NAMESPACE=team-a")
    vault_transit_mount: VaultMount = knob("transit", "`vault-transit`: mount of the transit engine", bounds="a path")
    vault_transit_key: VaultName = knob("agenthifive", "`vault-transit`: name of the key", bounds="a name")
    vault_k8s_role: VaultName | None = knob(
        None, "`vault-transit`: sign in as this role with the Kubernetes service account", bounds="a name"
    )
    vault_role_id: Text | None = knob(None, "`vault-transit`: sign in by AppRole, with VAULT_SECRET_ID")
    vault_token: SecretText | None = knob(
        None,
        "`vault-transit`: sign in by token",
        bounds="a token, or VAULT_ROLE_ID with VAULT_SECRET_ID, or VAULT_K8S_ROLE",
        example="VAULT_K8S_ROLE=agenthifive",
        secret=True,
    )
    vault_secret_id: SecretText | None = knob(
        None, "`vault-transit`: sign in by AppRole, with VAULT_ROLE_ID", bounds="text", secret=True
    )
    vault_wrapped_dek: VaultBlob | None = knob(
        None, "`vault-transit`: the wrapped active key; required", bounds="vault:vN:…", example=_HOW, secret=True
    )
    vault_wrapped_dek_previous: VaultBlobs | None = knob(
        None, "`vault-transit`: wrapped keys that may still open", bounds=_BLOBS, example=_HOW, secret=True
    )
    key_backup_passphrase: Passphrase | None = knob(
        None,
        "for `keys backup` and `keys restore`, instead of the prompt",
        bounds=f"at least {MIN_PASSPHRASE_CHARACTERS} characters",
        example="KEY_BACKUP_PASSPHRASE=several unrelated words",
        secret=True,
    )

    @field_validator("encryption_key_previous")
    @classmethod
    def _keep_the_ring_small(cls, previous: Any, info: ValidationInfo) -> Any:
        if len(ring_keys(info.data.get("encryption_key"), previous)) > MAX_RING_KEYS:
            raise ValueError(f"more than {MAX_RING_KEYS} keys in the ring")
        return previous

    @field_validator(*_PREVIOUS_OF)
    @classmethod
    def _keep_the_active_key_out_of_the_previous_ones(cls, previous: Any, info: ValidationInfo) -> Any:
        active = _PREVIOUS_OF[info.field_name or ""]
        given = info.data.get(active)
        text = given.get_secret_value() if isinstance(given, SecretStr) else given
        entries = previous.get_secret_value().split(",") if isinstance(previous, SecretStr) else previous or ()
        if text in entries:
            raise ValueError(f"holds the value of {active.upper()}")
        return previous

    def list_missing(self, mode: str, *, with_keys: bool = True) -> tuple[str, ...]:
        """The variables without which a key mode cannot be used.

        Shapes: with_keys: whether the active key itself counts; it does not while it is being made.
        """
        given = {
            "aws_region": region_of(self.aws_kms_key_id or ""),
            "vault_token": self.vault_role_id or self.vault_k8s_role,
        }
        fields = [*_REQUIRED.get(mode, ()), *([_REQUIRED_KEYS[mode]] if with_keys else [])]
        missing = [field for field in fields if not (getattr(self, field) or given.get(field))]
        if mode == "vault-transit" and self.vault_role_id and not (self.vault_token or self.vault_secret_id):
            missing.append("vault_secret_id")
        return tuple(field.upper() for field in missing)
