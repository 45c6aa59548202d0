"""What each audit action means and carries, for docs/reference/audit-actions.md.

An action without an entry fails the build.
"""

from collections.abc import Mapping
from typing import Final

Meaning = tuple[str, str]
"""When the row is written, and the members of its metadata; those in brackets are not always there."""

CALLS: Final[Mapping[str, Meaning]] = {
    "execution_requested": (
        "Intent of a brokered call: durable before a byte leaves.",
        "model, provider, service, method, scheme, host, path, queryNames, bodyBytes, bodySha256, fingerprint, via, "
        "[strippedParams], [ruleLabel], [wouldDeny], [stream], [download]",
    ),
    "execution_completed": (
        "Outcome of a brokered call; `intent_id` names the intent. `error` with `errorCode` and `outcome` "
        "(`not_sent`, `unknown`) when it did not succeed; `errorCode` `crash` when a process died in between.",
        "provider, service, method, path, responseStatus, dataSize, durationMs, attempts, [redactions], [clientGone], "
        "[redirectHost], [errorCode], [outcome]",
    ),
    "execution_denied": (
        "A brokered call was refused; for `egress_blocked` this is the outcome of its intent.",
        "model, reason, [detail], [method], [host], [path], [ruleLabel], [causes], [address], [addressClass], ids of "
        "the target refused by a constraint",
    ),
    "rate_limit_exceeded": (
        "A call was refused because the policy's budget is used up or too many calls run.",
        "model, reason, [detail], limit, currentCount, retryAfter, [method], [host], [path]",
    ),
    "token_vend_requested": ("Intent to hand out a token (model A).", "model, provider, service"),
    "token_vended": (
        "Outcome of a hand-out; `error` when the token did not leave.",
        "model, provider, ttl, refreshed, [errorCode], [outcome]",
    ),
    "token_vend_denied": ("A hand-out was refused.", "model, reason, [detail]"),
    "idempotent_replay": ("A repeated call got the stored reply.", "firstAuditId"),
}

AGENTS: Final[Mapping[str, Meaning]] = {
    "agent_created": ("An agent was created.", "name"),
    "agent_updated": ("Name, description or icon changed.", "fields"),
    "agent_deleted": ("An agent and all it held were removed.", "name, policies, tokensRevoked"),
    "agent_disabled": ("An agent was stopped.", "[reason], tokensRevoked"),
    "agent_enabled": ("An agent may work again.", "newStatus"),
    "agent_bootstrap_secret_issued": ("A secret to enrol with was issued.", "expiresAt, revokedEarlier"),
    "agent_bootstrapped": (
        "An agent enrolled: its public key was registered.",
        "publicKeyThumbprint, previousThumbprint, previousStatus, keyAlg, tokensRevoked, retry",
    ),
    "agent_bootstrap_failed": ("An enrolment was refused.", "reason"),
    "agent_token_issued": ("An access token was issued.", "tokenTtlSeconds, form, scopes, publicKeyThumbprint"),
    "agent_token_denied": (
        "A token exchange was refused. `verified` tells whether the signature was the agent's.",
        "reason, verified, [claimedAgentId], [count]",
    ),
    "agent_tokens_revoked": ("An agent's access tokens were ended.", "tokensRevoked"),
    "access_denied": ("A known caller was refused a route.", "method, route, code, [count]"),
}

MANAGEMENT: Final[Mapping[str, Meaning]] = {
    "connection_created": ("A credential was entered and sealed.", "provider, service, label, scopes, [account]"),
    "connection_updated": ("A connection was renamed.", "fields"),
    "connection_credentials_updated": ("A credential was replaced; names of members only.", "provider, members"),
    "connection_tested": ("A credential was tried at its provider.", "ok, [errorCode]"),
    "connection_needs_reauth": ("The provider no longer accepts a credential.", "reason, errorCode"),
    "connection_revoked": (
        "A connection was ended for good.",
        "provider, label, previousStatus, policiesRevoked, providerRevoke, [agentId]",
    ),
    "connection_deleted": (
        "A connection was removed with its credential.",
        "provider, label, previousStatus, policiesRevoked, providerRevoke",
    ),
    "provider_revocation": ("What became of a credential at its provider.", "provider, outcome"),
    "policy_created": ("An agent got rights over a connection.", "policyId, [actionTemplateId], [securityPreset], "
                       "enforcement"),
    "policy_updated": ("A policy changed; before and after, or hashes where they are long.",
                       "policyId, change, changes, version"),
    "policy_deleted": ("An agent's rights over a connection ended.", "policyId, [actionTemplateId], [securityPreset], "
                       "version"),
}  # fmt: skip

PEOPLE: Final[Mapping[str, Meaning]] = {
    "user_registered": ("The first account was made with the set-up link.", "method, email"),
    "user_created": ("An account was made on the command line.", "method, email"),
    "user_signed_in": ("A person signed in.", "method, factors"),
    "user_sign_in_failed": ("A sign-in failed; the address is hashed.", "reason, emailSha256, [userId], [count]"),
    "user_signed_out": ("A session was ended.", "sessions"),
    "user_reauthenticated": ("A person confirmed their password, or failed to.", "method"),
    "pat_created": ("A personal access token was created.", "tokenId, name, scopes, expiresAt, [via]"),
    "pat_renamed": ("A personal access token was renamed.", "tokenId, name"),
    "pat_revoked": ("A personal access token was revoked.", "tokenId, name"),
    "workspace_created": ("A workspace was created with its owner.", "name"),
}

INSTANCE: Final[Mapping[str, Meaning]] = {
    "audit_exported": ("An export began, or ended (`complete`).", "format, filters, rows, [complete]"),
    "audit_verified": ("The log was verified.", "chains, rows, checkpoints, firstProblem"),
    "encryption_key_activated": ("A key seals for the first time on this database.", "kid, mode"),
    "instance_set_up": ("The instance got its first account.", "version, gitSha, revision"),
    "instance_started": ("A server started.", "version, gitSha, mode, insecure"),
    "instance_stopped": ("A server stopped in an orderly way.", "version, graceful"),
    "database_migrated": ("The schema was brought to another revision.", "from, to"),
    "authentication_failed": ("A credential was unknown, expired or revoked.", "kind, reason, count"),
    "rate_limited": ("A rate limit of the HTTP surface refused requests.", "limit, count"),
}

SECTIONS: Final[Mapping[str, Mapping[str, Meaning]]] = {
    "Calls": CALLS,
    "Agents": AGENTS,
    "Connections and policies": MANAGEMENT,
    "People": PEOPLE,
    "Log and instance": INSTANCE,
}
