"""The bot check at sign-up: the browser solved a puzzle, and Cloudflare is asked whether it did.

    solved -> go on        not solved -> 403        no clear answer -> 503        (not configured: never asked)

Asked through the one way out, with no transaction open. Source: contract/http.md section 14.1 (Turnstile),
https://developers.cloudflare.com/turnstile/get-started/server-side-validation/.
"""

import asyncio
from collections.abc import Callable
from typing import Any, Final
from urllib.parse import urlencode

from agenthifive import __version__, strict_json
from agenthifive.broker.egress import Egress, EgressError, Outbound
from agenthifive.broker.wire import WireError
from agenthifive.errors import AppError

HOST: Final = "challenges.cloudflare.com"
PATH: Final = "/turnstile/v0/siteverify"
CALL_S: Final = 5.0
TOKEN_MAX: Final = 2048
_REPLY_MAX: Final = 64 * 1024
_RETRY_S: Final = 5
_OURS: Final = frozenset({"missing-input-secret", "invalid-input-secret", "bad-request", "internal-error"})


class Turnstile:
    """Checks the tokens of one site.

    Shapes: secret: of TURNSTILE_SECRET_KEY. egress: found when it is needed, because the way out opens after this room.
    """

    def __init__(self, secret: str, egress: Callable[[], Egress], host: str = HOST, port: int = 443) -> None:
        self._secret = secret
        self._egress = egress
        self._host = host
        self._port = port

    def __repr__(self) -> str:
        return f"Turnstile({self._host!r})"

    async def check(self, token: str, ip: str) -> None:
        """Return when the puzzle was solved.

        Raises: AppError (403 TURNSTILE_FAILED, 503 TURNSTILE_UNAVAILABLE).
        """
        if not 0 < len(token) <= TOKEN_MAX:
            raise _failed()
        body = urlencode({"secret": self._secret, "response": token, "remoteip": ip}).encode("ascii")
        try:
            async with asyncio.timeout(CALL_S):
                verdict = await self._ask(body)
        except (EgressError, WireError, TimeoutError, strict_json.InvalidJson):
            raise _unavailable() from None
        if verdict.get("success") is True:
            return
        codes = verdict.get("error-codes")
        if not isinstance(codes, list) or _OURS.intersection(map(str, codes)):
            raise _unavailable()
        raise _failed()

    async def _ask(self, body: bytes) -> dict[str, Any]:
        """The verdict; empty when the answer is none. Raises: EgressError, WireError, strict_json.InvalidJson."""
        headers = [
            ("host", self._host if self._port == 443 else f"{self._host}:{self._port}"),
            ("user-agent", f"AgentHiFive/{__version__}"),
            ("accept-encoding", "identity"),
            ("content-type", "application/x-www-form-urlencoded"),
        ]
        outbound = Outbound("POST", "https", self._host, self._port, PATH, headers, body, "turnstile")
        egress = self._egress()
        wire = await egress.send(outbound, CALL_S)
        try:
            reply = b""
            while len(reply) <= _REPLY_MAX and (chunk := await wire.read(CALL_S)):
                reply += chunk
        except BaseException:
            wire.close()
            raise
        is_answer = wire.status == 200 and len(reply) <= _REPLY_MAX
        egress.release(outbound, wire)
        verdict = strict_json.loads(reply) if is_answer else None
        return verdict if isinstance(verdict, dict) else {}


def _failed() -> AppError:
    return AppError("TURNSTILE_FAILED", "The check that you are a person did not succeed. Repeat it and send again.")


def _unavailable() -> AppError:
    return AppError(
        "TURNSTILE_UNAVAILABLE",
        "The check that you are a person cannot be made right now. Try again in a moment.",
        retry_after_s=_RETRY_S,
    )
