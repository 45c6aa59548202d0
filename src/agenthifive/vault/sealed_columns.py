"""Every column that holds envelopes: the one list that start, re-encryption, status and the house test go by.

A new sealed column is one line here, and beside the column in the schema a `<column>_kid text` with an index
(`CREATE INDEX ... (<column>_kid) WHERE <column> IS NOT NULL`). Source: contract/operations.md section 1.2.
"""

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class SealedColumn:
    """A column of envelopes, each tied to its row and workspace.

    Shapes:
        id: the column whose value is the row id of the envelope's place; unique in the table.
        workspace: the column whose value is the workspace of the place; None when rows have no workspace.
        rows_at_once: how many of these values fit into memory together without anybody noticing.
    """

    table: str
    column: str
    id: str = "id"
    workspace: str | None = "workspace_id"
    rows_at_once: int = 5000

    @property
    def kid(self) -> str:
        """The companion column."""
        return f"{self.column}_kid"

    @property
    def name(self) -> str:
        """How messages name it."""
        return f"{self.table}.{self.column}"


SEALED_COLUMNS: Final = (
    SealedColumn("t_connections", "encrypted_tokens"),
    SealedColumn("t_provider_revocations", "sealed_token"),
    SealedColumn("t_idempotency_keys", "reply", id="audit_id", rows_at_once=20),
    SealedColumn("t_totp", "secret", id="user_id", workspace=None),
)
