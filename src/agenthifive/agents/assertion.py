"""Is this assertion the agent's own, fresh, and meant for us? Checks in order; the first failure answers.

    text -> parse_assertion -> Assertion   rows 5 form, 6 header, 7 subject     nothing is believed yet
            (the caller looks the agent's key up)
         -> verify_assertion -> Claims     rows 8 agent, 9 key, 10 signature    from here on the agent is proven
                                           11 audience, 12 lifetime, 13 clock, 14 jti

Nothing here spends the jti: that happens with the token, in one transaction.
Source: contract/agents.md sections 6.1 and 6.2.
"""

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final, TypeGuard

from agenthifive import strict_json
from agenthifive.agents.public_key import PublicKey
from agenthifive.errors import AppError
from agenthifive.vault import base64url
from agenthifive.vault.signing import load_public_jwk

MAX_SIZE_BYTES: Final = 8192
MAX_DEPTH: Final = 32
ALGORITHMS: Final = ("ES256", "EdDSA", "RS256")
IAT_LEEWAY_S: Final = 60
EXP_LEEWAY_S: Final = 5

_HEADER_MEMBERS: Final = frozenset({"alg", "typ", "kid"})
_TYPES: Final = frozenset({"jwt", "client-authentication+jwt"})
_UUID: Final = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")
_JTI: Final = re.compile(r"[\x21-\x7e]{8,128}")
_MAX_INSTANT_S: Final = 2**53
_LOOPBACK_HOST: Final = re.compile(r"(https?://)(localhost|127\.0\.0\.1)((?:[:/].*)?)")
_TWIN: Final[Mapping[str, str]] = {"localhost": "127.0.0.1", "127.0.0.1": "localhost"}
# a string, or a time claim whose value may be too large for any reader
_TIME_CLAIM: Final = re.compile(
    rb'("(?:exp|iat|nbf)"[ \t\r\n]*:[ \t\r\n]*)'
    rb"(-?(?:0|[1-9][0-9]*+)(?:\.[0-9]++)?(?:[eE]\+?[0-9]++)?)(?=[ \t\r\n]*[,}])"
    rb'|"(?:[^"\\]|\\.)*"?'
)


