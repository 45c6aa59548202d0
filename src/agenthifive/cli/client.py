"""The client side: HTTP to a running server, from the standard library.

    https with verification; plain http to this machine only; no redirects, no proxies, no cookies

This is the command line acting as a user of the server, so the server's own way out (broker/egress.py) has no part
in it. Source: contract/http.md section 2 (refusals).
"""

import http.client
import ssl
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import urlsplit

from agenthifive import __version__, strict_json
from agenthifive.cli.arguments import misused
from agenthifive.cli.console import CommandError, Exit
from agenthifive.settings_values import is_loopback_host

TIMEOUT_S: Final = 120.0
_EXAMPLE: Final = "Example: --base https://agents.example.com"
ANSWER_BYTES_MAX: Final = 64 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Answer:
    """What the server said. Shapes: headers: lower-case names."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    def json(self) -> Any:
        """The body as JSON. Raises: CommandError."""
        try:
            return strict_json.loads(self.body)
        except strict_json.InvalidJson:
            raise _foreign(f"The answer (status {self.status}) is not JSON.") from None

    def members(self, wanted: Mapping[str, type]) -> Mapping[str, Any]:
        """The body as an object that has these members of these types. Raises: CommandError."""
        body = self.json()
        if not isinstance(body, Mapping) or not all(isinstance(body.get(name), kind) for name, kind in wanted.items()):
            raise _foreign(f"The answer (status {self.status}) lacks what it should hold.")
        return body


class ServerRefused(CommandError):
    """The server said no. `status` and `body` are its answer."""

    def __init__(self, status: int, body: Mapping[str, Any]) -> None:
        super().__init__(
            str(body["error"]), code=str(body["code"]), hint=str(body.get("hint") or ""), data=body, shows_code=True
        )
        self.status = status
        self.body = body


class Client:
    """Talks to one server."""

    def __init__(self, base: str, *, hear: Callable[[bytes], None] | None = None, timeout_s: float = TIMEOUT_S) -> None:
        """`hear` is given every answer as it came, head and body.

        Raises: CommandError when `base` is no origin, or would carry secrets in the clear.
        """
        self.base = read_base(base)
        self._hear = hear
        self._timeout_s = timeout_s

    def get(self, path: str, *, token: str | None = None) -> Answer:
        """GET a path. Raises: CommandError."""
        return self._request("GET", path, None, token)

    def post(self, path: str, body: Mapping[str, Any], *, token: str | None = None) -> Answer:
        """POST JSON to a path. Raises: CommandError."""
        return self._request("POST", path, strict_json.dumps(body), token)

    def _request(self, method: str, path: str, content: bytes | None, token: str | None) -> Answer:
        headers = {"accept": "application/json", "user-agent": f"agenthifive-cli/{__version__}"}
        if content is not None:
            headers["content-type"] = "application/json"
        if token is not None:
            headers["authorization"] = f"Bearer {token}"
        connection = self._connect()
        try:
            connection.request(method, path, content, headers)
            answer = self._read(connection.getresponse())
        except (OSError, http.client.HTTPException) as error:
            raise self._unreachable(error) from None
        finally:
            connection.close()
        if answer.status >= 300:
            raise _refusal(answer)
        return answer

    def _connect(self) -> http.client.HTTPConnection:
        origin = urlsplit(self.base)
        if origin.scheme == "https":
            context = ssl.create_default_context()
            return http.client.HTTPSConnection(
                str(origin.hostname), origin.port, timeout=self._timeout_s, context=context
            )
        return http.client.HTTPConnection(str(origin.hostname), origin.port, timeout=self._timeout_s)

    def _read(self, response: http.client.HTTPResponse) -> Answer:
        body = response.read(ANSWER_BYTES_MAX + 1)
        if len(body) > ANSWER_BYTES_MAX:
            raise _foreign(f"The answer is longer than {ANSWER_BYTES_MAX} bytes.")
        if self._hear is not None:
            head = "".join(f"{name}: {value}\n" for name, value in response.getheaders())
            self._hear(f"{response.status} {response.reason}\n{head}\n".encode() + body)
        headers = {name.lower(): value for name, value in response.getheaders()}
        return Answer(response.status, headers, body)

    def _unreachable(self, error: Exception) -> CommandError:
        reason = error.verify_message if isinstance(error, ssl.SSLCertVerificationError) else type(error).__name__
        return CommandError(
            f"{self.base} cannot be reached ({reason}).",
            exit_code=Exit.UNREACHABLE,
            code="unreachable",
            hint="Is the server running, and is --base right?",
        )


def read_base(text: str) -> str:
    """The origin of a server, without a slash at the end. Raises: CommandError."""
    try:
        parts = urlsplit(text)
        host, port = parts.hostname, parts.port
    except ValueError:
        host, port = None, None
    if host is None or text.rstrip("/") != f"{parts.scheme}://{parts.netloc}" or parts.username is not None:
        raise misused(f"{text} is no address of a server; expected https://host[:port].", _EXAMPLE)
    if parts.scheme == "http" and not is_loopback_host(host):
        raise misused(f"{text} is not encrypted; http is for this machine only. Use https.", _EXAMPLE)
    if parts.scheme not in ("http", "https") or port == 0:
        raise misused(f"{text} is no address of a server; expected https://host[:port].", _EXAMPLE)
    return text.rstrip("/")


def _refusal(answer: Answer) -> CommandError:
    try:
        body = strict_json.loads(answer.body)
    except strict_json.InvalidJson:
        body = None
    if isinstance(body, Mapping) and isinstance(body.get("error"), str) and isinstance(body.get("code"), str):
        return ServerRefused(answer.status, body)
    return _foreign(f"The answer has status {answer.status} and is none of AgentHiFive's.")


def _foreign(message: str) -> CommandError:
    return CommandError(message, code="unexpected_answer", hint="Is --base the address of an AgentHiFive server?")
