-- Accounts elsewhere that people sign in with.

-- Known by who vouches and for whom; the address is only what was told last.
CREATE TABLE t_accounts (
    id                uuid PRIMARY KEY,
    user_id           uuid NOT NULL REFERENCES t_users (id) ON DELETE CASCADE,
    issuer            text NOT NULL,
    subject           text NOT NULL,
    provider          text NOT NULL CHECK (provider IN ('google', 'microsoft', 'apple', 'github', 'oidc')),
    email             text,
    sealed_tokens     text,
    sealed_tokens_kid text,
    created_at        timestamptz NOT NULL DEFAULT now(),
    last_used_at      timestamptz NOT NULL DEFAULT now(),
    UNIQUE (issuer, subject)
);
CREATE INDEX t_accounts_user ON t_accounts (user_id);
CREATE INDEX t_accounts_kid ON t_accounts (sealed_tokens_kid) WHERE sealed_tokens IS NOT NULL;

-- Flows that are over, kept until their cookies are too.
CREATE TABLE t_spent_flows (
    flow_hash  text PRIMARY KEY,
    expires_at timestamptz NOT NULL
);
CREATE INDEX t_spent_flows_expiry ON t_spent_flows (expires_at);
