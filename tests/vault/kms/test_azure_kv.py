"""Azure Key Vault by its own clients: the challenge, the identity, secrets with their tags, versions of the RSA key."""

import base64
import os

import pytest

from agenthifive.vault.kms.azure_kv import AzureKeyVault
from agenthifive.vault.kms.model import KeyServiceDenied, KeyServiceRefused
from vault.kms.services import IDENTITY, b64
from vault.kms.stage import Stage

KEK = "data-encryption-kek"
ALL = {"keys/unwrapKey", "keys/wrapKey", "keys/list", "secrets/get"}


def service(stage: Stage, identity: str | None = None) -> AzureKeyVault:
    return AzureKeyVault(stage.fake.url, KEK, identity)


def test_the_two_permissions_of_a_server_are_enough(azure: Stage) -> None:
    key = os.urandom(32)
    azure.fake.ring([key])
    assert service(azure).unwrap("WRAPPED-DATA-KEY") == key
    assert azure.fake.operations == ["get secret", "unwrapkey"]


def test_the_identity_of_the_machine_is_used_once_the_vault_has_asked(azure: Stage) -> None:
    azure.fake.ring([os.urandom(32)])
    service(azure, IDENTITY).unwrap("WRAPPED-DATA-KEY")
    assert set(azure.fake.tokens_given) == {IDENTITY}
    first, second = azure.server.asked[:2]
    assert ("authorization" in first.headers, "authorization" in second.headers) == (False, True)


def test_without_a_client_id_the_machine_says_which_identity_it_has(azure: Stage) -> None:
    azure.fake.ring([os.urandom(32)])
    service(azure).unwrap("WRAPPED-DATA-KEY")
    assert set(azure.fake.tokens_given) == {""}


def test_a_version_of_a_secret_can_be_named(azure: Stage) -> None:
    azure.fake.ring([os.urandom(32)])
    service(azure).unwrap(f"WRAPPED-DATA-KEY/{'0' * 32}")
    assert any(asked.path.startswith(f"/secrets/WRAPPED-DATA-KEY/{'0' * 32}?") for asked in azure.server.asked)


@pytest.mark.parametrize("encode", [base64.b64encode, base64.urlsafe_b64encode])
@pytest.mark.parametrize("as_hex", [False, True])
def test_both_alphabets_and_both_forms_of_the_key_are_read(azure: Stage, encode: object, as_hex: bool) -> None:
    key = os.urandom(32)
    wrapped = azure.fake.wrap(key.hex().encode() if as_hex else key)
    assert callable(encode)
    text = encode(wrapped).decode()
    for spelled in (text, text.rstrip("=")):
        azure.fake.secrets["WRAPPED-DATA-KEY"] = (spelled, {"kek-version": "a" * 32})
        assert service(azure).unwrap("WRAPPED-DATA-KEY") == key


def test_the_tag_names_the_version_of_the_key(azure: Stage) -> None:
    key = os.urandom(32)
    azure.fake.ring([key])
    azure.fake.add_version("b" * 32)
    assert service(azure).unwrap("WRAPPED-DATA-KEY") == key
    assert azure.fake.operations == ["get secret", "unwrapkey"]


def test_without_a_tag_enabled_versions_are_tried_the_newest_first(azure: Stage) -> None:
    key = os.urandom(32)
    azure.fake.secrets["WRAPPED-DATA-KEY"] = (b64(azure.fake.wrap(key)), {})
    for version in ("b" * 32, "c" * 32):
        azure.fake.add_version(version)
    azure.fake.permissions = ALL
    azure.fake.disabled = {"c" * 32}
    assert service(azure).unwrap("WRAPPED-DATA-KEY") == key
    tried = [asked.path.split("/")[3] for asked in azure.server.asked if asked.method == "POST" and asked.body]
    assert tried == ["b" * 32, "a" * 32]


def test_without_a_tag_the_missing_right_to_list_is_named(azure: Stage) -> None:
    azure.fake.secrets["WRAPPED-DATA-KEY"] = (b64(azure.fake.wrap(os.urandom(32))), {})
    with pytest.raises(KeyServiceDenied, match=r"keys/list \(or the tag kek-version on the secret\) is missing"):
        service(azure).unwrap("WRAPPED-DATA-KEY")


def test_the_missing_right_to_read_secrets_is_named(azure: Stage) -> None:
    azure.fake.trouble = "no secret"
    with pytest.raises(KeyServiceDenied, match="the permission secrets/get is missing"):
        service(azure).unwrap("WRAPPED-DATA-KEY")


def test_a_secret_that_is_not_there_is_said_so(azure: Stage) -> None:
    with pytest.raises(KeyServiceRefused, match="check AZURE_KV_KEK_NAME and AZURE_KV_WRAPPED_DEK_SECRET"):
        service(azure).unwrap("WRAPPED-DATA-KEY")


@pytest.mark.parametrize(("value", "tags"), [("not base64!", {}), ("", {}), ("YWJj", {"kek-version": "../x"})])
def test_a_secret_that_is_no_wrapped_key_is_said_so(azure: Stage, value: str, tags: dict[str, str]) -> None:
    azure.fake.secrets["WRAPPED-DATA-KEY"] = (value, tags)
    azure.fake.permissions = ALL
    with pytest.raises(KeyServiceRefused, match=r"is not base64|is no version"):
        service(azure).unwrap("WRAPPED-DATA-KEY")
    assert "unwrapkey" not in azure.fake.operations


def test_a_key_is_wrapped_under_the_newest_version_and_says_so(azure: Stage) -> None:
    azure.fake.add_version("b" * 32)
    azure.fake.permissions = ALL
    key, vault = os.urandom(32), service(azure)
    blob = vault.wrap(key)
    assert blob.startswith("b" * 32 + ":")
    assert vault.unwrap(blob) == key
    made = vault.generate()
    assert vault.unwrap(vault.rewrap(made.blob)) == made.material


def test_a_vault_that_names_another_resource_gets_no_token(azure: Stage) -> None:
    """A token for somewhere else must not be asked for because a server says so."""
    azure.fake.ring([os.urandom(32)])
    azure.fake.resource = "https://vault.example.net"
    with pytest.raises(KeyServiceRefused, match="no reply of Azure Key Vault"):
        service(azure).unwrap("WRAPPED-DATA-KEY")
    assert azure.fake.tokens_given == []
    assert azure.fake.operations == []
