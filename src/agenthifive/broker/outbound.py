"""Unseal and inject: the decided call and the secret become what goes onto the wire.

The plaintext lives for this call only; what was used is handed to the scrubber, so that a reply cannot carry it back.
Source: contract/broker.md sections 5 (headers added), 7 and 10.5.
"""

from typing import Any, Final

import msgspec

from agenthifive import __version__
from agenthifive.broker.egress import Outbound
from agenthifive.broker.inject import NotInjectable, SlotMissing, inject
from agenthifive.broker.judge import Judged
from agenthifive.broker.model import Call, Grant
from agenthifive.broker.scrub import SecretScrubber
from agenthifive.errors import AppError
from agenthifive.vault.envelope import EnvelopeError, KeyUnknown
from agenthifive.vault.keyring import Keyring, KeyUnavailable

USER_AGENT: Final = f"AgentHiFive/{__version__}"
_decode = msgspec.json.Decoder(dict[str, Any]).decode


def prepare(call: Call, grant: Grant, judged: Judged, keyring: Keyring) -> tuple[Outbound, SecretScrubber]:
    """The request as it is sent. Raises: AppError (credential_unreadable, credential_not_injectable)."""
    target, body = judged.target, judged.body
    try:
        injected = inject(judged.headers, target.path, target.query, grant.binding.plan(target), unseal(grant, keyring))
    except (NotInjectable, SlotMissing) as error:
        raise AppError(
            "credential_not_injectable", f"The stored credential cannot be used: {error}. A person must replace it."
        ) from None
    headers = [("host", target.authority), ("accept-encoding", "gzip")]
    names = {name for name, _ in injected.headers}
    headers.extend(pair for pair in injected.headers if pair[0] != "content-type")
    if "user-agent" not in names:
        headers.append(("user-agent", USER_AGENT))
    if body.content_type is not None:
        headers.append(("content-type", body.content_type))
    outbound = Outbound(
        call.method,
        target.scheme,
        target.host,
        target.port,
        injected.path + injected.query,
        headers,
        body.data,
        grant.connection_id,
    )
    return outbound, SecretScrubber(injected.secrets)


def unseal(grant: Grant, keyring: Keyring) -> dict[str, Any]:
    """The credential of a grant. Raises: AppError (credential_unreadable, key_unavailable)."""
    if grant.sealed is None:
        return {}
    try:
        return _decode(keyring.open_placed(grant.sealed).reveal())
    except KeyUnknown:
        raise KeyUnavailable from None
    except (EnvelopeError, msgspec.DecodeError):
        raise AppError(
            "credential_unreadable",
            "The stored credential cannot be read. A person must enter it again on this connection.",
        ) from None
