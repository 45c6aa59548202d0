"""Everything secret in the schema is sealed or hashed: whatever a column's name suggests must be one of the three."""

import re
from collections.abc import Mapping

import psycopg
import pytest

from agenthifive.vault.sealed_columns import SEALED_COLUMNS

SECRET_LOOKING = re.compile(
    r"secret|token|key|password|credential|cipher|private|seed|verifier|otp|passphrase|sealed|encrypted|code$|cookie"
)
HASHED = re.compile(r"(_hash|_sha256|_thumbprint)$")
NO_SECRETS: Mapping[str, str] = {
    "t_users.email_key": "the address in its comparable form",
    "t_invitations.email_key": "the same",
    "t_sign_in_failures.account_key": "a hash of the address",
    "t_agents.public_key_jwk": "public",
    "t_passkeys.credential_id": "the public name of a passkey",
    "t_passkeys.public_key": "public",
    "t_agents.key_alg": "names the algorithm",
    "t_agents.key_kid": "names the public key",
    "t_agents.key_changed_at": "an instant",
    "t_connections.credential_expires_at": "an instant",
    "t_connections.singleton_key": "the service of a singleton",
    "t_idempotency_keys.key": "drawn by the client to tell its calls apart; opens nothing",
    "t_rate_limits.key": "what is counted",
}
"""Columns that only look like it, and what they hold. `<column>_kid` columns name keys and are looked at below."""


@pytest.fixture(scope="module")
def columns(app_dsn: str) -> frozenset[str]:
    """`table.column` of everything in the schema."""
    return _names(app_dsn, "SELECT table_name || '.' || column_name FROM information_schema.columns"
                           " WHERE table_schema = 'public'")  # fmt: skip


def test_what_looks_secret_is_sealed_hashed_or_explained(columns: frozenset[str]) -> None:
    """A new secret: seal it and register it in vault/sealed_columns.py, or store its hash in a `_hash` column."""
    sealed = {column.name for column in SEALED_COLUMNS} | {_kid(column) for column in SEALED_COLUMNS}
    looks = {name for name in columns if SECRET_LOOKING.search(name.partition(".")[2])}
    assert len(looks) > 10
    assert {name for name in looks if not HASHED.search(name)} - sealed - set(NO_SECRETS) == set()


def test_every_sealed_column_is_there_with_an_indexed_companion(app_dsn: str, columns: frozenset[str]) -> None:
    for column in SEALED_COLUMNS:
        places = {column.column, column.kid, column.id, *([column.workspace] if column.workspace else [])}
        assert {f"{column.table}.{place}" for place in places} <= columns
    leading = _names(app_dsn, """
        SELECT c.relname || '.' || a.attname FROM pg_index i JOIN pg_class c ON c.oid = i.indrelid
          JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum = i.indkey[0]""")  # fmt: skip
    assert {_kid(column) for column in SEALED_COLUMNS} - leading == set()
    assert {f"{column.table}.{column.id}" for column in SEALED_COLUMNS} - leading == set()


def test_every_companion_belongs_to_a_registered_column(columns: frozenset[str]) -> None:
    """A sealed column nobody registered would stay behind when its key is retired."""
    companions = {name for name in columns if name.endswith("_kid")} - set(NO_SECRETS) - {"t_key_replicas.active_kid"}
    assert companions == {_kid(column) for column in SEALED_COLUMNS}


def test_every_explanation_is_needed(columns: frozenset[str]) -> None:
    assert [
        name for name in NO_SECRETS if name not in columns or not SECRET_LOOKING.search(name.partition(".")[2])
    ] == []


def _kid(column: object) -> str:
    return f"{column.table}.{column.kid}"  # type: ignore[attr-defined]


def _names(dsn: str, statement: str) -> frozenset[str]:
    with psycopg.connect(dsn) as connection:
        return frozenset(name for (name,) in connection.execute(statement).fetchall())
