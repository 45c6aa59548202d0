"""What the people room tidies up. What has ended is refused whether or not it is still there."""

from typing import Final

from agenthifive.db.database import Connection
from agenthifive.people import factor_store, flow_store, invitation_store, passkey_store, session_store, store
from agenthifive.people.totp import SETUP_S

SWEEP_PERIOD_S: Final = 3600


async def sweep_ended(connection: Connection, session_idle_s: float) -> int:
    """Remove what is over: sessions, half-finished sign-ins and set-ups, spent challenges and flows, links of last
    week, failed tries of yesterday, invitations of last month; how many rows went."""
    sessions = await connection.execute(session_store.SWEEP, {"idle_s": session_idle_s})
    links = await connection.execute(store.SWEEP_LINKS)
    tries = await connection.execute(store.SWEEP_TRIES)
    pending = await connection.execute(factor_store.SWEEP_PENDING)
    challenges = await connection.execute(passkey_store.SWEEP)
    apps = await connection.execute(factor_store.SWEEP_TOTP, {"setup_s": SETUP_S})
    flows = await connection.execute(flow_store.SWEEP)
    invitations = await connection.execute(invitation_store.SWEEP)
    return sum(gone.rowcount for gone in (sessions, links, tries, pending, challenges, apps, flows, invitations))
