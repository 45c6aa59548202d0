"""The closed vocabularies: every word that crosses a room, a row or the wire.

A value that is not here cannot be written: enums reach the database as text and the tables check nothing
twice. Source: contract/audit.md section 3, http.md sections 10 to 12, policy.md section 1.
"""

from enum import StrEnum


class AuditAction(StrEnum):
    """What an audit row says happened. Source: contract/audit.md section 3."""

    # calls
    EXECUTION_REQUESTED = "execution_requested"
    EXECUTION_COMPLETED = "execution_completed"
    EXECUTION_DENIED = "execution_denied"
    RATE_LIMIT_EXCEEDED = "rate_limit_exceeded"
    TOKEN_VEND_REQUESTED = "token_vend_requested"
    TOKEN_VENDED = "token_vended"
    TOKEN_VEND_DENIED = "token_vend_denied"
    IDEMPOTENT_REPLAY = "idempotent_replay"
    # agents
    AGENT_CREATED = "agent_created"
    AGENT_UPDATED = "agent_updated"
    AGENT_DELETED = "agent_deleted"
    AGENT_DISABLED = "agent_disabled"
    AGENT_ENABLED = "agent_enabled"
    AGENT_BOOTSTRAP_SECRET_ISSUED = "agent_bootstrap_secret_issued"
    AGENT_BOOTSTRAPPED = "agent_bootstrapped"
    AGENT_BOOTSTRAP_FAILED = "agent_bootstrap_failed"
    AGENT_TOKEN_ISSUED = "agent_token_issued"
    AGENT_TOKEN_DENIED = "agent_token_denied"
    AGENT_TOKENS_REVOKED = "agent_tokens_revoked"
    ACCESS_DENIED = "access_denied"
    # connections and policies
    CONNECTION_CREATED = "connection_created"
    CONNECTION_UPDATED = "connection_updated"
    CONNECTION_CREDENTIALS_UPDATED = "connection_credentials_updated"
    CONNECTION_TESTED = "connection_tested"
    CONNECTION_NEEDS_REAUTH = "connection_needs_reauth"
    CONNECTION_REVOKED = "connection_revoked"
    CONNECTION_DELETED = "connection_deleted"
    PROVIDER_REVOCATION = "provider_revocation"
    POLICY_CREATED = "policy_created"
    POLICY_UPDATED = "policy_updated"
    POLICY_DELETED = "policy_deleted"
    # people
    USER_REGISTERED = "user_registered"
    USER_CREATED = "user_created"
    USER_SIGNED_IN = "user_signed_in"
    USER_SIGN_IN_FAILED = "user_sign_in_failed"
    USER_SIGNED_OUT = "user_signed_out"
    USER_REAUTHENTICATED = "user_reauthenticated"
    USER_UPDATED = "user_updated"
    USER_VERIFIED = "user_verified"
    USER_DISABLED = "user_disabled"
    USER_ENABLED = "user_enabled"
    USER_DELETED = "user_deleted"
    USER_ROLE_CHANGED = "user_role_changed"
    SESSION_REVOKED = "session_revoked"
    PASSWORD_RESET_REQUESTED = "password_reset_requested"
    PASSWORD_RESET = "password_reset"
    PASSWORD_CHANGED = "password_changed"
    PASSKEY_ADDED = "passkey_added"
    PASSKEY_REMOVED = "passkey_removed"
    TOTP_ENABLED = "totp_enabled"
    TOTP_DISABLED = "totp_disabled"
    RECOVERY_CODE_USED = "recovery_code_used"
    RECOVERY_CODES_REPLACED = "recovery_codes_replaced"
    TWO_FACTOR_RESET = "two_factor_reset"
    SOCIAL_LINKED = "social_linked"
    SOCIAL_UNLINKED = "social_unlinked"
    DEVICE_LOGIN_APPROVED = "device_login_approved"
    DEVICE_LOGIN_DENIED = "device_login_denied"
    PAT_CREATED = "pat_created"
    PAT_RENAMED = "pat_renamed"
    PAT_REVOKED = "pat_revoked"
    WORKSPACE_CREATED = "workspace_created"
    WORKSPACE_UPDATED = "workspace_updated"
    WORKSPACE_TRANSFERRED = "workspace_transferred"
    WORKSPACE_DELETED = "workspace_deleted"
    MEMBER_ADDED = "member_added"
    MEMBER_REMOVED = "member_removed"
    MEMBER_ROLE_CHANGED = "member_role_changed"
    INVITATION_CREATED = "invitation_created"
    INVITATION_RESENT = "invitation_resent"
    INVITATION_REVOKED = "invitation_revoked"
    INVITATION_ACCEPTED = "invitation_accepted"
    # audit and instance
    AUDIT_EXPORTED = "audit_exported"
    AUDIT_VERIFIED = "audit_verified"
    ENCRYPTION_KEY_ACTIVATED = "encryption_key_activated"
    ENCRYPTION_KEY_RETIRED = "encryption_key_retired"
    KEY_REENCRYPTION_STARTED = "key_reencryption_started"
    KEY_REENCRYPTION_COMPLETED = "key_reencryption_completed"
    KEY_REENCRYPTION_RECORD_FAILED = "key_reencryption_record_failed"
    KEY_BACKUP_CREATED = "key_backup_created"
    JWT_KEY_ACTIVATED = "jwt_key_activated"
    JWT_KEY_RETIRED = "jwt_key_retired"
    INSTANCE_SET_UP = "instance_set_up"
    INSTANCE_STARTED = "instance_started"
    INSTANCE_STOPPED = "instance_stopped"
    DATABASE_MIGRATED = "database_migrated"
    DATABASE_RESTORED = "database_restored"
    FREEZE_ACTIVATED = "freeze_activated"
    FREEZE_LIFTED = "freeze_lifted"
    AUTHENTICATION_FAILED = "authentication_failed"
    RATE_LIMITED = "rate_limited"


