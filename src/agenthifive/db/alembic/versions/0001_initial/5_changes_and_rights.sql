-- How replicas hear of changes, and who may do what.

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
