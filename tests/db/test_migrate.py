"""From the schema of the release before to this one, with what that release has written."""

import psycopg
import pytest

from agenthifive.db import migrate
from databases import dsn, empty_database

OLD_ROWS = """
    INSERT INTO t_users (id, email, email_key, name) VALUES
        ('00000000-0000-7000-8000-000000000001', 'olga@example.com', 'olga@example.com', 'Olga');
    INSERT INTO t_workspaces (id, name, owner_id) VALUES
        ('00000000-0000-7000-8000-000000000002', 'Olga''s', '00000000-0000-7000-8000-000000000001');
    INSERT INTO t_one_time_links (token_hash, purpose, expires_at) VALUES ('spent', 'setup', now());
"""
AFTER = """
    SELECT u.name, w.name, l.purpose, l.user_id IS NULL, has_second_factor(u.id)
      FROM t_users u JOIN t_workspaces w ON w.owner_id = u.id, t_one_time_links l
"""


def test_what_the_release_before_wrote_is_there_after_the_upgrade(
    worker_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = f"upgrade_{worker_id}"
    with empty_database(name) as admin:
        with psycopg.connect(admin, autocommit=True) as link:
            link.execute("GRANT USAGE, CREATE ON SCHEMA public TO agenthifive_owner")
        owner = dsn("owner", name)
        head = migrate.HEAD
        monkeypatch.setattr(migrate, "HEAD", "0001")
        assert migrate.upgrade(owner, lambda _: None)
        with psycopg.connect(owner) as link:
            link.execute(OLD_ROWS)
        monkeypatch.setattr(migrate, "HEAD", head)
        said: list[str] = []
        with pytest.raises(migrate.SchemaError, match=f"is at revision 0001; this version needs {head}"):
            migrate.check(owner)
        assert migrate.upgrade(owner, said.append)
        assert said == [f"Migrating the database from 0001 to {head}"]
        with psycopg.connect(owner) as link:
            assert link.execute(AFTER).fetchall() == [("Olga", "Olga's", "setup", True, False)]
        assert not migrate.upgrade(owner, lambda _: None)