class AssertionRefused(AppError):
    """The assertion does not authenticate.

    `agent_is_proven` when its signature was good: only then does the refusal belong to the agent's workspace.
    """

    __slots__ = ("agent_is_proven",)

    def __init__(
        self,
        code: str,
        message: str,
        *,
        agent_is_proven: bool = False,
        hint: str | None = None,
        extra: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(code, message, hint=hint, extra=extra)
        self.agent_is_proven = agent_is_proven


@dataclass(frozen=True, slots=True)
class Assertion:
    """A well-formed assertion. Everything in it is a claim of whoever sent it."""

    agent_id: str
    header: Mapping[str, Any]
    claims: Mapping[str, Any]
    signed: bytes
    signature: bytes


@dataclass(frozen=True, slots=True)
class Claims:
    """What a verified assertion says. Units: iat, exp: seconds since the epoch."""

    agent_id: str
    jti: str
    iat: int
    exp: int


@dataclass(frozen=True, slots=True)
class _Case:
    """All that the checks of one assertion look at."""

    assertion: Assertion
    key: PublicKey
    audiences: frozenset[str]
    max_lifetime_s: int
    now_s: float


def accepted_audiences(
    web_url: str, internal_url: str | None, extra: Iterable[str], development: bool
) -> frozenset[str]:
    """The audiences that mean us, in the form `verify_assertion` compares.

    Shapes: extra: the entries of AGENT_TOKEN_AUDIENCE. development: loopback twins count too.
    Source: contract/agents.md section 6.1.
    """
    audiences = {_normalise(audience) for audience in (web_url, internal_url or "", *extra)}
    if development:
        loopback = [match for match in map(_LOOPBACK_HOST.fullmatch, audiences) if match]
        audiences |= {match[1] + _TWIN[match[2]] + match[3] for match in loopback}
    return frozenset(audiences - {""})


def parse_assertion(text: str, client_id: object = None) -> Assertion:
    """Read an assertion without believing it: rows 5, 6 and 7.

    Shapes: client_id: the request's parameter, None when absent.
    Raises: AssertionRefused, and nothing else, whatever the text is.
    """
    if len(text) > MAX_SIZE_BYTES:
        raise _malformed(f"it is larger than {MAX_SIZE_BYTES} bytes")
    segments = text.split(".")
    if len(segments) != 3 or not all(segments):
        raise _malformed("it does not have exactly three non-empty segments")
    parts = zip(("header", "payload", "signature"), segments, strict=True)
    header_octets, payload_octets, signature = [_decode(part, segment) for part, segment in parts]
    header = _read_object("header", header_octets)
    claims = _read_claims(payload_octets)
    _check_header(header)
    agent_id = _read_subject(claims, client_id)
    signed = text[: text.rindex(".")].encode("ascii")
    return Assertion(agent_id, header, claims, signed, signature)


def verify_assertion(
    assertion: Assertion,
    key: PublicKey | None,
    *,
    audiences: frozenset[str],
    max_lifetime_s: int,
    now_s: float,
) -> Claims:
    """Prove the agent and judge its claims: rows 8 to 14.

    Shapes:
        key: the key registered for `assertion.agent_id`; None when there is no such agent or it has no key.
        audiences: from `accepted_audiences`.
    Units: now_s: seconds since the epoch.
    Raises: AssertionRefused; vault.signing.UnusableKey when the stored key is damaged (our fault, never a 401).
    """
    if key is None:
        raise AssertionRefused(
            "invalid_agent",
            "The agent named in this assertion is not active: no enrolled agent has this id. "
            "Ask a person for a bootstrap secret and enrol.",
        )
    case = _Case(assertion, key, audiences, max_lifetime_s, now_s)
    for check in CHECKS:
        check(case)
    claims = assertion.claims
    return Claims(assertion.agent_id, claims["jti"], claims["iat"], claims["exp"])


def _decode(part: str, segment: str) -> bytes:
    try:
        return base64url.decode(segment)
    except base64url.NotBase64url:
        raise _malformed(f"the {part} is not base64url without padding") from None


def _read_object(part: str, octets: bytes) -> dict[str, Any]:
    try:
        value = strict_json.loads(octets, MAX_DEPTH)
    except strict_json.InvalidJson as fault:
        raise _malformed(f"the {part} is not strict JSON ({fault})") from None
    if not isinstance(value, dict):
        raise _malformed(f"the {part} is not a JSON object")
    return value


def _read_claims(octets: bytes) -> dict[str, Any]:
    """The payload; a time no number type can hold is read as 0.5, so that it fails as a lifetime, not as JSON."""
    try:
        return _read_object("payload", octets)
    except AssertionRefused:
        bounded = _TIME_CLAIM.sub(_bound_time, octets)
        if bounded == octets:
            raise
        return _read_object("payload", bounded)


def _bound_time(match: re.Match[bytes]) -> bytes:
    if match[1] is None or abs(float(match[2])) != float("inf"):
        return match[0]
    return match[1] + b"0.5"


def _check_header(header: Mapping[str, Any]) -> None:
    for name in header:
        if name not in _HEADER_MEMBERS:
            raise _header_refused(f"the member {name[:40]!a} is not allowed; send alg, and optionally typ and kid")
    if header.get("alg") not in ALGORITHMS:
        raise _header_refused(f"alg is not one of {', '.join(ALGORITHMS)}")
    if "typ" in header:
        typ = header["typ"]
        if not isinstance(typ, str) or not typ.isascii() or typ.lower() not in _TYPES:
            raise _header_refused("typ is neither JWT nor client-authentication+jwt")


def _read_subject(claims: Mapping[str, Any], client_id: object) -> str:
    subject = claims.get("sub")
    if not isinstance(subject, str) or not _UUID.fullmatch(subject):
        raise _malformed("sub is not the agent's id, a UUID in lower case")
    if claims.get("iss") != subject:
        raise _malformed("iss is not the same as sub")
    if client_id is not None and client_id != subject:
        raise _malformed("client_id is not the same as sub")
    return subject


def _check_key(case: _Case) -> None:
    key, header = case.key, case.assertion.header
    if header["alg"] != key.alg:
        raise _key_mismatch(key, f"alg is {header['alg']}")
    if "kid" in header and header["kid"] != (key.thumbprint if key.kid is None else key.kid):
        raise _key_mismatch(key, "kid names another key")


def _check_signature(case: _Case) -> None:
    if not load_public_jwk(case.key.jwk).verifies(case.assertion.signature, case.assertion.signed):
        raise AssertionRefused(
            "assertion_signature_invalid",
            "The signature does not match the key registered for this agent. If the key was replaced, "
            "re-enrol: ask a person for a bootstrap secret.",
        )


def _check_audience(case: _Case) -> None:
    audience = case.assertion.claims.get("aud")
    if isinstance(audience, list) and len(audience) == 1:
        audience = audience[0]
    if not isinstance(audience, str) or _normalise(audience) not in case.audiences:
        accepted = ", ".join(sorted(case.audiences))
        raise _refused_proven(
            "assertion_audience",
            f"aud does not name this server. Set aud to one of: {accepted}.",
            hint=accepted,
        )


def _check_lifetime(case: _Case) -> None:
    claims = case.assertion.claims
    iat, exp = claims.get("iat"), claims.get("exp")
    if not (_is_instant(iat) and _is_instant(exp)):
        raise _lifetime_refused(case, "iat and exp must be whole numbers of seconds since 1970.")
    if not 0 < exp - iat <= case.max_lifetime_s:
        raise _lifetime_refused(case, "exp must be later than iat, and not by more than that.")
    if "nbf" in claims and type(claims["nbf"]) is not int:
        raise _lifetime_refused(case, "nbf must be a whole number of seconds since 1970.")


def _check_clock(case: _Case) -> None:
    claims, now_s = case.assertion.claims, case.now_s
    iat, exp, nbf = claims["iat"], claims["exp"], claims.get("nbf", 0)
    if iat > now_s + IAT_LEEWAY_S:
        raise _clock_refused(case, "iat lies in the future")
    if nbf > now_s + EXP_LEEWAY_S:
        raise _clock_refused(case, "nbf lies in the future")
    if iat < now_s - case.max_lifetime_s or exp <= now_s - EXP_LEEWAY_S:
        raise _clock_refused(case, "it has expired")


def _check_jti(case: _Case) -> None:
    jti = case.assertion.claims.get("jti")
    if not isinstance(jti, str) or not _JTI.fullmatch(jti):
        raise _refused_proven(
            "jti_invalid",
            "jti must be a string of 8 to 128 printable ASCII characters without blanks, new for each "
            "assertion. Use a random UUID.",
        )


CHECKS: Final[tuple[Callable[[_Case], None], ...]] = (
    _check_key,
    _check_signature,
    _check_audience,
    _check_lifetime,
    _check_clock,
    _check_jti,
)
"""Rows 9 to 14, in order. Those after the signature judge a proven agent."""


def _normalise(audience: str) -> str:
    return audience.rstrip("/").removesuffix("/v1")


def _is_instant(value: Any) -> TypeGuard[int]:
    return type(value) is int and 0 < value < _MAX_INSTANT_S


def _malformed(fault: str) -> AssertionRefused:
    return AssertionRefused("malformed_assertion", f"The client assertion is malformed: {fault}.")


def _header_refused(fault: str) -> AssertionRefused:
    return AssertionRefused("assertion_header_refused", f"The assertion's header is refused: {fault}.")


def _key_mismatch(key: PublicKey, fault: str) -> AssertionRefused:
    return AssertionRefused(
        "assertion_key_mismatch",
        f"The assertion does not fit the key registered for this agent, which signs with {key.alg}: {fault}. "
        "Sign with the registered key, or re-enrol.",
        hint=key.alg,
    )


def _refused_proven(code: str, message: str, *, hint: str | None = None) -> AssertionRefused:
    return AssertionRefused(code, message, agent_is_proven=True, hint=hint)


def _lifetime_refused(case: _Case, rule: str) -> AssertionRefused:
    return _refused_proven(
        "assertion_lifetime", f"An assertion may live for at most {case.max_lifetime_s} seconds. {rule}"
    )


def _clock_refused(case: _Case, fault: str) -> AssertionRefused:
    server_time = datetime.fromtimestamp(case.now_s, UTC).isoformat(timespec="milliseconds")
    return AssertionRefused(
        "clock_skew",
        f"By our clock this assertion is out of its time: {fault}. Synchronise the agent's clock with a time "
        "server and send a new assertion.",
        agent_is_proven=True,
        hint="synchronise the clock",
        extra={"reason": "clock_skew", "serverTime": server_time.replace("+00:00", "Z")},
    )
