"""${message}"""

from pathlib import Path

from alembic import op

revision = ${repr(up_revision)}
down_revision = ${repr(down_revision)}
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Run the SQL files in the revision's transaction."""
    for part in sorted(Path(__file__).with_suffix("").glob("*.sql")):
        op.get_bind().connection.driver_connection.execute(part.read_text("utf-8"))


def downgrade() -> None:
    """Revisions go forward only."""
    raise NotImplementedError("restore a backup instead")
