-- Agents, connections, policies, and what brokered calls count.

-- ------------------------------------------------------------------ agents

CREATE TABLE t_agents (
    id                    uuid PRIMARY KEY,
    workspace_id          uuid NOT NULL REFERENCES t_workspaces (id) ON DELETE CASCADE,
    name                  text NOT NULL,
    description           text NOT NULL DEFAULT '',
    icon_url              text,
    status                text NOT NULL CHECK (status IN ('created', 'active', 'disabled')),
    public_key_jwk        jsonb,
    public_key_thumbprint text,
    key_alg               text,
    key_kid               text,
    enrolled_at           timestamptz,
    key_changed_at        timestamptz,
    disabled_at           timestamptz,
    disabled_by           text,
    disabled_reason       text,
    created_by            uuid REFERENCES t_users (id) ON DELETE SET NULL,
    last_seen_at          timestamptz,
    created_at            timestamptz NOT NULL DEFAULT now(),
    updated_at            timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX t_agents_workspace ON t_agents (workspace_id, created_at);
CREATE INDEX t_agents_creator ON t_agents (created_by);

CREATE TABLE t_agent_bootstrap_secrets (
    id                  uuid PRIMARY KEY,
    agent_id            uuid NOT NULL REFERENCES t_agents (id) ON DELETE CASCADE,
    type                text NOT NULL DEFAULT 'bootstrap' CHECK (type = 'bootstrap'),
    secret_hash         text NOT NULL UNIQUE,
    expires_at          timestamptz NOT NULL,
    consumed_at         timestamptz,
    consumed_thumbprint text,
    revoked_at          timestamptz,
    issued_by           text,
    created_at          timestamptz NOT NULL DEFAULT now()
);
CREATE UNIQUE INDEX t_agent_bootstrap_secrets_one_live ON t_agent_bootstrap_secrets (agent_id)
    WHERE consumed_at IS NULL AND revoked_at IS NULL;

CREATE TABLE t_agent_access_tokens (
    id           uuid PRIMARY KEY,
    agent_id     uuid NOT NULL REFERENCES t_agents (id) ON DELETE CASCADE,
    workspace_id uuid NOT NULL,
    token_hash   text NOT NULL UNIQUE,
    form         text NOT NULL DEFAULT 'opaque' CHECK (form IN ('opaque', 'jwt')),
    scopes       text[] NOT NULL,
    expires_at   timestamptz NOT NULL,
    last_used_at timestamptz,
    created_at   timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX t_agent_access_tokens_agent ON t_agent_access_tokens (agent_id, created_at);
CREATE INDEX t_agent_access_tokens_expiry ON t_agent_access_tokens (expires_at);

CREATE TABLE l_jti_replay_cache (
    agent_id   uuid NOT NULL,
    jti        text NOT NULL CHECK (length(jti) BETWEEN 8 AND 128),
    expires_at timestamptz NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (agent_id, jti)
);
CREATE INDEX l_jti_replay_cache_expiry ON l_jti_replay_cache (expires_at);

-- ------------------------------------------------------------------ connections and policies

CREATE TABLE t_connections (
    id                    uuid PRIMARY KEY,
    workspace_id          uuid NOT NULL REFERENCES t_workspaces (id) ON DELETE CASCADE,
    provider              text NOT NULL,
    service               text NOT NULL,
    variant               text NOT NULL,
    label                 text NOT NULL,
    status                text NOT NULL CHECK (status IN ('healthy', 'needs_reauth', 'revoked')),
    status_reason         text,
    encrypted_tokens      text,
    encrypted_tokens_kid  text,
    preview               jsonb,
    granted_scopes        text[] NOT NULL DEFAULT '{}',
    missing_scopes        text[] NOT NULL DEFAULT '{}',
    account_id            text,
    account_name          text,
    account_tenant        text,
    metadata              jsonb NOT NULL DEFAULT '{}',
    access_expires_at     timestamptz,
    refresh_expires_at    timestamptz,
    credential_expires_at timestamptz,
    generation            int NOT NULL DEFAULT 1,
    verified              boolean NOT NULL DEFAULT false,
    last_verified_at      timestamptz,
    last_used_at          timestamptz,
    last_probe_at         timestamptz,
    last_error            text,
    version               int NOT NULL DEFAULT 1,
    created_by            uuid REFERENCES t_users (id) ON DELETE SET NULL,
    singleton_key         text,
    deleted_at            timestamptz,
    created_at            timestamptz NOT NULL DEFAULT now(),
    updated_at            timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX t_connections_workspace ON t_connections (workspace_id, created_at);
CREATE INDEX t_connections_kid ON t_connections (encrypted_tokens_kid) WHERE encrypted_tokens IS NOT NULL;
CREATE UNIQUE INDEX t_connections_singleton ON t_connections (workspace_id, singleton_key)
    WHERE status <> 'revoked' AND deleted_at IS NULL;

CREATE TABLE t_policies (
    id                 uuid PRIMARY KEY,
    workspace_id       uuid NOT NULL REFERENCES t_workspaces (id) ON DELETE CASCADE,
    agent_id           uuid NOT NULL REFERENCES t_agents (id) ON DELETE CASCADE,
    connection_id      uuid NOT NULL REFERENCES t_connections (id) ON DELETE CASCADE,
    status             text NOT NULL DEFAULT 'active' CHECK (status IN ('active', 'revoked')),
    version            int NOT NULL DEFAULT 1,
    action_template_id text,
    security_preset    text,
    customised         boolean NOT NULL DEFAULT false,
    document           jsonb NOT NULL,
    created_by         uuid REFERENCES t_users (id) ON DELETE SET NULL,
    created_at         timestamptz NOT NULL DEFAULT now(),
    updated_at         timestamptz NOT NULL DEFAULT now()
);
CREATE UNIQUE INDEX t_policies_one_active ON t_policies (agent_id, connection_id) WHERE status = 'active';
CREATE INDEX t_policies_connection ON t_policies (connection_id);
CREATE INDEX t_policies_workspace ON t_policies (workspace_id, created_at);

CREATE TABLE t_provider_revocations (
    id              uuid PRIMARY KEY,
    workspace_id    uuid NOT NULL,
    connection_id   uuid NOT NULL,
    sealed_token     text,
    sealed_token_kid text,
    attempts        int NOT NULL DEFAULT 0,
    next_at         timestamptz NOT NULL DEFAULT now(),
    state           text NOT NULL DEFAULT 'pending' CHECK (state IN ('pending', 'done', 'failed')),
    created_at      timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX t_provider_revocations_due ON t_provider_revocations (next_at) WHERE state = 'pending';

-- ------------------------------------------------------------------ the brokered call

-- One row per minute with calls; the hourly limit sums the last sixty (policy.md section 11).
CREATE TABLE t_call_minutes (
    agent_id      uuid NOT NULL,
    connection_id uuid NOT NULL,
    minute        timestamptz NOT NULL,
    calls         int NOT NULL,
    PRIMARY KEY (agent_id, connection_id, minute)
) WITH (fillfactor = 50);

CREATE TABLE t_idempotency_keys (
    principal    text NOT NULL,
    key          text NOT NULL,
    fingerprint  text NOT NULL,
    audit_id     uuid NOT NULL,
    workspace_id uuid NOT NULL,
    state        text NOT NULL DEFAULT 'running'
        CHECK (state IN ('running', 'stored', 'not_stored', 'unknown')),
    reply        text,
    reply_kid    text,
    expires_at   timestamptz NOT NULL,
    created_at   timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (principal, key)
);
CREATE INDEX t_idempotency_keys_expiry ON t_idempotency_keys (expires_at);
CREATE INDEX t_idempotency_keys_audit ON t_idempotency_keys (audit_id);

-- Hits of the HTTP rate limits: exact instants for small limits, slots of a sixtieth of the window for large.
CREATE TABLE t_rate_limits (
    key  text NOT NULL,
    slot timestamptz NOT NULL,
    hits int NOT NULL,
    PRIMARY KEY (key, slot)
) WITH (fillfactor = 50);
CREATE INDEX t_rate_limits_slot ON t_rate_limits (slot);
