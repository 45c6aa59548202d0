-- The first schema. Tables t_* hold state, l_* hold logs. Source: contract/agents.md section 1,
-- connections.md section 1, policy.md section 2, audit.md section 2, operations.md sections 1.3 and 3.2.

-- ------------------------------------------------------------------ instance and keys

CREATE TABLE t_instance (
    id                uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    epoch             int NOT NULL DEFAULT 1,
    system_identifier text NOT NULL,
    database_oid      bigint NOT NULL,
    first_web_url     text,
    environment       text,
    restored_at       timestamptz,
    created_at        timestamptz NOT NULL DEFAULT now()
);
CREATE UNIQUE INDEX t_instance_single ON t_instance ((true));

CREATE TABLE t_key_canaries (
    kid        text PRIMARY KEY,
    envelope   text NOT NULL,
    state      text NOT NULL CHECK (state IN ('active', 'previous', 'retired')),
    seal_count bigint NOT NULL DEFAULT 0,
    created_at timestamptz NOT NULL DEFAULT now(),
    retired_at timestamptz
);

-- ------------------------------------------------------------------ people

CREATE TABLE t_users (
    id                uuid PRIMARY KEY,
    email             text NOT NULL,
    email_key         text NOT NULL UNIQUE,
    name              text NOT NULL,
    password_hash     text,
    platform_role     text NOT NULL DEFAULT 'user' CHECK (platform_role IN ('user', 'superadmin')),
    email_verified_at timestamptz,
    disabled_at       timestamptz,
    last_seen_at      timestamptz,
    created_at        timestamptz NOT NULL DEFAULT now(),
    updated_at        timestamptz NOT NULL DEFAULT now()
);

CREATE TABLE t_workspaces (
    id          uuid PRIMARY KEY,
    name        text NOT NULL,
    owner_id    uuid NOT NULL REFERENCES t_users (id),
    org_domains text[] NOT NULL DEFAULT '{}',
    created_at  timestamptz NOT NULL DEFAULT now(),
    updated_at  timestamptz NOT NULL DEFAULT now()
);

CREATE TABLE t_members (
    workspace_id uuid NOT NULL REFERENCES t_workspaces (id) ON DELETE CASCADE,
    user_id      uuid NOT NULL REFERENCES t_users (id) ON DELETE CASCADE,
    role         text NOT NULL CHECK (role IN ('owner', 'admin', 'approver', 'viewer')),
    joined_at    timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (workspace_id, user_id)
);
CREATE INDEX t_members_user ON t_members (user_id);
CREATE UNIQUE INDEX t_members_one_owner ON t_members (workspace_id) WHERE role = 'owner';

