"""From settings to keys: which key service the settings name, what they lack, and the keys it gives.

    ENCRYPTION_KEY_MODE --make_service--> KeyService --unwrap once each--> data keys, the active one first

Called at start and when keys are loaded again; never during a call. Source: contract/operations.md section 1.4.
"""

import contextlib
from collections.abc import Iterator, Mapping
from typing import Final

from pydantic import SecretStr

from agenthifive.settings import Settings
from agenthifive.settings_keys import region_of
from agenthifive.settings_values import split_list
from agenthifive.vault.envelope import Key
from agenthifive.vault.keyring import Keyring, is_example
from agenthifive.vault.kms import unwrapping
from agenthifive.vault.kms.model import KeyService, KeyServiceError, KeyServiceRefused
from agenthifive.vault.secret import Secret

EXTRAS: Final[Mapping[str, str]] = {"azure-kv": "azure", "aws-kms": "aws", "gcp-kms": "gcp", "vault-transit": "vault"}
"""Managed mode -> the extra that brings its client library."""


def load_ring(settings: Settings) -> tuple[bytes, ...]:
    """The data keys of these settings, the active one first.

    In a managed mode it blocks, for at most KEY_INIT_TIMEOUT_SECONDS, and asks the service once for each wrapped key.

    Raises: KeyServiceError with the mode in front; ValueError naming the variable, in the mode `env`.
    """
    mode = settings.encryption_key_mode
    if mode == "env":
        ring = Keyring.parse(_text(settings.encryption_key), _text(settings.encryption_key_previous))
        return tuple(key.material for key in ring.keys)

    with named(mode):
        service = make_service(settings, mode)
        materials = unwrapping.unwrap_all(service, list_blobs(settings, mode), settings.key_init_timeout_seconds)
        if settings.is_production and any(is_example(Key(material)) for material in materials):
            raise KeyServiceRefused(f"{service.describe()} holds an example value; wrap 32 random bytes")
        return materials


def read_keyring(settings: Settings) -> Keyring:
    """The ring of these settings. Raises: ValueError naming the variable, or the key service and what it said."""
    try:
        return Keyring.of(load_ring(settings))
    except KeyServiceError as error:
        raise ValueError(str(error)) from None


@contextlib.contextmanager
def named(mode: str) -> Iterator[None]:
    """Failures of a key service in the block say which mode they come from."""
    try:
        yield
    except KeyServiceError as error:
        raise type(error)(f"key mode {mode}: {error}") from None


def make_service(settings: Settings, mode: str) -> KeyService:
    """The key service of a managed mode; it has not been reached yet.

    Raises: KeyServiceRefused when its client library is not installed.
    """
    makers = {"azure-kv": _azure, "aws-kms": _aws, "gcp-kms": _gcp, "vault-transit": _vault}
    try:
        return makers[mode](settings)
    except ImportError as error:
        raise KeyServiceRefused(
            f"the client library is not installed (no module {error.name}); pip install 'agenthifive[{EXTRAS[mode]}]'"
        ) from None


def list_blobs(settings: Settings, mode: str) -> tuple[str, ...]:
    """The wrapped keys of a managed mode, the active one first; in the mode `azure-kv` the names of their secrets."""
    if mode == "azure-kv":
        return (settings.azure_kv_wrapped_dek_secret, *settings.azure_kv_wrapped_dek_secret_previous)
    active, previous = {
        "aws-kms": (settings.aws_kms_wrapped_dek, settings.aws_kms_wrapped_dek_previous),
        "gcp-kms": (settings.gcp_kms_wrapped_dek, settings.gcp_kms_wrapped_dek_previous),
        "vault-transit": (settings.vault_wrapped_dek, settings.vault_wrapped_dek_previous),
    }[mode]
    return (*split_list(_text(active)), *split_list(_text(previous)))


def _azure(settings: Settings) -> KeyService:
    from agenthifive.vault.kms.azure_kv import AzureKeyVault  # noqa: PLC0415 - an extra

    return AzureKeyVault(
        settings.azure_key_vault_uri or "",
        settings.azure_kv_kek_name,
        settings.azure_managed_identity_client_id,
    )


def _aws(settings: Settings) -> KeyService:
    from agenthifive.vault.kms.aws_kms import AwsKms  # noqa: PLC0415 - an extra

    key_id = settings.aws_kms_key_id or ""
    context = dict(pair.split("=", 1) for pair in settings.aws_kms_encryption_context)
    region = settings.aws_region or region_of(key_id) or ""
    return AwsKms(key_id, region, context, settings.aws_kms_endpoint_url)


def _gcp(settings: Settings) -> KeyService:
    from agenthifive.vault.kms.gcp_kms import GcpKms  # noqa: PLC0415 - an extra

    return GcpKms(settings.gcp_kms_key_name or "")


def _vault(settings: Settings) -> KeyService:
    from agenthifive.vault.kms.vault_transit import (  # noqa: PLC0415 - an extra
        AppRoleSignIn,
        KubernetesSignIn,
        SignIn,
        TokenSignIn,
        TransitKey,
        VaultTransit,
    )

    sign_in: SignIn
    if settings.vault_token is not None:
        sign_in = TokenSignIn(Secret(_text(settings.vault_token)))
    elif settings.vault_role_id is not None:
        sign_in = AppRoleSignIn(settings.vault_role_id, Secret(_text(settings.vault_secret_id)))
    else:
        sign_in = KubernetesSignIn(settings.vault_k8s_role or "")
    key = TransitKey(
        settings.vault_addr or "", settings.vault_transit_mount, settings.vault_transit_key, settings.vault_namespace
    )
    return VaultTransit(key, sign_in)


def _text(secret: SecretStr | None) -> str:
    return "" if secret is None else secret.get_secret_value()
