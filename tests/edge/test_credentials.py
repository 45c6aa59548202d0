"""What a header credential is, by its text alone, and which of several counts. Source: contract/http.md section 10."""

import pytest

from agenthifive.edge.credentials import Credential, CredentialKind, presented, read_credential
from agenthifive.errors import AppError
from agenthifive.vault.compact import write_compact
from signing_keys import forge, signing_key

AGENT, PAT = "ah5t_" + "a" * 43, "ah5p_" + "a" * 43
KEY = signing_key("a", "Ed25519")
USER_JWT, AGENT_JWT = write_compact(KEY, "JWT", {}), write_compact(KEY, "at+jwt", {})


def sent(**headers: str) -> list[tuple[bytes, bytes]]:
    return [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        (AGENT, CredentialKind.AGENT_TOKEN),
        (PAT, CredentialKind.PAT),
        (USER_JWT, CredentialKind.USER_JWT),
        (AGENT_JWT, CredentialKind.AGENT_JWT),
    ],
)
def test_each_kind_is_known_by_its_text(text: str, kind: CredentialKind) -> None:
    found = presented(sent(authorization=f"Bearer {text}"))
    assert found == Credential(kind, text)
    assert text not in repr(found)


@pytest.mark.parametrize(
    "text",
    [
        AGENT[:-1],
        PAT + "a",
        "a.b.c",
        "..",
        "x" * 9000,
        USER_JWT + ".x",
        forge({"alg": "EdDSA", "kid": "a", "typ": "jwt"}, {}, KEY),
        forge({"alg": "EdDSA", "kid": "a", "typ": "application/at+jwt"}, {}, KEY),
        forge({"alg": "EdDSA", "kid": "a"}, {}, KEY),
        forge({"alg": "EdDSA", "kid": "a", "typ": "JWT"}, {"x": "x" * 9000}, KEY),
    ],
)
def test_anything_else_is_no_token(text: str) -> None:
    with pytest.raises(AppError) as refused:
        presented(sent(authorization=f"Bearer {text}"))
    assert (refused.value.code, refused.value.status) == ("invalid_token", 401)


def test_a_bootstrap_secret_and_a_persons_jwt_as_key_are_of_the_wrong_kind() -> None:
    for headers in (
        sent(authorization="Bearer ah5b_" + "a" * 43),
        sent(x_api_key=USER_JWT),
        sent(x_goog_api_key=USER_JWT),
    ):
        with pytest.raises(AppError) as refused:
            presented(headers)
        assert refused.value.code == "wrong_credential_type"


def test_agents_and_programs_may_send_theirs_as_a_key() -> None:
    for name in ("x_api_key", "x_goog_api_key"):
        for text in (AGENT, PAT, AGENT_JWT):
            found = presented(sent(**{name: text}))
            assert found is not None
            assert found.text == text


def test_the_highest_counts_and_the_others_are_not_looked_at() -> None:
    for headers in (
        sent(x_goog_api_key="rubbish", x_api_key="rubbish", authorization=f"bearer {PAT}"),
        sent(authorization="Basic eDp5", x_goog_api_key="rubbish", x_api_key=PAT),
        sent(cookie="ah5_session=x", x_goog_api_key=PAT),
    ):
        assert read_credential(headers, b"", "ah5_session").text == PAT


def test_the_cookie_counts_when_no_header_credential_is_sent() -> None:
    for headers in (sent(cookie="ah5_session=x"), sent(cookie="ah5_session=x", authorization="Basic eDp5")):
        assert read_credential(headers, b"", "ah5_session") == Credential(CredentialKind.SESSION, "x")
    assert presented(sent(cookie="ah5_session=x")) is None


def test_a_header_that_fails_is_not_rescued_by_a_cookie() -> None:
    with pytest.raises(AppError) as refused:
        read_credential(sent(cookie="ah5_session=x", authorization="Bearer rubbish"), b"", "ah5_session")
    assert refused.value.code == "invalid_token"


@pytest.mark.parametrize("query", [f"key={AGENT}", "access_token=", f"a=1&token={USER_JWT}", f"api_key={PAT}"])
def test_the_query_is_never_a_credential(query: str) -> None:
    with pytest.raises(AppError) as refused:
        read_credential([], query.encode(), "ah5_session")
    assert refused.value.code == "wrong_credential_type"
    assert AGENT not in refused.value.message