CREATE TABLE t_sessions (
    id           uuid PRIMARY KEY,
    user_id      uuid NOT NULL REFERENCES t_users (id) ON DELETE CASCADE,
    workspace_id uuid REFERENCES t_workspaces (id) ON DELETE SET NULL,
    token_hash   text NOT NULL UNIQUE,
    methods      text[] NOT NULL DEFAULT '{}',
    ip           text,
    user_agent   text,
    auth_time    timestamptz NOT NULL DEFAULT now(),
    last_seen_at timestamptz NOT NULL DEFAULT now(),
    expires_at   timestamptz NOT NULL,
    created_at   timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX t_sessions_user ON t_sessions (user_id);

CREATE TABLE t_personal_tokens (
    id           uuid PRIMARY KEY,
    user_id      uuid NOT NULL REFERENCES t_users (id) ON DELETE CASCADE,
    workspace_id uuid NOT NULL REFERENCES t_workspaces (id) ON DELETE CASCADE,
    name         text NOT NULL,
    token_hash   text NOT NULL UNIQUE,
    hint_suffix  text NOT NULL,
    scopes       text[] NOT NULL,
    expires_at   timestamptz NOT NULL,
    last_used_at timestamptz,
    revoked_at   timestamptz,
    created_at   timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX t_personal_tokens_user ON t_personal_tokens (user_id, workspace_id);

CREATE TABLE t_one_time_links (
    token_hash text PRIMARY KEY,
    purpose    text NOT NULL CHECK (purpose IN ('setup')),
    expires_at timestamptz NOT NULL,
    used_at    timestamptz,
    created_at timestamptz NOT NULL DEFAULT now()
);

CREATE TABLE t_sign_in_failures (
    account_key  text PRIMARY KEY,
    failures     int NOT NULL,
    locks        int NOT NULL DEFAULT 0,
    first_at     timestamptz NOT NULL,
    locked_until timestamptz NOT NULL
);

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

-- ------------------------------------------------------------------ audit

CREATE TABLE l_audit_events (
    id             bigint GENERATED ALWAYS AS IDENTITY,
    audit_id       uuid PRIMARY KEY,
    "timestamp"    timestamptz(3) NOT NULL,
    actor          text NOT NULL,
    agent_id       uuid,
    connection_id  uuid,
    action         text NOT NULL,
    decision       text NOT NULL CHECK (decision IN ('allowed', 'denied', 'error')),
    metadata       jsonb NOT NULL DEFAULT '{}',
    workspace_id   uuid,
    principal_type text NOT NULL CHECK (principal_type IN ('agent', 'user', 'pat', 'system', 'cli', 'public')),
    principal_id   text,
    ip             text,
    user_agent     text,
    request_id     text,
    policy_id      uuid,
    rule_id        text,
    approval_id    uuid,
    intent_id      uuid,
    chain_id       uuid NOT NULL,
    chain_seq      bigint NOT NULL CHECK (chain_seq > 0),
    prev_hash      bytea NOT NULL CHECK (octet_length(prev_hash) = 32),
    hash           bytea NOT NULL CHECK (octet_length(hash) = 32),
    created_at     timestamptz NOT NULL DEFAULT now(),
    UNIQUE (chain_id, chain_seq)
);
CREATE UNIQUE INDEX l_audit_events_intent ON l_audit_events (intent_id) WHERE intent_id IS NOT NULL;
CREATE INDEX l_audit_events_workspace ON l_audit_events (workspace_id, "timestamp" DESC, id DESC);
CREATE INDEX l_audit_events_agent ON l_audit_events (workspace_id, agent_id, "timestamp" DESC, id DESC);
CREATE INDEX l_audit_events_connection ON l_audit_events (workspace_id, connection_id, "timestamp" DESC, id DESC);
CREATE INDEX l_audit_events_action ON l_audit_events (workspace_id, action, "timestamp" DESC, id DESC);
CREATE INDEX l_audit_events_approval ON l_audit_events (approval_id) WHERE approval_id IS NOT NULL;

CREATE TABLE l_audit_chains (
    chain_id        uuid PRIMARY KEY,
    kind            text NOT NULL CHECK (kind IN ('broker', 'admin')),
    instance        uuid NOT NULL,
    epoch           int NOT NULL,
    opened_at       timestamptz(3) NOT NULL,
    prev_checkpoint text NOT NULL,
    writer          text NOT NULL
);

-- Which chains are being written, and by whom: a heartbeat older than 30 s means the writer is gone.
CREATE TABLE t_audit_writers (
    chain_id     uuid PRIMARY KEY,
    heartbeat_at timestamptz NOT NULL DEFAULT now(),
    closed_at    timestamptz
);

CREATE FUNCTION audit_guard() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'audit tables are append-only: % on % refused for %', TG_OP, TG_TABLE_NAME, current_user
        USING ERRCODE = 'insufficient_privilege';
END $$;
CREATE TRIGGER l_audit_events_rows BEFORE UPDATE OR DELETE ON l_audit_events
    FOR EACH ROW EXECUTE FUNCTION audit_guard();
CREATE TRIGGER l_audit_events_trunc BEFORE TRUNCATE ON l_audit_events
    FOR EACH STATEMENT EXECUTE FUNCTION audit_guard();
CREATE TRIGGER l_audit_chains_rows BEFORE UPDATE OR DELETE ON l_audit_chains
    FOR EACH ROW EXECUTE FUNCTION audit_guard();
CREATE TRIGGER l_audit_chains_trunc BEFORE TRUNCATE ON l_audit_chains
    FOR EACH STATEMENT EXECUTE FUNCTION audit_guard();

-- ------------------------------------------------------------------ functions of the hot path

-- Insert chained rows. `batch` is a JSON array of row contents (audit.md section 5) with prevHash and hash.
CREATE FUNCTION audit_append(batch json) RETURNS void LANGUAGE sql AS $$
    INSERT INTO l_audit_events (audit_id, "timestamp", actor, agent_id, connection_id, action, decision, metadata,
        workspace_id, principal_type, principal_id, ip, user_agent, request_id, policy_id, rule_id, approval_id,
        intent_id, chain_id, chain_seq, prev_hash, hash)
    SELECT r."auditId", r."timestamp", r.actor, r."agentId", r."connectionId", r.action, r.decision, r.metadata,
        r."workspaceId", r."principalType", r."principalId", r.ip, r."userAgent", r."requestId", r."policyId",
        r."ruleId", r."approvalId", r."intentId", r."chainId", r."chainSeq",
        decode(r."prevHash", 'hex'), decode(r.hash, 'hex')
      FROM json_to_recordset(batch) AS r("auditId" uuid, "timestamp" timestamptz, actor text, "agentId" uuid,
        "connectionId" uuid, action text, decision text, metadata jsonb, "workspaceId" uuid, "principalType" text,
        "principalId" text, ip text, "userAgent" text, "requestId" text, "policyId" uuid, "ruleId" text,
        "approvalId" uuid, "intentId" uuid, "chainId" uuid, "chainSeq" bigint, "prevHash" text, hash text)
$$;

-- The commit point of brokered calls: reserve rate units, claim idempotency keys, append the rows; all or nothing.
-- units: [{agent, connection, units, max}] sorted by pair. claims: [{principal, key, fingerprint, auditId,
-- workspaceId, ttlSeconds}]. Answers null when everything was written, else what stood in the way (nothing was).
CREATE FUNCTION broker_commit(batch json, units json, claims json) RETURNS json LANGUAGE plpgsql AS $$
DECLARE
    unit     record;
    claim    record;
    used     bigint;
    oldest   timestamptz;
    refused  json[] := '{}';
    taken    json[] := '{}';
BEGIN
    IF units IS NOT NULL THEN
        FOR unit IN SELECT * FROM json_to_recordset(units) AS u(agent uuid, connection uuid, units int, max int) LOOP
            PERFORM pg_advisory_xact_lock(hashtextextended(unit.agent::text || unit.connection::text, 5));
            SELECT coalesce(sum(calls), 0), min(minute) INTO used, oldest FROM t_call_minutes
             WHERE agent_id = unit.agent AND connection_id = unit.connection
               AND minute > clock_timestamp() - interval '61 minutes';
            IF used + unit.units > unit.max THEN
                refused := refused || json_build_object('agent', unit.agent, 'connection', unit.connection,
                    'used', used, 'retryAfter', greatest(1, ceil(extract(epoch FROM
                        coalesce(oldest, clock_timestamp()) + interval '61 minutes' - clock_timestamp())))::int);
            END IF;
        END LOOP;
    END IF;
    IF claims IS NOT NULL THEN
        FOR claim IN SELECT * FROM json_to_recordset(claims)
            AS c(principal text, key text, "auditId" uuid) LOOP
            IF EXISTS (SELECT FROM t_idempotency_keys k WHERE k.principal = claim.principal AND k.key = claim.key
                          AND k.expires_at > clock_timestamp()) THEN
                taken := taken || json_build_object('auditId', claim."auditId");
            END IF;
        END LOOP;
    END IF;
    IF cardinality(refused) > 0 OR cardinality(taken) > 0 THEN
        RETURN json_build_object('refused', array_to_json(refused), 'taken', array_to_json(taken));
    END IF;
    IF units IS NOT NULL THEN
        INSERT INTO t_call_minutes AS m (agent_id, connection_id, minute, calls)
        SELECT u.agent, u.connection, date_trunc('minute', clock_timestamp()), u.units
          FROM json_to_recordset(units) AS u(agent uuid, connection uuid, units int)
        ON CONFLICT (agent_id, connection_id, minute) DO UPDATE SET calls = m.calls + excluded.calls;
    END IF;
    IF claims IS NOT NULL THEN
        DELETE FROM t_idempotency_keys k USING json_to_recordset(claims) AS c(principal text, key text)
         WHERE k.principal = c.principal AND k.key = c.key AND k.expires_at <= clock_timestamp();
        INSERT INTO t_idempotency_keys (principal, key, fingerprint, audit_id, workspace_id, expires_at)
        SELECT c.principal, c.key, c.fingerprint, c."auditId", c."workspaceId",
               clock_timestamp() + make_interval(secs => c."ttlSeconds")
          FROM json_to_recordset(claims) AS c(principal text, key text, fingerprint text, "auditId" uuid,
               "workspaceId" uuid, "ttlSeconds" int);
    END IF;
    PERFORM audit_append(batch);
    RETURN NULL;
END $$;

-- Take one hit of an HTTP rate limit: at most `limit_hits` within any span of the window, database time.
-- Answers {allowed, remaining, resetSeconds}. Limits over 120 are counted in slots of a sixtieth of the window.
CREATE FUNCTION rate_take(limit_key text, limit_hits int, window_seconds int, take boolean DEFAULT true)
    RETURNS json LANGUAGE plpgsql AS $$
DECLARE
    at      timestamptz;
    edge    timestamptz;
    slot_at timestamptz;
    used    bigint;
    oldest  timestamptz;
BEGIN
    PERFORM pg_advisory_xact_lock(hashtextextended(limit_key, 6));
    at := clock_timestamp();
    slot_at := at;
    edge := at - make_interval(secs => window_seconds);
    IF limit_hits > 120 THEN
        slot_at := date_bin(make_interval(secs => window_seconds / 60.0), at, '2000-01-01');
        edge := edge - make_interval(secs => window_seconds / 60.0);
    END IF;
    SELECT coalesce(sum(hits), 0), min(slot) INTO used, oldest FROM t_rate_limits
     WHERE key = limit_key AND slot > edge;
    IF used >= limit_hits THEN
        RETURN json_build_object('allowed', false, 'remaining', 0, 'resetSeconds',
            greatest(1, ceil(extract(epoch FROM oldest - edge)))::int);
    END IF;
    IF take THEN
        INSERT INTO t_rate_limits AS r (key, slot, hits) VALUES (limit_key, slot_at, 1)
            ON CONFLICT (key, slot) DO UPDATE SET hits = r.hits + 1;
        used := used + 1;
    END IF;
    RETURN json_build_object('allowed', true, 'remaining', limit_hits - used, 'resetSeconds',
        greatest(1, ceil(extract(epoch FROM coalesce(oldest, at) - edge)))::int);
END $$;

-- Store an access token, its assertion's jti and the audit row together; answers 'replay' when the jti was used.
CREATE FUNCTION token_issue(token json, batch json, max_tokens int) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    t record;
BEGIN
    SELECT * INTO t FROM json_to_record(token) AS x(id uuid, "agentId" uuid, "workspaceId" uuid, "tokenHash" text,
        form text, scopes text[], "ttlSeconds" int, jti text, "jtiExpiresAt" bigint);
    DELETE FROM l_jti_replay_cache WHERE agent_id = t."agentId" AND jti = t.jti AND expires_at < now();
    BEGIN
        INSERT INTO l_jti_replay_cache (agent_id, jti, expires_at)
        VALUES (t."agentId", t.jti, to_timestamp(t."jtiExpiresAt"));
    EXCEPTION WHEN unique_violation THEN
        RETURN 'replay';
    END;
    PERFORM FROM t_agents WHERE id = t."agentId" AND status = 'active' FOR SHARE;
    IF NOT FOUND THEN
        DELETE FROM l_jti_replay_cache WHERE agent_id = t."agentId" AND jti = t.jti;
        RETURN 'inactive';
    END IF;
    INSERT INTO t_agent_access_tokens (id, agent_id, workspace_id, token_hash, form, scopes, expires_at)
    VALUES (t.id, t."agentId", t."workspaceId", t."tokenHash", t.form, t.scopes,
            now() + make_interval(secs => t."ttlSeconds"));
    DELETE FROM t_agent_access_tokens WHERE id IN (
        SELECT id FROM t_agent_access_tokens WHERE agent_id = t."agentId"
         ORDER BY created_at DESC, id DESC OFFSET max_tokens);
    PERFORM audit_append(batch);
    RETURN 'issued';
END $$;

-- ------------------------------------------------------------------ what other replicas must hear of

-- One row per workspace: `n` grows with every change that grants depend on. The row is locked until the change
-- commits, so a reader that sees `n` sees the change.
CREATE TABLE t_changes (
    workspace_id uuid PRIMARY KEY,
    n            bigint NOT NULL
);

CREATE FUNCTION announce_change(changed uuid) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    counter bigint;
BEGIN
    INSERT INTO t_changes AS c (workspace_id, n) VALUES (changed, 1)
        ON CONFLICT (workspace_id) DO UPDATE SET n = c.n + 1 RETURNING n INTO counter;
    PERFORM pg_notify('agenthifive_changes', changed::text || ' ' || counter::text);
END $$;

CREATE FUNCTION announce_row() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM announce_change(CASE WHEN TG_OP = 'DELETE' THEN OLD.workspace_id ELSE NEW.workspace_id END);
    RETURN NULL;
END $$;

CREATE FUNCTION announce_workspace() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM announce_change(CASE WHEN TG_OP = 'DELETE' THEN OLD.id ELSE NEW.id END);
    RETURN NULL;
END $$;

CREATE FUNCTION announce_user() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM announce_change(workspace_id) FROM (
        SELECT workspace_id FROM t_members WHERE user_id = OLD.id
        UNION SELECT workspace_id FROM t_agents WHERE created_by = OLD.id ORDER BY 1) touched;
    RETURN NULL;
END $$;

CREATE TRIGGER t_agents_change AFTER DELETE OR UPDATE OF status, name, created_by, public_key_jwk ON t_agents
    FOR EACH ROW EXECUTE FUNCTION announce_row();
-- A token is marked as used before any replica remembers it, so one that never was cannot be remembered.
CREATE TRIGGER t_tokens_change AFTER DELETE ON t_agent_access_tokens
    FOR EACH ROW WHEN (OLD.last_used_at IS NOT NULL) EXECUTE FUNCTION announce_row();
CREATE TRIGGER t_connections_change AFTER INSERT OR DELETE OR UPDATE OF status, encrypted_tokens, metadata, label,
    generation, deleted_at, access_expires_at ON t_connections
    FOR EACH ROW EXECUTE FUNCTION announce_row();
CREATE TRIGGER t_policies_change AFTER INSERT OR DELETE OR UPDATE ON t_policies
    FOR EACH ROW EXECUTE FUNCTION announce_row();
CREATE TRIGGER t_members_change AFTER INSERT OR DELETE OR UPDATE ON t_members
    FOR EACH ROW EXECUTE FUNCTION announce_row();
CREATE TRIGGER t_pats_change AFTER DELETE OR UPDATE OF revoked_at, scopes, expires_at ON t_personal_tokens
    FOR EACH ROW EXECUTE FUNCTION announce_row();
CREATE TRIGGER t_workspaces_change AFTER DELETE OR UPDATE OF owner_id, org_domains ON t_workspaces
    FOR EACH ROW EXECUTE FUNCTION announce_workspace();
CREATE TRIGGER t_users_change AFTER UPDATE OF disabled_at ON t_users
    FOR EACH ROW EXECUTE FUNCTION announce_user();

-- ------------------------------------------------------------------ rights

DO $$
DECLARE
    log_table text;
BEGIN
    FOREACH log_table IN ARRAY ARRAY['l_audit_events', 'l_audit_chains'] LOOP
        EXECUTE format('REVOKE UPDATE, DELETE, TRUNCATE ON %I FROM PUBLIC, %I', log_table, current_user);
        IF EXISTS (SELECT FROM pg_roles WHERE rolname = 'agenthifive_app') THEN
            EXECUTE format('REVOKE ALL ON %I FROM agenthifive_app', log_table);
            EXECUTE format('GRANT SELECT, INSERT ON %I TO agenthifive_app', log_table);
        END IF;
    END LOOP;
    IF EXISTS (SELECT FROM pg_roles WHERE rolname = 'agenthifive_app') THEN
        REVOKE UPDATE, TRUNCATE ON l_jti_replay_cache FROM agenthifive_app;
    END IF;
END $$;
