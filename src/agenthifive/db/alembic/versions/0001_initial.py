"""The first schema; the statements are in the folder beside this file, run in order."""

from pathlib import Path

from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Run the SQL files in the revision's transaction."""
    for part in sorted(Path(__file__).with_suffix("").glob("*.sql")):
        op.get_bind().connection.driver_connection.execute(part.read_text("utf-8"))


def downgrade() -> None:
    """There is nothing before the first schema."""
    raise NotImplementedError("restore a backup instead")
