"""Is this process able to do its work? State at most a second old. Source: contract/operations.md section 8.1."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final

from agenthifive.db.database import Connection, Database
from agenthifive.db.migrate import HEAD

PROBE: Final = "SELECT (SELECT version_num FROM alembic_version), extract(epoch FROM clock_timestamp())::float8"
CLOCK_MAX_S: Final = 5.0
_MAX_AGE_S: Final = 1.0
_PROBE_TIMEOUT_S: Final = 1.5


class Health:
    """Answers `/health` and `/health/ready`."""

    def __init__(
        self,
        database: Database,
        *,
        is_audit_up: Callable[[], bool],
        is_fresh: Callable[[], bool],
        are_policies_whole: Callable[[], bool],
        check_keys: Callable[[Connection], Awaitable[bool]],
    ) -> None:
        self._database = database
        self._is_audit_up = is_audit_up
        self._is_fresh = is_fresh
        self._are_policies_whole = are_policies_whole
        self._check_keys = check_keys
        self._checks: Mapping[str, bool] = {}
        self._checked_at = -10.0
        self._lock = asyncio.Lock()
        self.is_draining = False

    async def report(self, *, ready: bool) -> tuple[int, dict[str, Any]]:
        """Status and body. Causes are in the log, never here."""
        async with self._lock:
            if time.monotonic() - self._checked_at > _MAX_AGE_S:
                self._checks = await self._look()
                self._checked_at = time.monotonic()
        names = ("database", "keys", "audit", "migrations") + (("grants", "clock", "policies") if ready else ())
        checks = {name: "ok" if self._checks[name] else "fail" for name in names}
        if ready and self.is_draining:
            return 503, {"status": "draining", "checks": checks}
        if all(state == "ok" for state in checks.values()):
            return 200, {"status": "ok"} | ({"checks": checks} if ready else {})
        failed = ", ".join(name for name, state in checks.items() if state == "fail")
        return 503, {
            "status": "unavailable",
            "error": f"Not able to serve: {failed}. The cause is in the server's log.",
            "code": "unavailable",
            "checks": checks,
        }

    async def _look(self) -> dict[str, bool]:
        checks = {"database": False, "keys": False, "migrations": False, "clock": False}
        checks |= {"audit": self._is_audit_up(), "grants": self._is_fresh(), "policies": self._are_policies_whole()}
        try:
            async with asyncio.timeout(_PROBE_TIMEOUT_S), self._database.transaction(read_only=True) as connection:
                cursor = await connection.execute(PROBE)
                row = await cursor.fetchone()
                checks["database"] = True
                if row is not None:
                    checks["migrations"] = row[0] == HEAD
                    checks["clock"] = abs(row[1] - time.time()) <= CLOCK_MAX_S
                checks["keys"] = await self._check_keys(connection)
        except Exception:  # noqa: BLE001 - whatever it is, the answer is that the check failed
            return checks
        return checks
