-- The instance, its keys, and people.

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
