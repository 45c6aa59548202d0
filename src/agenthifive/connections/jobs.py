"""The timer of this room: revocations that a provider did not carry out yet.

Every replica runs it for itself; a due credential is claimed by one conditional statement.
Source: contract/connections.md section 10.
"""

from collections.abc import Sequence
from typing import Final

from agenthifive.connections.revocation import Revocations
from agenthifive.operations.jobs import Job

PERIOD_S: Final = 15.0


def connection_jobs(revocations: Revocations) -> Sequence[Job]:
    """The jobs of the connections room."""
    return (Job("provider_revocations", PERIOD_S, revocations.retry_due, is_shared=False),)
