-- The keys that sign tokens, and sign-in of programs by a code.

-- Public halves only. A row is never deleted, so that a kid can never come to mean another key. `retired_at`: an operator
-- ended it, no process signs with it any more. `removed_at`: nobody accepts it any more either.
CREATE TABLE t_jwt_keys (
    kid            text PRIMARY KEY CHECK (kid ~ '^[A-Za-z0-9._-]{1,128}$'),
    jwk            jsonb NOT NULL,
    alg            text NOT NULL CHECK (alg IN ('RS256', 'ES256', 'EdDSA')),
    first_web_url  text NOT NULL,
    environment    text NOT NULL,
    first_seen_at  timestamptz NOT NULL DEFAULT now(),
    activated_at   timestamptz NOT NULL DEFAULT clock_timestamp(),
    last_signed_at timestamptz,
    retired_at     timestamptz,
    removed_at     timestamptz,
    CHECK (removed_at IS NULL OR retired_at IS NOT NULL)
);
CREATE INDEX t_jwt_keys_activated ON t_jwt_keys (activated_at);

CREATE TABLE t_device_logins (
    device_code_hash text PRIMARY KEY,
    user_code_hash   text NOT NULL UNIQUE,
    client_name      text NOT NULL,
    ip               text,
    user_agent       text,
    interval_s       int NOT NULL DEFAULT 5,
    last_polled_at   timestamptz,
    expires_at       timestamptz NOT NULL,
    decided_at       timestamptz,
    is_approved      boolean,
    user_id          uuid REFERENCES t_users (id) ON DELETE CASCADE,
    workspace_id     uuid REFERENCES t_workspaces (id) ON DELETE CASCADE,
    scopes           text[],
    days             int,
    delivered_at     timestamptz,
    created_at       timestamptz NOT NULL DEFAULT now(),
    CHECK ((decided_at IS NULL) = (is_approved IS NULL)),
    CHECK (is_approved IS NOT TRUE OR (user_id, workspace_id, scopes, days) IS NOT NULL)
);
CREATE INDEX t_device_logins_expiry ON t_device_logins (expires_at);
CREATE INDEX t_device_logins_user ON t_device_logins (user_id);
CREATE INDEX t_device_logins_workspace ON t_device_logins (workspace_id);
