-- Workspaces with several people, and the switch that stops everything.

-- ------------------------------------------------------------------ invitations

-- The link is worth what whoever invited may still do: that is asked when it is used.
CREATE TABLE t_invitations (
    id           uuid PRIMARY KEY,
    workspace_id uuid NOT NULL REFERENCES t_workspaces (id) ON DELETE CASCADE,
    email        text NOT NULL,
    email_key    text NOT NULL,
    role         text NOT NULL CHECK (role IN ('admin', 'approver', 'viewer')),
    token_hash   text NOT NULL UNIQUE,
    invited_by   uuid NOT NULL REFERENCES t_users (id) ON DELETE CASCADE,
    expires_at   timestamptz NOT NULL,
    used_at      timestamptz,
    created_at   timestamptz NOT NULL DEFAULT now()
);
CREATE UNIQUE INDEX t_invitations_one_open ON t_invitations (workspace_id, email_key) WHERE used_at IS NULL;
CREATE INDEX t_invitations_invited_by ON t_invitations (invited_by);

CREATE INDEX t_workspaces_owner ON t_workspaces (owner_id);
CREATE INDEX t_sessions_workspace ON t_sessions (workspace_id);

-- ------------------------------------------------------------------ what is frozen

-- `target_id` of the whole instance is the nil UUID, which is no id of anything.
CREATE TABLE t_freezes (
    scope     text NOT NULL CHECK (scope IN ('instance', 'workspace', 'agent')),
    target_id uuid NOT NULL,
    reason    text,
    frozen_by text NOT NULL,
    frozen_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (scope, target_id)
);

-- Changes that concern no single workspace are counted under the nil UUID; replicas then read the freezes again.
CREATE FUNCTION announce_instance() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM announce_change('00000000-0000-0000-0000-000000000000');
    RETURN NULL;
END $$;
CREATE TRIGGER t_freezes_change AFTER INSERT OR UPDATE OR DELETE ON t_freezes
    FOR EACH STATEMENT EXECUTE FUNCTION announce_instance();

-- ------------------------------------------------------------------ sessions that ended

-- A stream of a person ends with the session it was begun with. None runs longer than an hour, so what the hourly
-- sweep removes concerns nobody.
CREATE FUNCTION announce_session() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM announce_change(workspace_id)
       FROM (SELECT workspace_id FROM t_members WHERE user_id = OLD.user_id ORDER BY 1) touched;
    RETURN NULL;
END $$;
CREATE TRIGGER t_sessions_change AFTER DELETE ON t_sessions
    FOR EACH ROW WHEN (OLD.last_seen_at > now() - interval '2 hours') EXECUTE FUNCTION announce_session();
