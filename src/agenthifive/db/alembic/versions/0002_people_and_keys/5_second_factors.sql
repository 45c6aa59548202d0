-- Second factors: passkeys, authenticator apps, recovery codes.

CREATE TABLE t_passkeys (
    id            uuid PRIMARY KEY,
    user_id       uuid NOT NULL REFERENCES t_users (id) ON DELETE CASCADE,
    credential_id bytea NOT NULL UNIQUE,
    public_key    bytea NOT NULL,
    sign_count    bigint NOT NULL,
    transports    text[] NOT NULL,
    aaguid        uuid NOT NULL,
    name          text NOT NULL,
    created_at    timestamptz NOT NULL DEFAULT now(),
    last_used_at  timestamptz
);
CREATE INDEX t_passkeys_user ON t_passkeys (user_id);

-- A challenge is in this table from its first use until it would have been over anyway.
CREATE TABLE t_spent_challenges (
    challenge_hash text PRIMARY KEY,
    spent_at       timestamptz NOT NULL DEFAULT now()
);

-- One authenticator app a person; it counts once it was confirmed.
CREATE TABLE t_totp (
    user_id      uuid PRIMARY KEY REFERENCES t_users (id) ON DELETE CASCADE,
    secret       text NOT NULL,
    secret_kid   text NOT NULL,
    last_step    bigint,
    confirmed_at timestamptz,
    created_at   timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX t_totp_secret_kid ON t_totp (secret_kid);

CREATE TABLE t_recovery_codes (
    user_id    uuid NOT NULL REFERENCES t_users (id) ON DELETE CASCADE,
    code_hash  text NOT NULL,
    used_at    timestamptz,
    created_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (user_id, code_hash)
);

-- Sign-ins that wait for a second factor: how often one was tried, and whether it was completed.
CREATE TABLE t_pending_sign_ins (
    id         uuid PRIMARY KEY,
    user_id    uuid NOT NULL REFERENCES t_users (id) ON DELETE CASCADE,
    tries      int NOT NULL DEFAULT 0,
    used_at    timestamptz,
    expires_at timestamptz NOT NULL
);
CREATE INDEX t_pending_sign_ins_user ON t_pending_sign_ins (user_id);

CREATE FUNCTION has_second_factor(person uuid) RETURNS boolean LANGUAGE sql STABLE AS $$
    SELECT EXISTS (SELECT FROM t_passkeys WHERE user_id = person)
        OR EXISTS (SELECT FROM t_totp WHERE user_id = person AND confirmed_at IS NOT NULL)
$$;

-- Whether the rule of an instance (`off`, `admins`, `all`) demands a factor that a person has not set up. Whoever
-- administers one workspace, or the instance, is an admin everywhere.
CREATE FUNCTION lacks_second_factor(person uuid, rule text) RETURNS boolean LANGUAGE sql STABLE AS $$
    SELECT rule <> 'off' AND NOT has_second_factor(person)
       AND (rule = 'all'
            OR EXISTS (SELECT FROM t_members WHERE user_id = person AND role IN ('owner', 'admin'))
            OR EXISTS (SELECT FROM t_users WHERE id = person AND platform_role = 'superadmin'))
$$;
