"""What a provider's redirect means: data when it stays on the judged origin, blocked when it leaves it.

    Location -> resolve against the request URL -> parse like any URL -> same origin?  yes: data
                                                                                       no:  blocked
Nothing here follows a redirect; the one kind that may be followed is a catalog entry the broker asks.
Source: contract/broker.md section 9; RFC 3986 section 5.
"""

import re
from dataclasses import dataclass
from typing import Final
from urllib.parse import urljoin

from agenthifive.broker.target import Target, parse_target

REDIRECT_STATUSES: Final = frozenset({300, 301, 302, 303, 305, 307, 308})

_SCHEME: Final = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:")
_UNSAFE: Final = re.compile(r"[\x00-\x1f\x7f-\x9f\\\ud800-\udfff]")


@dataclass(frozen=True, slots=True)
class Redirect:
    """Where a reply points.

    Shapes:
        target: None when the place is no URL we would ever call (http, userinfo, other scheme, unparsable).
    """

    target: Target | None
    is_same_origin: bool

    def other_host(self, current: Target) -> str | None:
        """The foreign host that the refusal may name, and nothing else of the URL."""
        if self.target is None or self.target.host == current.host:
            return None
        return self.target.host


_UNUSABLE: Final = Redirect(target=None, is_same_origin=False)


def resolve_redirect(current: Target, location: str) -> Redirect:
    """Read a Location header against the request that was answered.

    Raises: nothing; what cannot be read is a redirect to nowhere.
    """
    if _UNSAFE.search(location) or location != location.strip():
        return _UNUSABLE
    hosts = (current.host,)  # what was called may be called: http and underscores are no news on this host
    try:
        target = parse_target(_resolved(current, location), http_hosts=hosts).target
    except ValueError:  # InvalidUrl, or urljoin on a malformed reference
        return _UNUSABLE
    if target.scheme == "http" and current.scheme == "https":
        return _UNUSABLE
    return Redirect(target, target.origin == current.origin)


def _resolved(current: Target, location: str) -> str:
    if _SCHEME.match(location):
        return location
    if location.startswith("//"):
        return f"{current.scheme}:{location}"
    return urljoin(current.url, location)
