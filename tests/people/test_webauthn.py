"""Whatever a browser sends: it is verified or refused, and nothing else happens."""

from typing import Any
from uuid import UUID

import pytest
from fido2 import cbor
from hypothesis import given
from hypothesis import strategies as st

from agenthifive.ids import new_id
from agenthifive.people.passkey_store import KnownPasskey
from agenthifive.people.webauthn import RelyingParty, Unproven
from agenthifive.vault import base64url
from people.authenticator import Authenticator

ORIGIN = "http://localhost:4000"
PARTY = RelyingParty(ORIGIN)
CHALLENGE = b"c" * 32
USER = new_id()
DEVICE = Authenticator(ORIGIN)
CREATED = DEVICE.create(PARTY.creation_options(CHALLENGE, USER, "olga@example.com", "Olga", []))
MADE = PARTY.verify_registration(CHALLENGE, CREATED)
KNOWN = KnownPasskey(new_id(), USER, MADE.credential_id, MADE.public_key, MADE.aaguid)
ASSERTED = DEVICE.get(PARTY.request_options(CHALLENGE, []))
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)


def test_what_is_right_is_accepted() -> None:
    assert (MADE.credential_id, MADE.sign_count, MADE.aaguid) == (DEVICE.credential_id, 0, UUID(int=0))
    assert MADE.transports == ["hybrid", "internal"]
    assert PARTY.verify_assertion(CHALLENGE, KNOWN, ASSERTED) == 1


@given(st.sampled_from(["id", "rawId", "type", "response"]), JSON)
def test_a_member_replaced_by_anything(name: str, value: Any) -> None:
    _refuses({**CREATED, name: value}, {**ASSERTED, name: value})


@given(
    st.sampled_from(["clientDataJSON", "attestationObject", "authenticatorData", "signature"]),
    JSON | st.binary(max_size=200).map(base64url.encode),
)
def test_a_part_of_the_response_replaced_by_anything(name: str, value: Any) -> None:
    created = {**CREATED, "response": {**CREATED["response"], name: value}} if name in CREATED["response"] else None
    asserted = {**ASSERTED, "response": {**ASSERTED["response"], name: value}} if name in ASSERTED["response"] else None
    _refuses(created, asserted)


@given(st.data(), st.sampled_from(["authenticatorData", "signature", "clientDataJSON"]))
def test_an_assertion_with_one_bit_changed(data: st.DataObject, name: str) -> None:
    octets = bytearray(base64url.decode(ASSERTED["response"][name]))
    bit = data.draw(st.integers(0, len(octets) * 8 - 1))
    octets[bit // 8] ^= 1 << bit % 8
    _refuses(None, {**ASSERTED, "response": {**ASSERTED["response"], name: base64url.encode(bytes(octets))}})


@given(st.binary(max_size=300))
def test_authenticator_data_of_random_bytes(octets: bytes) -> None:
    attestation = cbor.encode({"fmt": "none", "attStmt": {}, "authData": octets})
    response = {**CREATED["response"], "attestationObject": base64url.encode(attestation)}
    _refuses({**CREATED, "response": response}, None)


@pytest.mark.parametrize("octets", [b"\x81" * 12_000, b"\xbf" * 50, b"\x9b" + b"\xff" * 8, b"\xf6", b""])
def test_cbor_that_no_authenticator_writes(octets: bytes) -> None:
    response = {**CREATED["response"], "attestationObject": base64url.encode(octets)}
    _refuses({**CREATED, "response": response}, None)


def test_a_credential_with_two_names_is_none() -> None:
    other = base64url.encode(b"other")
    _refuses({**CREATED, "id": other, "rawId": other}, {**ASSERTED, "id": other})


def _refuses(created: Any, asserted: Any) -> None:
    if created is not None and created != CREATED:
        with pytest.raises(Unproven):
            PARTY.verify_registration(CHALLENGE, created)
    if asserted is not None and asserted != ASSERTED:
        with pytest.raises(Unproven):
            PARTY.verify_assertion(CHALLENGE, KNOWN, asserted)
