"""From a stored credential back to what a person entered, so that a change may name only what changes.

    members_of(payload, params) + the new members -> read_fields / read_generic, as at creation

Source: contract/connections.md section 8 (absent members keep their value).
"""

from collections.abc import Mapping
from typing import Any

from agenthifive.catalog.service import Variant


def members_of(variant: Variant, payload: Mapping[str, Any], params: Mapping[str, Any]) -> dict[str, Any]:
    """The members that would be read into this payload and these params.

    Shapes:
        payload: unsealed. params: `metadata.params` of the connection.
    """
    kind = variant.spec.kind
    if kind == "email":
        return _mail_members(payload)
    if kind == "http":
        computed = ("injectedHeaders", "injectedParams")
        return {**{name: value for name, value in params.items() if name not in computed}, **payload}
    members = {spec.name: payload[spec.name] for spec in variant.fields if spec.name in payload}
    if kind == "token_pair" and "expiresAt" in members:
        members["expiresAt"] *= 1000  # milliseconds on the wire
    return members


def _mail_members(payload: Mapping[str, Any]) -> dict[str, Any]:
    imap, smtp = payload["imap"], payload["smtp"]
    members = {name: payload[name] for name in ("email", "displayName") if name in payload}
    members |= {
        "imapHost": imap["host"],
        "imapPort": imap["port"],
        "imapTls": imap["tls"],
        "smtpHost": smtp["host"],
        "smtpPort": smtp["port"],
        "smtpStarttls": smtp["starttls"],
        "username": imap["username"],
        "password": imap["password"],
    }
    # Only what was entered apart: a new password is then the new password of both logins.
    if smtp["username"] != imap["username"]:
        members["smtpUsername"] = smtp["username"]
    if smtp["password"] != imap["password"]:
        members["smtpPassword"] = smtp["password"]
    return members
