"""Wrapped keys and key services in the settings: every mistake has a line of its own, before anything is reached."""

import base64
from pathlib import Path

import pytest

from agenthifive.production import check_start, list_start_warnings
from agenthifive.settings import LoadedSettings, SettingsRefused, load_settings
from agenthifive.settings_keys import region_of

SECRET = "0123456789abcdef-sign-in-secret-of-these-tests"
BLOBS = [base64.b64encode(bytes([number]) * 60).decode() for number in range(9)]
AWS = {"ENCRYPTION_KEY_MODE": "aws-kms", "AWS_KMS_KEY_ID": "alias/ah5", "AWS_REGION": "eu-central-1"}
TRANSIT = {"ENCRYPTION_KEY_MODE": "vault-transit", "VAULT_ADDR": "https://vault.example.com:8200"}


def load(home: Path, **environ: str) -> LoadedSettings:
    return load_settings({"HOME": str(home), "BETTER_AUTH_SECRET": SECRET, **environ}, cwd=home)


def problem(home: Path, **environ: str) -> str:
    with pytest.raises(SettingsRefused) as refused:
        load(home, **environ)
    (line,) = refused.value.problems
    return line


def start_problems(home: Path, **environ: str) -> list[str]:
    return [each.line for each in check_start(load(home, **environ))]


def test_defaults_are_those_of_the_contract(tmp_path: Path) -> None:
    settings = load(tmp_path).settings
    assert (settings.azure_kv_kek_name, settings.azure_kv_wrapped_dek_secret) == (
        "data-encryption-kek", "WRAPPED-DATA-KEY",
    )  # fmt: skip
    assert settings.azure_kv_wrapped_dek_secret_previous == ()
    assert settings.aws_kms_encryption_context == ("app=agenthifive",)
    assert (settings.vault_transit_mount, settings.vault_transit_key) == ("transit", "agenthifive")
    assert settings.key_init_timeout_seconds == 30


@pytest.mark.parametrize("name", ["AWS_KMS_WRAPPED_DEK", "GCP_KMS_WRAPPED_DEK", "VAULT_WRAPPED_DEK"])
@pytest.mark.parametrize(
    ("previous", "wrong"),
    [
        ("{0},,{1}", "entry 2 of the list is empty"),
        ("{0},{1},", "entry 3 of the list is empty"),
        (",", "entry 1 of the list is empty"),
        ("{0},not base64!", "entry 2 of the list "),
        ("{0},{1},{0}", "entry 3 of the list repeats entry 1"),
        ("{8}", "holds the value of "),
        ("{0},{1},{2},{3},{4},{5},{6},{7}", "8 previous keys; with the active one that is more than 8"),
    ],
)
def test_a_list_of_previous_keys_is_read_strictly(name: str, previous: str, wrong: str, tmp_path: Path) -> None:
    blobs = [f"vault:v1:{blob}" if name.startswith("VAULT") else blob for blob in BLOBS]
    line = problem(tmp_path, **{name: blobs[8], f"{name}_PREVIOUS": previous.format(*blobs)})
    assert line.startswith(f"{name}_PREVIOUS: {wrong}")
    assert all(blob not in line for blob in BLOBS)


@pytest.mark.parametrize("name", ["AWS_KMS_WRAPPED_DEK", "GCP_KMS_WRAPPED_DEK"])
@pytest.mark.parametrize(
    ("text", "wrong"), [("a b", "is not base64"), ("YWJ", "is not base64"), ("YWJj,YWJk", "holds a list")]
)
def test_the_active_key_is_one_base64_text(name: str, text: str, wrong: str, tmp_path: Path) -> None:
    assert problem(tmp_path, **{name: text}).startswith(f"{name}: {wrong}")


@pytest.mark.parametrize(
    "text", ["YWJj", "vault:YWJj", "vault:v0:YWJj", "vault:v1:", "vault:v1:a b", "vault:v1:YWJj,vault:v1:YWJk"]
)
def test_a_blob_of_vault_names_a_version(text: str, tmp_path: Path) -> None:
    assert problem(tmp_path, VAULT_WRAPPED_DEK=text).startswith("VAULT_WRAPPED_DEK: ")


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("AZURE_KEY_VAULT_URI", "http://ah5.vault.azure.net"),
        ("AZURE_KEY_VAULT_URI", "https://ah5.vault.azure.net/keys"),
        ("AZURE_KV_KEK_NAME", "a/b"),
        ("AZURE_KV_WRAPPED_DEK_SECRET", "a_b"),
        ("AZURE_KV_WRAPPED_DEK_SECRET_PREVIOUS", "a/xyz"),
        ("AZURE_KV_WRAPPED_DEK_SECRET_PREVIOUS", "WRAPPED-DATA-KEY"),
        ("AWS_KMS_KEY_ID", "a key"),
        ("AWS_REGION", "Frankfurt"),
        ("AWS_KMS_ENDPOINT_URL", "kms.local"),
        ("AWS_KMS_ENCRYPTION_CONTEXT", "app"),
        ("AWS_KMS_ENCRYPTION_CONTEXT", "app=a,,b=c"),
        ("GCP_KMS_KEY_NAME", "projects/p/locations/eu/keyRings/r/cryptoKeys/k/cryptoKeyVersions/1"),
        ("VAULT_ADDR", "vault.example.com"),
        ("VAULT_TRANSIT_MOUNT", "/transit/"),
        ("VAULT_TRANSIT_KEY", "a/b"),
    ],
)
def test_a_name_that_cannot_be_one_is_refused(name: str, text: str, tmp_path: Path) -> None:
    line = problem(tmp_path, **{name: text})
    assert line.startswith(f"{name}: ")
    assert line.count("; ") >= 2


