-- Backups and restores.

-- What was backed up, and when: for the question how old the newest backup is, and which keys it covers.
CREATE TABLE t_backups (
    id         uuid PRIMARY KEY,
    kind       text NOT NULL CHECK (kind IN ('database', 'keys')),
    kids       text[] NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX t_backups_newest ON t_backups (kind, created_at);
