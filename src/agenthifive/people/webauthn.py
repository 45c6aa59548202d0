"""WebAuthn without I/O: the options a browser is given, and what its answers prove.

    challenge -> options -> (browser, authenticator) -> credential --verify--> NewPasskey | sign count | Unproven

The signatures and structures are read by fido2; what it leaves to its caller is checked here: the algorithm is one we
asked for, the answer does not come from a frame of another site, and nothing is so large that reading it costs much.
Source: contract/http.md section 14.3, WebAuthn Level 3 sections 5.4, 5.5, 7.1 and 7.2.
"""

import struct
from collections.abc import Mapping, Sequence
from ipaddress import ip_address
from typing import Any, Final
from urllib.parse import urlsplit
from uuid import UUID

from fido2 import cbor
from fido2.cose import ES256, RS256, CoseKey, EdDSA
from fido2.server import Fido2Server
from fido2.webauthn import (
    Aaguid,
    AttestationConveyancePreference,
    AttestationObject,
    AttestedCredentialData,
    AuthenticationResponse,
    AuthenticatorAssertionResponse,
    AuthenticatorAttestationResponse,
    AuthenticatorData,
    AuthenticatorTransport,
    CollectedClientData,
    PublicKeyCredentialDescriptor,
    PublicKeyCredentialParameters,
    PublicKeyCredentialRpEntity,
    PublicKeyCredentialType,
    PublicKeyCredentialUserEntity,
    RegistrationResponse,
    ResidentKeyRequirement,
    UserVerificationRequirement,
)

from agenthifive.people.passkey_store import KnownPasskey, NewPasskey
from agenthifive.vault import base64url

CHALLENGE_TTL_S: Final = 300
_RP_NAME: Final = "AgentHiFive"
_ALGORITHMS: Final = (ES256, EdDSA, RS256)
_TRANSPORTS: Final = frozenset(one.value for one in AuthenticatorTransport)
# What authenticators send stays far below these.
_CLIENT_DATA_MAX: Final = 4096
_ATTESTATION_MAX: Final = 16_384
_ASSERTION_MAX: Final = 1024
_CREDENTIAL_ID_MAX: Final = 1023  # WebAuthn Level 3 section 7.1 step 26
_PUBLIC_KEY_MAX: Final = 1024
# What fido2 raises for bytes that no authenticator made, deep nesting and unknown kinds of keys included.
_UNREADABLE: Final = (ValueError, LookupError, TypeError, AttributeError, AssertionError, RuntimeError, struct.error)

Credentials = Sequence[tuple[bytes, Sequence[str]]]
Wire = Mapping[str, Any]


class Unproven(Exception):
    """The answer of an authenticator does not prove what was asked. The message is for tests and logs only."""


