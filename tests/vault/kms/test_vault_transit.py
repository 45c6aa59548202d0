"""Vault's transit engine by hvac: three ways to sign in, namespaces, and versions of the key."""

import os
from pathlib import Path

import pytest

from agenthifive.vault.kms.model import KeyServiceDenied, KeyServiceRefused, KeyServiceUnreachable
from agenthifive.vault.kms.vault_transit import (
    AppRoleSignIn,
    KubernetesSignIn,
    SignIn,
    TokenSignIn,
    TransitKey,
    VaultTransit,
)
from agenthifive.vault.secret import Secret
from vault.kms.loopback import Answer, listening
from vault.kms.services import Cipher
from vault.kms.stage import Stage


def service(stage: Stage, sign_in: SignIn | None = None, **key: str) -> VaultTransit:
    token = sign_in or TokenSignIn(Secret(stage.fake.token))
    return VaultTransit(TransitKey(f"http://127.0.0.1:{stage.fake.port}", **key), token)


def test_a_key_comes_back_from_its_wrapped_form(transit: Stage) -> None:
    key, vault = os.urandom(32), service(transit)
    blob = vault.wrap(key)
    assert blob.startswith("vault:v1:")
    assert vault.unwrap(blob) == key
    made = vault.generate()
    assert vault.unwrap(made.blob) == made.material
    assert transit.fake.operations == ["encrypt", "decrypt", "datakey/plaintext", "decrypt"]


def test_a_new_version_of_the_key_rewraps_without_the_key_leaving(transit: Stage) -> None:
    vault = service(transit)
    made = vault.generate()
    transit.fake.versions.append(Cipher())
    fresh = vault.rewrap(made.blob)
    assert fresh.startswith("vault:v2:")
    assert transit.fake.operations[-1] == "rewrap"
    transit.fake.min_decryption_version = 2
    assert vault.unwrap(fresh) == made.material
    with pytest.raises(KeyServiceRefused, match="below its min_decryption_version"):
        vault.unwrap(made.blob)


def test_an_approle_signs_in_once(transit: Stage) -> None:
    vault = service(transit, AppRoleSignIn("ah5-role", Secret("ah5-secret-id")))
    vault.unwrap(vault.wrap(os.urandom(32)))
    assert transit.fake.operations == ["login", "encrypt", "decrypt"]


def test_a_pod_signs_in_with_its_account(transit: Stage, tmp_path: Path) -> None:
    token_file = tmp_path / "token"
    token_file.write_text("account-token\n")
    service(transit, KubernetesSignIn("ah5", token_file)).wrap(os.urandom(32))
    assert transit.fake.operations == ["login", "encrypt"]


def test_outside_of_a_pod_the_missing_account_is_said_so(transit: Stage, tmp_path: Path) -> None:
    with pytest.raises(KeyServiceRefused, match="VAULT_K8S_ROLE is for pods"):
        service(transit, KubernetesSignIn("ah5", tmp_path / "none")).wrap(os.urandom(32))
    assert transit.server.asked == []


def test_a_sign_in_that_is_not_accepted_is_a_denial(transit: Stage) -> None:
    with pytest.raises(KeyServiceDenied, match="VAULT_ROLE_ID and VAULT_SECRET_ID"):
        service(transit, AppRoleSignIn("ah5-role", Secret("wrong"))).wrap(os.urandom(32))
    assert transit.fake.operations == ["login"]


def test_a_token_of_the_process_does_not_count(transit: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VAULT_TOKEN", transit.fake.token)
    with pytest.raises(KeyServiceDenied, match="or the token has ended"):
        service(transit, TokenSignIn(Secret("another"))).wrap(os.urandom(32))


def test_requests_name_the_namespace(transit: Stage) -> None:
    transit.fake.namespace = "team-a"
    assert service(transit, namespace="team-a").wrap(os.urandom(32))
    with pytest.raises(KeyServiceRefused, match="VAULT_NAMESPACE"):
        service(transit).wrap(os.urandom(32))


def test_another_mount_is_used_and_an_unknown_one_said_so(transit: Stage) -> None:
    with pytest.raises(KeyServiceRefused, match="VAULT_TRANSIT_MOUNT"):
        service(transit, mount="teams/transit").wrap(os.urandom(32))
    assert transit.server.asked[-1].path == "/v1/teams/transit/encrypt/agenthifive"


def test_a_sealed_vault_is_worth_another_try(transit: Stage) -> None:
    transit.fake.trouble = "busy"
    with pytest.raises(KeyServiceUnreachable, match="it is sealed or in standby"):
        service(transit).wrap(os.urandom(32))


def test_a_redirect_is_not_followed(transit: Stage) -> None:
    target = f"http://127.0.0.1:{transit.fake.port}/v1/transit/encrypt/agenthifive"
    with listening(lambda _: Answer(307, b"", {"location": target})) as elsewhere:
        key = TransitKey(f"http://127.0.0.1:{elsewhere.port}")
        with pytest.raises(KeyServiceRefused, match="no reply of"):
            VaultTransit(key, TokenSignIn(Secret("t"))).wrap(os.urandom(32))
    assert len(elsewhere.asked) == 1
    assert transit.server.asked == []


def test_a_sign_in_does_not_show_its_secret() -> None:
    assert "sesame" not in repr((TokenSignIn(Secret("sesame")), AppRoleSignIn("r", Secret("sesame"))))
