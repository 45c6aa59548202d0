-- Keys that rotate.

-- The kid of every sealed column is indexed: "is anything left under this key" must not read the table.
CREATE INDEX t_provider_revocations_kid ON t_provider_revocations (sealed_token_kid) WHERE sealed_token IS NOT NULL;
CREATE INDEX t_idempotency_keys_kid ON t_idempotency_keys (reply_kid) WHERE reply IS NOT NULL;

-- Processes that serve, with the keys they hold; each refreshes its row and removes those that fell silent.
CREATE TABLE t_key_replicas (
    id         uuid PRIMARY KEY,
    active_kid text NOT NULL,
    kids       text[] NOT NULL,
    request    bigint NOT NULL,
    problem    text,
    seen_at    timestamptz NOT NULL DEFAULT now()
);

-- How far the re-encryption is, to be shown: what is left to do is in the kid columns alone.
CREATE TABLE t_key_reencryption (
    single      boolean PRIMARY KEY DEFAULT true CHECK (single),
    started_at  timestamptz NOT NULL,
    finished_at timestamptz,
    total       bigint NOT NULL,
    done        bigint NOT NULL DEFAULT 0,
    failed      bigint NOT NULL DEFAULT 0,
    unreadable  jsonb NOT NULL DEFAULT '[]'
);

-- Sealing the same credential under another key changes no grant: whoever remembers the old envelope can open it as long
-- as the old key is loaded, and forgets it when keys are loaded. The transaction of the job says that it re-encrypts;
-- an update that changes anything but the envelope is announced all the same.
CREATE FUNCTION announce_connection() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'UPDATE' AND current_setting('agenthifive.reencrypts', true) = 'on' AND NEW.encrypted_tokens IS NOT NULL
        AND to_jsonb(OLD) - 'encrypted_tokens' - 'encrypted_tokens_kid'
          = to_jsonb(NEW) - 'encrypted_tokens' - 'encrypted_tokens_kid' THEN
        RETURN NULL;
    END IF;
    PERFORM announce_change(CASE WHEN TG_OP = 'DELETE' THEN OLD.workspace_id ELSE NEW.workspace_id END);
    RETURN NULL;
END $$;
DROP TRIGGER t_connections_change ON t_connections;
CREATE TRIGGER t_connections_change AFTER INSERT OR DELETE OR UPDATE OF status, encrypted_tokens, metadata, label,
    generation, deleted_at, access_expires_at ON t_connections
    FOR EACH ROW EXECUTE FUNCTION announce_connection();