class RelyingParty:
    """This instance as authenticators know it: the host of its address, and exactly that origin."""

    def __init__(self, web_url: str) -> None:
        host = urlsplit(web_url).hostname or ""
        self.is_usable = not _is_address(host)
        self._server = Fido2Server(
            PublicKeyCredentialRpEntity(id=host, name=_RP_NAME),
            attestation=AttestationConveyancePreference.NONE,
            verify_origin=lambda origin: origin == web_url,
        )
        self._server.timeout = CHALLENGE_TTL_S * 1000  # type: ignore[assignment]
        self._server.allowed_algorithms = [
            PublicKeyCredentialParameters(type=PublicKeyCredentialType.PUBLIC_KEY, alg=key.ALGORITHM)
            for key in _ALGORITHMS
        ]

    def creation_options(
        self, challenge: bytes, user_id: str, email: str, name: str, known: Credentials
    ) -> dict[str, Any]:
        """What `PublicKeyCredential.parseCreationOptionsFromJSON` takes; authenticators of `known` are left out."""
        options, _ = self._server.register_begin(
            PublicKeyCredentialUserEntity(id=UUID(user_id).bytes, name=email, display_name=name),
            _descriptors(known),
            ResidentKeyRequirement.PREFERRED,
            UserVerificationRequirement.REQUIRED,
            challenge=challenge,
        )
        return dict(options.public_key)

    def request_options(self, challenge: bytes, known: Credentials) -> dict[str, Any]:
        """What `PublicKeyCredential.parseRequestOptionsFromJSON` takes; none `known`: whatever the browser finds."""
        options, _ = self._server.authenticate_begin(
            _descriptors(known), UserVerificationRequirement.REQUIRED, challenge=challenge
        )
        return dict(options.public_key)

    def verify_registration(self, challenge: bytes, credential: Wire) -> NewPasskey:
        """The passkey that an authenticator made for this challenge. Raises: Unproven."""
        try:
            response = credential["response"]
            registration = RegistrationResponse(
                raw_id=credential_id_of(credential),
                response=AuthenticatorAttestationResponse(
                    client_data=_client_data(response),
                    attestation_object=AttestationObject(_octets(response, "attestationObject", _ATTESTATION_MAX)),
                ),
            )
            data = self._server.register_complete(_state(challenge), registration)
            made = data.credential_data
            if made is None or made.credential_id != registration.raw_id:
                raise Unproven("the attestation is about another credential")
            key = made.public_key
            if type(key) not in _ALGORITHMS:
                raise Unproven("a kind of key that was not asked for")
            public_key = cbor.encode(key)
            if len(public_key) > _PUBLIC_KEY_MAX:
                raise Unproven("the public key is too large")
            return NewPasskey(
                made.credential_id, public_key, data.counter, _transports(response), UUID(bytes=bytes(made.aaguid))
            )
        except _UNREADABLE as error:
            raise Unproven(str(error)) from None

    def verify_assertion(self, challenge: bytes, known: KnownPasskey, credential: Wire) -> int:
        """The sign count of an answer that the passkey's authenticator gave to this challenge. Raises: Unproven."""
        try:
            response = credential["response"]
            data = AuthenticatorData(_octets(response, "authenticatorData", _ASSERTION_MAX))
            assertion = AuthenticationResponse(
                raw_id=credential_id_of(credential),
                response=AuthenticatorAssertionResponse(
                    client_data=_client_data(response),
                    authenticator_data=data,
                    signature=_octets(response, "signature", _ASSERTION_MAX),
                ),
            )
            handle = response.get("userHandle")
            if handle is not None and base64url.decode(handle) != UUID(known.user_id).bytes:
                raise Unproven("the user handle is of another person")
            key = CoseKey.parse(cbor.decode(bytes(known.public_key)))  # type: ignore[arg-type]
            held = AttestedCredentialData.create(Aaguid(known.aaguid.bytes), bytes(known.credential_id), key)
            self._server.authenticate_complete(_state(challenge), [held], assertion)
        except _UNREADABLE as error:
            raise Unproven(str(error)) from None
        return data.counter


def _is_address(host: str) -> bool:
    """Whether a host is a number; browsers keep passkeys for names only."""
    try:
        ip_address(host)
    except ValueError:
        return False
    return True


def credential_id_of(credential: Wire) -> bytes:
    """The id of the credential an answer is about. Raises: ValueError."""
    if credential["type"] != PublicKeyCredentialType.PUBLIC_KEY.value or credential["id"] != credential["rawId"]:
        raise ValueError("not one public-key credential")
    return _octets(credential, "rawId", _CREDENTIAL_ID_MAX)


def _state(challenge: bytes) -> dict[str, Any]:
    return {"challenge": base64url.encode(challenge), "user_verification": UserVerificationRequirement.REQUIRED}


def _descriptors(known: Credentials) -> list[PublicKeyCredentialDescriptor]:
    return [
        PublicKeyCredentialDescriptor(
            type=PublicKeyCredentialType.PUBLIC_KEY,
            id=credential_id,
            transports=[AuthenticatorTransport(way) for way in transports] or None,
        )
        for credential_id, transports in known
    ]


def _client_data(response: Wire) -> CollectedClientData:
    data = CollectedClientData(_octets(response, "clientDataJSON", _CLIENT_DATA_MAX))
    if data.cross_origin is not False:
        raise Unproven("the answer was given inside a frame of another site")
    return data


def _octets(members: Wire, name: str, most: int) -> bytes:
    octets = base64url.decode(members[name])
    if not 0 < len(octets) <= most:
        raise ValueError(f"{name} is empty or too large")
    return octets


def _transports(response: Wire) -> list[str]:
    """The ways to reach the authenticator, those we know of."""
    told = response.get("transports") or ()
    return sorted(_TRANSPORTS.intersection(told))
