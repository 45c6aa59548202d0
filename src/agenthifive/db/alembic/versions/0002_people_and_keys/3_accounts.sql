-- Accounts: links that work once, and what they are for.

ALTER TABLE t_one_time_links DROP CONSTRAINT t_one_time_links_purpose_check;
ALTER TABLE t_one_time_links ADD COLUMN user_id uuid REFERENCES t_users (id) ON DELETE CASCADE;
ALTER TABLE t_one_time_links ADD CONSTRAINT t_one_time_links_purpose_check
    CHECK ((purpose = 'setup') = (user_id IS NULL) AND purpose IN ('setup', 'verify', 'reset'));
ALTER TABLE t_users ADD COLUMN image text;
CREATE INDEX t_one_time_links_user ON t_one_time_links (user_id, purpose);
