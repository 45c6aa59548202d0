"""Cleaning up what can no longer decide anything: spent assertions, expired tokens, dead bootstrap secrets.

Each job runs on one replica at a time, is safe to run twice, and changes no decision by being late.
Source: contract/agents.md sections 7 and 15.
"""

from typing import Final

from agenthifive.agents import store
from agenthifive.db.database import Connection

REPLAY_PERIOD_S: Final = 300
TOKEN_PERIOD_S: Final = 3600
BATCH: Final = 5000


async def sweep_replays(connection: Connection) -> int:
    """Delete replay rows that expired five minutes ago; how many. 0 while another replica does it."""
    if not await store.take_turn(connection, "agents.sweep_replays"):
        return 0
    return await store.sweep(connection, store.SWEEP_REPLAYS, BATCH)


async def sweep_tokens(connection: Connection) -> int:
    """Delete expired access tokens, and bootstrap secrets that have been dead for a day; how many of both."""
    if not await store.take_turn(connection, "agents.sweep_tokens"):
        return 0
    tokens = await store.sweep(connection, store.SWEEP_TOKENS, BATCH)
    return tokens + await store.sweep(connection, store.SWEEP_SECRETS, BATCH)