def test_addresses_may_end_in_a_slash_as_consoles_print_them(tmp_path: Path) -> None:
    settings = load(
        tmp_path, AZURE_KEY_VAULT_URI="https://ah5.vault.azure.net/", VAULT_ADDR="https://v.example/"
    ).settings
    assert (settings.azure_key_vault_uri, settings.vault_addr) == ("https://ah5.vault.azure.net", "https://v.example")


def test_a_managed_mode_needs_no_encryption_key_and_warns_of_one(tmp_path: Path) -> None:
    managed = {**AWS, "AWS_KMS_WRAPPED_DEK": BLOBS[0]}
    assert start_problems(tmp_path, **managed) == []
    lines = list_start_warnings(load(tmp_path, **managed, ENCRYPTION_KEY="5f" * 15 + "a1" * 17))
    keys = [line for line in lines if "ENC-KEY" in line]
    assert keys == ["ENCRYPTION_KEY: not used in the key mode aws-kms; remove it [ENC-KEY]"]


def test_the_mode_env_still_needs_its_key(tmp_path: Path) -> None:
    assert start_problems(tmp_path)[0].startswith("ENCRYPTION_KEY: missing; expected 64 hexadecimal characters")


def test_an_arn_names_the_region(tmp_path: Path) -> None:
    arn = "arn:aws:kms:eu-central-1:111122223333:key/1234abcd-12ab-34cd-56ef-1234567890ab"
    assert (region_of(arn), region_of("alias/ah5"), region_of("arn:aws:kms")) == ("eu-central-1", None, None)
    given = {"ENCRYPTION_KEY_MODE": "aws-kms", "AWS_KMS_KEY_ID": arn, "AWS_KMS_WRAPPED_DEK": BLOBS[0]}
    assert start_problems(tmp_path, **given) == []
    (line,) = start_problems(tmp_path, **{**given, "AWS_KMS_KEY_ID": "alias/ah5"})
    assert line.startswith("AWS_REGION: missing; ")


@pytest.mark.parametrize(
    ("given", "missing"),
    [
        ({"VAULT_TOKEN": "t"}, []),
        ({"VAULT_K8S_ROLE": "ah5"}, []),
        ({"VAULT_ROLE_ID": "r", "VAULT_SECRET_ID": "s"}, []),
        ({"VAULT_ROLE_ID": "r"}, ["VAULT_SECRET_ID"]),
        ({"VAULT_SECRET_ID": "s"}, ["VAULT_TOKEN"]),
        ({}, ["VAULT_TOKEN"]),
    ],
)
def test_vault_needs_one_way_to_sign_in(given: dict[str, str], missing: list[str], tmp_path: Path) -> None:
    lines = start_problems(tmp_path, **TRANSIT, VAULT_WRAPPED_DEK=f"vault:v1:{BLOBS[0]}", **given)
    assert [line.partition(":")[0] for line in lines] == missing


@pytest.mark.parametrize(
    ("environ", "variable"),
    [
        ({**TRANSIT, "VAULT_TOKEN": "t", "VAULT_WRAPPED_DEK": f"vault:v1:{BLOBS[0]}"}, "VAULT_ADDR"),
        ({**AWS, "AWS_KMS_WRAPPED_DEK": BLOBS[0]}, "AWS_KMS_ENDPOINT_URL"),
    ],
)
def test_production_asks_a_key_service_over_tls_only(environ: dict[str, str], variable: str, tmp_path: Path) -> None:
    def about(address: str) -> list[str]:
        lines = start_problems(tmp_path, **environ | {variable: address}, AH5_ENV="production")
        return [line for line in lines if line.startswith(f"{variable}: ")]

    assert about("https://vault.example.com") == []
    assert about("http://127.0.0.1:8200") == []
    (line,) = about("http://vault.example.com")
    assert line.startswith(f"{variable}: is http, and unwrapped keys travel over it; expected https")
    development = start_problems(tmp_path, **environ | {variable: "http://vault.example.com"})
    assert development == []