class AuditDecision(StrEnum):
    """How the recorded thing ended."""

    ALLOWED = "allowed"
    DENIED = "denied"
    ERROR = "error"


class PrincipalType(StrEnum):
    """Who acted. Source: contract/audit.md section 2."""

    AGENT = "agent"
    USER = "user"
    PAT = "pat"
    SYSTEM = "system"
    CLI = "cli"
    PUBLIC = "public"


class Scope(StrEnum):
    """What a token may do. Source: contract/http.md section 11."""

    VAULT_EXECUTE = "vault:execute"
    CAPABILITIES_READ = "capabilities:read"
    CAPABILITIES_REQUEST = "capabilities:request"
    CONNECTIONS_READ = "connections:read"
    CONNECTIONS_WRITE = "connections:write"
    CONNECTIONS_REVOKE = "connections:revoke"
    APPROVALS_READ = "approvals:read"
    APPROVALS_DECIDE = "approvals:decide"
    AGENTS_READ = "agents:read"
    AGENTS_WRITE = "agents:write"
    POLICIES_READ = "policies:read"
    POLICIES_WRITE = "policies:write"
    AUDIT_READ = "audit:read"
    AUDIT_EXPORT = "audit:export"
    CREDENTIALS_RESOLVE = "credentials:resolve"
    NOTIFICATIONS_READ = "notifications:read"
    NOTIFICATIONS_WRITE = "notifications:write"
    WORKSPACE_READ = "workspace:read"
    WORKSPACE_WRITE = "workspace:write"


AGENT_SCOPES = (
    Scope.VAULT_EXECUTE,
    Scope.CAPABILITIES_READ,
    Scope.CAPABILITIES_REQUEST,
    Scope.CONNECTIONS_READ,
    Scope.CONNECTIONS_REVOKE,
    Scope.APPROVALS_READ,
)
PAT_SCOPES = tuple(s for s in Scope if s not in (Scope.CAPABILITIES_REQUEST, Scope.CONNECTIONS_REVOKE))
PAT_DEFAULT_SCOPES = (
    Scope.CONNECTIONS_READ,
    Scope.CONNECTIONS_WRITE,
    Scope.VAULT_EXECUTE,
    Scope.AUDIT_READ,
    Scope.CAPABILITIES_READ,
)
SENSITIVE_SCOPES = frozenset(
    {
        Scope.CREDENTIALS_RESOLVE,
        Scope.APPROVALS_DECIDE,
        Scope.AGENTS_WRITE,
        Scope.POLICIES_WRITE,
        Scope.WORKSPACE_WRITE,
    }
)


class Role(StrEnum):
    """A person's role in one workspace, strongest first. Source: contract/http.md section 12."""

    OWNER = "owner"
    ADMIN = "admin"
    APPROVER = "approver"
    VIEWER = "viewer"


class ActionClass(StrEnum):
    """What a call does at the provider. Source: catalog/SCHEMA.md section 6."""

    READ = "read"
    WRITE = "write"
    DELETE = "delete"
    SEND = "send"
    SHARE = "share"
    PAY = "pay"
    ADMIN = "admin"


class AgentStatus(StrEnum):
    """Source: contract/agents.md section 2."""

    CREATED = "created"
    ACTIVE = "active"
    DISABLED = "disabled"


class ConnectionStatus(StrEnum):
    """Source: contract/connections.md section 1."""

    HEALTHY = "healthy"
    NEEDS_REAUTH = "needs_reauth"
    REVOKED = "revoked"


class PolicyStatus(StrEnum):
    """Source: contract/policy.md section 2.1."""

    ACTIVE = "active"
    REVOKED = "revoked"


class Outcome(StrEnum):
    """What is known of a call that passed the commit point. Source: contract/broker.md section 1."""

    NOT_SENT = "not_sent"
    UNKNOWN = "unknown"


class RateLimit(StrEnum):
    """Names of the HTTP rate limits. Source: contract/http.md section 16."""

    BOOTSTRAP = "bootstrap"
    TOKEN = "token"
    SESSION_JWT = "session_jwt"
    SIGN_IN = "sign_in"
    SIGN_IN_ACCOUNT = "sign_in_account"
    SECOND_FACTOR = "second_factor"
    SIGN_UP = "sign_up"
    PASSWORD_RESET = "password_reset"
    ONE_TIME_LINK = "one_time_link"
    DEVICE_START = "device_start"
    DEVICE_CODE_ENTRY = "device_code_entry"
    PASSKEY = "passkey"
    OAUTH_CALLBACK = "oauth_callback"
    AUTH_FAILURES = "auth_failures"
    GLOBAL = "global"
    PRINCIPAL = "principal"
    IN_FLIGHT = "in_flight"
    CONNECTION_PROBE = "connection_probe"
    PAT_CREATE = "pat_create"
    EXPORT = "export"
    POLICY = "policy"
