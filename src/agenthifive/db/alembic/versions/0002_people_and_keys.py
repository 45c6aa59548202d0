"""Sign-in beyond passwords, workspaces with several people, keys that rotate; the statements are in the folder beside
this file, run in order."""

from pathlib import Path

from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Run the SQL files in the revision's transaction."""
    for part in sorted(Path(__file__).with_suffix("").glob("*.sql")):
        op.get_bind().connection.driver_connection.execute(part.read_text("utf-8"))


def downgrade() -> None:
    """A step back is a restore: what the new tables hold would be lost."""
    raise NotImplementedError("restore a backup instead")
