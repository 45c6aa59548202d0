-- The log, append-only for everyone.

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
CREATE INDEX l_audit_events_open ON l_audit_events (chain_id, "timestamp")
    WHERE action IN ('execution_requested', 'token_vend_requested');
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
