-- Functions that make one round trip of a durable write.

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

-- Take hits of an HTTP rate limit, as many of `wanted` as fit: at most `limit_hits` within any span of the window,
-- database time. Answers {used, granted, resetSeconds}; used: before these. Limits over 120 are counted in slots of a
-- sixtieth of the window.
CREATE FUNCTION rate_take(limit_key text, limit_hits int, window_seconds int, wanted int)
    RETURNS json LANGUAGE plpgsql AS $$
DECLARE
    at      timestamptz;
    edge    timestamptz;
    slot_at timestamptz;
    used    bigint;
    granted bigint;
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
    granted := greatest(0, least(wanted, limit_hits - used));
    IF granted > 0 THEN
        INSERT INTO t_rate_limits AS r (key, slot, hits) VALUES (limit_key, slot_at, granted)
            ON CONFLICT (key, slot) DO UPDATE SET hits = r.hits + excluded.hits;
    END IF;
    RETURN json_build_object('used', used, 'granted', granted, 'resetSeconds',
        greatest(1, ceil(extract(epoch FROM coalesce(oldest, at) - edge)))::int);
END $$;

-- The same for several keys, sorted so that two callers cannot deadlock. takes: [{key, hits, seconds, wanted}].
CREATE FUNCTION rate_take_all(takes json) RETURNS json LANGUAGE plpgsql AS $$
DECLARE
    t       record;
    answers json[] := '{}';
BEGIN
    -- A crash of PostgreSQL may forget the last half second of hits; waiting for the disk would not be worth it.
    PERFORM set_config('synchronous_commit', 'off', true);
    FOR t IN SELECT * FROM json_to_recordset(takes) AS x(key text, hits int, seconds int, wanted int) LOOP
        answers := answers || rate_take(t.key, t.hits, t.seconds, t.wanted);
    END LOOP;
    RETURN array_to_json(answers);
END $$;

-- What an agent's assertion buys. "jtiExpiresAt": seconds since 1970.
CREATE TYPE new_token AS ("auditId" uuid, id uuid, "agentId" uuid, "workspaceId" uuid, thumbprint text,
    "tokenHash" text, form text, scopes text[], "ttlSeconds" int, jti text, "jtiExpiresAt" bigint, "maxTokens" int);

-- Store access tokens, the jti of their assertions and the audit rows together; all or nothing. tokens: a JSON array of
-- new_token. Answers null when everything was written, else [{auditId, reason}] of what stood in the way: `changed` (the
-- agent has another key, or somebody is changing it: such a row is not waited for), `inactive`, `replay`. An assertion
-- that somebody else spends at this moment is a unique_violation; asked again it is a replay.
CREATE FUNCTION tokens_commit(batch json, tokens json) RETURNS json LANGUAGE plpgsql AS $$
DECLARE
    wanted  new_token[] := ARRAY(SELECT t FROM json_populate_recordset(NULL::new_token, tokens) t);
    refused json;
    t       record;
BEGIN
    WITH held AS MATERIALIZED (
        SELECT a.id, a.status, a.public_key_thumbprint AS thumbprint FROM t_agents a
         WHERE a.id IN (SELECT w."agentId" FROM unnest(wanted) w) ORDER BY a.id FOR SHARE SKIP LOCKED)
    SELECT json_agg(json_build_object('auditId', judged."auditId", 'reason', judged.reason)) INTO refused
      FROM (SELECT w."auditId", CASE
                WHEN h.id IS NULL OR h.thumbprint IS DISTINCT FROM w.thumbprint THEN 'changed'
                WHEN h.status <> 'active' THEN 'inactive'
                WHEN row_number() OVER (PARTITION BY w."agentId", w.jti) > 1 THEN 'replay'
                WHEN EXISTS (SELECT FROM l_jti_replay_cache j
                              WHERE j.agent_id = w."agentId" AND j.jti = w.jti AND j.expires_at >= now()) THEN 'replay'
                END AS reason
              FROM unnest(wanted) w LEFT JOIN held h ON h.id = w."agentId") judged
     WHERE judged.reason IS NOT NULL;
    IF refused IS NOT NULL THEN
        RETURN refused;
    END IF;
    DELETE FROM l_jti_replay_cache j USING unnest(wanted) w
     WHERE j.agent_id = w."agentId" AND j.jti = w.jti AND j.expires_at < now();
    INSERT INTO l_jti_replay_cache (agent_id, jti, expires_at)
    SELECT w."agentId", w.jti, to_timestamp(w."jtiExpiresAt") FROM unnest(wanted) w
     ORDER BY w."agentId", w.jti;  -- two lanes with the same assertions must not deadlock
    INSERT INTO t_agent_access_tokens (id, agent_id, workspace_id, token_hash, form, scopes, expires_at)
    SELECT w.id, w."agentId", w."workspaceId", w."tokenHash", w.form, w.scopes,
           now() + make_interval(secs => w."ttlSeconds") FROM unnest(wanted) w;
    -- Ending the oldest tokens is announced on the workspace's change row. Who holds that row is not waited for:
    -- trimming waits for the next exchange instead.
    FOR t IN SELECT DISTINCT w."agentId", w."workspaceId", w."maxTokens" FROM unnest(wanted) w LOOP
        PERFORM FROM t_changes WHERE workspace_id = t."workspaceId" FOR UPDATE SKIP LOCKED;
        IF FOUND OR NOT EXISTS (SELECT FROM t_changes WHERE workspace_id = t."workspaceId") THEN
            DELETE FROM t_agent_access_tokens WHERE id IN (
                SELECT id FROM t_agent_access_tokens WHERE agent_id = t."agentId"
                 ORDER BY created_at DESC, id DESC OFFSET t."maxTokens");
        END IF;
    END LOOP;
    PERFORM audit_append(batch);
    RETURN NULL;
END $$;
