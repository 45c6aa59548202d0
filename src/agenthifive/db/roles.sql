-- Roles and rights of an AgentHiFive database; idempotent. Run by psql as a role that may create roles, before the
-- first migration and again after each one. A role whose password variable is left out cannot log in.
--
--   psql "$ADMIN_URL" -v owner_password=... -v app_password=... [-v backup_password=...] -f roles.sql
--
-- Source: contract/operations.md section 3.2.

\set ON_ERROR_STOP on
\set QUIET on

DO $$
DECLARE
    wanted text;
BEGIN
    FOREACH wanted IN ARRAY ARRAY['agenthifive_owner', 'agenthifive_app', 'agenthifive_backup'] LOOP
        IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = wanted) THEN
            EXECUTE format('CREATE ROLE %I NOLOGIN', wanted);
        END IF;
    END LOOP;
END $$;

\if :{?owner_password}
ALTER ROLE agenthifive_owner LOGIN PASSWORD :'owner_password';
\endif
\if :{?app_password}
ALTER ROLE agenthifive_app LOGIN PASSWORD :'app_password';
\endif
\if :{?backup_password}
ALTER ROLE agenthifive_backup LOGIN PASSWORD :'backup_password';
\endif

SELECT format('REVOKE ALL ON DATABASE %I FROM PUBLIC', current_database()) \gexec
SELECT format('GRANT CONNECT ON DATABASE %I TO agenthifive_owner, agenthifive_app, agenthifive_backup',
              current_database()) \gexec
REVOKE ALL ON SCHEMA public FROM PUBLIC;
GRANT USAGE, CREATE ON SCHEMA public TO agenthifive_owner;
GRANT USAGE ON SCHEMA public TO agenthifive_app, agenthifive_backup;

-- what future migrations create
ALTER DEFAULT PRIVILEGES FOR ROLE agenthifive_owner IN SCHEMA public
    GRANT SELECT, INSERT, UPDATE, DELETE ON TABLES TO agenthifive_app;
ALTER DEFAULT PRIVILEGES FOR ROLE agenthifive_owner IN SCHEMA public
    GRANT USAGE, SELECT ON SEQUENCES TO agenthifive_app;
ALTER DEFAULT PRIVILEGES FOR ROLE agenthifive_owner IN SCHEMA public GRANT SELECT ON TABLES TO agenthifive_backup;
ALTER DEFAULT PRIVILEGES FOR ROLE agenthifive_owner IN SCHEMA public
    GRANT SELECT ON SEQUENCES TO agenthifive_backup;

-- what exists already
GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO agenthifive_app;
GRANT USAGE, SELECT ON ALL SEQUENCES IN SCHEMA public TO agenthifive_app;
GRANT SELECT ON ALL TABLES IN SCHEMA public TO agenthifive_backup;
GRANT SELECT ON ALL SEQUENCES IN SCHEMA public TO agenthifive_backup;

-- the log: insert and read, nothing else, for nobody
DO $$
DECLARE
    log_table text;
BEGIN
    FOREACH log_table IN ARRAY ARRAY['l_audit_events', 'l_audit_chains'] LOOP
        IF to_regclass(log_table) IS NOT NULL THEN
            EXECUTE format('REVOKE ALL ON %I FROM agenthifive_app, PUBLIC', log_table);
            EXECUTE format('REVOKE UPDATE, DELETE, TRUNCATE ON %I FROM agenthifive_owner', log_table);
            EXECUTE format('GRANT SELECT, INSERT ON %I TO agenthifive_app', log_table);
            EXECUTE format('GRANT SELECT ON %I TO agenthifive_backup', log_table);
        END IF;
    END LOOP;
    IF to_regclass('l_jti_replay_cache') IS NOT NULL THEN
        REVOKE UPDATE, TRUNCATE ON l_jti_replay_cache FROM agenthifive_app;
    END IF;
    IF to_regclass('alembic_version') IS NOT NULL THEN
        REVOKE INSERT, UPDATE, DELETE ON alembic_version FROM agenthifive_app;
    END IF;
END $$;
