"""Google Cloud KMS by its own client: the service behind a proxy on loopback, with the metadata server beside it."""

import os
from pathlib import Path

import pytest

from agenthifive.vault.kms.gcp_kms import GcpKms
from agenthifive.vault.kms.model import KeyServiceDenied, KeyServiceRefused, KeyServiceUnreachable
from vault.kms.services import GCP_KEY, b64
from vault.kms.stage import Stage


def test_a_key_comes_back_from_its_wrapped_form(gcp: Stage) -> None:
    key, kms = os.urandom(32), GcpKms(GCP_KEY)
    assert kms.unwrap(kms.wrap(key)) == key
    made = kms.generate()
    assert len(made.material) == 32
    assert kms.unwrap(kms.rewrap(made.blob)) == made.material
    assert gcp.fake.operations == ["encrypt", "decrypt", "encrypt", "decrypt", "encrypt", "decrypt"]


def test_only_the_service_itself_is_reached(gcp: Stage) -> None:
    GcpKms(GCP_KEY).generate()
    assert set(gcp.server.tunnels) == {"cloudkms.googleapis.com:443"}


def test_every_request_carries_the_additional_data_and_both_checksums(gcp: Stage) -> None:
    kms = GcpKms(GCP_KEY)
    kms.unwrap(kms.wrap(os.urandom(32)))
    assert [sorted(asked.body) for asked in gcp.server.asked] == [
        ["additionalAuthenticatedData", "additionalAuthenticatedDataCrc32c", "plaintext", "plaintextCrc32c"],
        ["additionalAuthenticatedData", "additionalAuthenticatedDataCrc32c", "ciphertext", "ciphertextCrc32c"],
    ]
    assert {asked.body["additionalAuthenticatedData"] for asked in gcp.server.asked} == {b64(b"agenthifive")}


@pytest.mark.parametrize("trouble", ["damaged", "unverified"])
def test_a_value_damaged_on_its_way_is_not_used(gcp: Stage, trouble: str) -> None:
    gcp.fake.trouble = trouble
    with pytest.raises(KeyServiceUnreachable, match="does not match its CRC32C"):
        GcpKms(GCP_KEY).wrap(os.urandom(32))


def test_a_damaged_data_key_is_not_used(gcp: Stage) -> None:
    kms = GcpKms(GCP_KEY)
    blob = kms.wrap(os.urandom(32))
    gcp.fake.trouble = "damaged"
    with pytest.raises(KeyServiceUnreachable, match="does not match its CRC32C"):
        kms.unwrap(blob)


def test_a_denial_names_the_permission_for_wrapping(gcp: Stage) -> None:
    gcp.fake.trouble = "denied"
    with pytest.raises(KeyServiceDenied, match=r"cloudkms\.cryptoKeyVersions\.useToEncrypt is missing"):
        GcpKms(GCP_KEY).generate()


def test_credentials_that_are_not_accepted_are_a_denial(gcp: Stage) -> None:
    gcp.fake.trouble = "stranger"
    with pytest.raises(KeyServiceDenied, match="does not accept the credentials"):
        GcpKms(GCP_KEY).generate()


def test_a_key_file_that_is_none_is_said_so(gcp: Stage, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(tmp_path / "missing.json"))
    with pytest.raises(KeyServiceRefused, match="GOOGLE_APPLICATION_CREDENTIALS"):
        GcpKms(GCP_KEY).generate()
    assert gcp.server.asked == []
