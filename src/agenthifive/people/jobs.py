"""What the people room tidies up. What has ended is refused whether or not it is still there."""

from typing import Final

from agenthifive.db.database import Connection
from agenthifive.people import invitation_store, session_store, store

SWEEP_PERIOD_S: Final = 3600


async def sweep_ended(connection: Connection, session_idle_s: float) -> int:
    """Remove what has ended: sessions, links of last week, tries of yesterday, invitations of last month; how many."""
    sessions = await connection.execute(session_store.SWEEP, {"idle_s": session_idle_s})
    links = await connection.execute(store.SWEEP_LINKS)
    tries = await connection.execute(store.SWEEP_TRIES)
    invitations = await connection.execute(invitation_store.SWEEP)
    return sessions.rowcount + links.rowcount + tries.rowcount + invitations.rowcount
