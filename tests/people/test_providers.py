"""The table of providers: how each calls itself, and which of its claims count."""

from typing import Any

import pytest

from agenthifive.people import providers
from agenthifive.people.assembly import read_providers
from agenthifive.people.providers import ProviderFailed
from agenthifive.settings import Settings, load_settings
from people.social_stage import PERSON, TENANT

MICROSOFT = "https://login.microsoftonline.com"
PERSONAL = "9188040d-6c67-4c5b-b112-36a304b66dad"


@pytest.mark.parametrize(
    ("tenant", "issuer", "trusted"),
    [
        ("common", f"{MICROSOFT}/{{tenantid}}/v2.0", None),
        ("organizations", f"{MICROSOFT}/{{tenantid}}/v2.0", None),
        ("consumers", f"{MICROSOFT}/{PERSONAL}/v2.0", None),
        (PERSONAL, f"{MICROSOFT}/{PERSONAL}/v2.0", None),
        (TENANT, f"{MICROSOFT}/{TENANT}/v2.0", TENANT),
    ],
)
def test_who_vouches_at_microsoft(tenant: str, issuer: str, trusted: str | None) -> None:
    rule = providers.microsoft(tenant)
    assert (rule.base, rule.issuer, rule.trusted_tenant) == (f"{MICROSOFT}/{tenant}/v2.0", issuer, trusted)


@pytest.mark.parametrize(
    ("issuer", "is_ours"),
    [
        (f"{MICROSOFT}/{TENANT}/v2.0", True),
        (f"{MICROSOFT}/{{tenantid}}/v2.0", False),
        (f"{MICROSOFT}/{TENANT}/v2.0/", False),
        (f"{MICROSOFT}/{TENANT}", False),
        (f"{MICROSOFT}//v2.0", False),
        (f"{MICROSOFT}/x/{TENANT}/v2.0", False),
        (f"https://evil.example.net/{TENANT}/v2.0", False),
        (TENANT, False),
        (None, False),
        (7, False),
    ],
)
def test_any_tenant_means_any_guid_in_its_place(issuer: object, is_ours: bool) -> None:
    assert providers.microsoft("common").is_issuer(issuer) is is_ours


@pytest.mark.parametrize("issuer", ["https://accounts.google.com/", "accounts.google.com", None])
def test_other_issuers_are_compared_letter_by_letter(issuer: object) -> None:
    assert providers.google().is_issuer("https://accounts.google.com")
    assert not providers.google().is_issuer(issuer)


@pytest.mark.parametrize(
    ("said", "is_verified"),
    [(True, True), (1, True), ("1", True), ("true", True), (False, False), (0, False), (None, False), ("yes", False),
     ([], False)],
)  # fmt: skip
def test_xms_edov(said: object, is_verified: bool) -> None:
    claims = {"iss": f"{MICROSOFT}/{TENANT}/v2.0", "tid": TENANT, "oid": PERSON, "email": "adam@example.com"}
    identity = providers.microsoft("common").identify({**claims, "xms_edov": said})
    assert identity.is_email_verified is is_verified
    assert (identity.issuer, identity.subject) == (claims["iss"], PERSON)


@pytest.mark.parametrize("subject", [None, "", "a" * 256, 7, "a\nb", "a\x00"])
def test_a_subject_is_a_short_text(subject: object) -> None:
    with pytest.raises(ProviderFailed, match="subject"):
        providers.google().identify({"iss": "https://accounts.google.com", "sub": subject})


def test_apple_may_write_the_word_true_and_nobody_else() -> None:
    claims: dict[str, Any] = {"iss": "x", "sub": "1", "email": "adam@example.com", "email_verified": "true"}
    assert providers.apple().identify(claims).is_email_verified
    assert not providers.google().identify(claims).is_email_verified


def test_without_an_address_nothing_is_verified() -> None:
    identity = providers.google().identify({"iss": "x", "sub": "1", "email": "no", "email_verified": True})
    assert (identity.email, identity.is_email_verified) == (None, False)


def test_secrets_are_not_shown() -> None:
    assert "hush" not in repr(providers.Client("us", "hush"))


def settings(**environ: str) -> Settings:
    return load_settings({"HOME": "/nonexistent", "WEB_URL": "https://ah5.example.com", **environ}).settings


def test_a_provider_is_offered_when_its_client_is_set(tmp_path: Any) -> None:
    every = {f"AUTH_{name}_CLIENT_{half}": "x" for name in ("GOOGLE", "MICROSOFT", "APPLE", "GITHUB")
             for half in ("ID", "SECRET")}  # fmt: skip
    oidc = {"OIDC_ISSUER": "https://id.example.com", "OIDC_CLIENT_ID": "x", "OIDC_CLIENT_SECRET": "x",
            "OIDC_NAME": "Acme"}  # fmt: skip
    home = {"AGENTHIFIVE_HOME": str(tmp_path)}
    http: Any = None
    assert read_providers(settings(**home), http) == {}
    found = read_providers(settings(**home, **every, **oidc), http)
    assert {each.id: each.name for each in found.values()} == {
        "google": "Google", "microsoft": "Microsoft", "apple": "Apple", "github": "GitHub", "oidc": "Acme",
    }  # fmt: skip
    assert list(found) == list(providers.PROVIDERS)


def test_the_clients_of_connections_sign_nobody_in(tmp_path: Any) -> None:
    clients = {"GOOGLE_CLIENT_ID": "x", "GOOGLE_CLIENT_SECRET": "x", "MICROSOFT_CLIENT_ID": "x"}
    http: Any = None
    assert read_providers(settings(AGENTHIFIVE_HOME=str(tmp_path), **clients), http) == {}


def test_redirect_uris_are_built_from_web_url() -> None:
    assert providers.redirect_uri("https://ah5.example.com", "google") == (
        "https://ah5.example.com/api/auth/callback/google"
    )
