"""HTTP for the set-up: one request after the other, JSON both ways. Loads have clients of their own."""

import http.client
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from bench.failures import BenchError

_TIMEOUT_S: Final = 60.0


@dataclass(frozen=True, slots=True)
class Answer:
    """What a server said. Shapes: cookie: `name=value` of the first cookie it set, else empty."""

    status: int
    cookie: str
    body: Any


class Client:
    """Talks to one server on this machine."""

    def __init__(self, port: int) -> None:
        self._port = port

    def get(self, path: str, headers: Mapping[str, str] | None = None) -> Answer:
        """GET a path. Raises: OSError, BenchError for any status but 2xx."""
        return self._request("GET", path, None, headers)

    def post(self, path: str, body: Mapping[str, Any], headers: Mapping[str, str] | None = None) -> Answer:
        """POST JSON. Raises: OSError, BenchError for any status but 2xx."""
        return self._request("POST", path, body, headers)

    def put(self, path: str, body: Mapping[str, Any], headers: Mapping[str, str] | None = None) -> Answer:
        """PUT JSON. Raises: OSError, BenchError for any status but 2xx."""
        return self._request("PUT", path, body, headers)

    def _request(
        self, method: str, path: str, body: Mapping[str, Any] | None, headers: Mapping[str, str] | None
    ) -> Answer:
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=_TIMEOUT_S)
        try:
            content = None if body is None else json.dumps(body)
            connection.request(method, path, content, {"content-type": "application/json", **(headers or {})})
            response = connection.getresponse()
            text = response.read()
        except http.client.HTTPException as error:
            raise ConnectionError(f"{method} {path}: {error!r}") from None
        finally:
            connection.close()
        if not 200 <= response.status < 300:
            raise BenchError(f"{method} {path} was answered {response.status}: {text[:500].decode('utf-8', 'replace')}")
        cookie = (response.getheader("set-cookie") or "").partition(";")[0]
        return Answer(response.status, cookie, json.loads(text))


def bearer(token: str) -> Mapping[str, str]:
    """The header that presents a token."""
    return {"authorization": f"Bearer {token}"}
