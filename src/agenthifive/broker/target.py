"""The strict URL parser: one canonical form, or a refusal. Nothing else in the house reads a caller's URL.

    text -> characters -> scheme, authority, path, query -> escapes -> merge `query` -> dot segments
                                                                     |
            Target <- a second, independent parser agrees <----------+

What is judged is what is sent: request line, Host, TLS name and DNS question are built from a Target.
Source: contract/broker.md sections 4.1 to 4.4; RFC 3986.
"""

import re
from collections.abc import Collection, Container, Mapping, Sequence
from functools import lru_cache
from math import isfinite
from typing import Final, TypeAlias
from urllib.parse import quote, unquote_plus, unquote_to_bytes, urlsplit

import msgspec

from agenthifive import strict_json
from agenthifive.broker.host import InvalidHost, bracketed, read_host, read_port
from agenthifive.policy.paths import UnsafePath, strict_path

MAX_URL_BYTES: Final = 8192
MAX_RAW_LENGTH: Final = 4 * MAX_URL_BYTES  # escapes of plain letters shrink, fragments are dropped
DEFAULT_PORTS: Final[Mapping[str, int]] = {"https": 443, "http": 80}
MAIL_ORIGIN: Final = "https://email-imap.internal"

ADVICE: Final[Mapping[str, str]] = {
    "too_long": f"The URL is longer than {MAX_URL_BYTES} bytes. Move data into the body.",
    "control_character": "The URL holds a control character or an outer blank. Remove it.",
    "backslash": "The URL holds a backslash. Write / between path segments.",
    "scheme": "Only https URLs are called. Write https://host/path.",
    "syntax": "The URL is not of the form https://host/path?query.",
    "relative": "The URL is relative. Write it in full, https://host/path.",
    "userinfo": "The URL holds user information before @. Remove it; credentials are added for you.",
    "host": "The host name is not written in plain lower-case letters, digits and hyphens.",
    "zone_id": "The host is an address with a zone. Such addresses are never called.",
    "non_canonical_ip": "The host is an address in an unusual spelling. Use the host's name.",
    "port": "The port is not a number from 1 to 65535 without leading zeros.",
    "empty_segment": "The path begins with two slashes. Begin it with one.",
    "percent_encoding": "The URL holds a % that is not followed by two hex digits of valid UTF-8.",
    "dot_segment": "The path holds a . or .. segment, plain or encoded. Write the path it leads to.",
    "ambiguous": "The URL can be read in two ways. Write it without unusual characters.",
}

QueryScalar: TypeAlias = str | int | float | bool
QueryValue: TypeAlias = QueryScalar | Sequence[QueryScalar]

_FORBIDDEN: Final = re.compile(r"[\x00-\x1f\x7f-\x9f\\\ud800-\udfff]")
_FORM: Final = re.compile(r"(https?)://([^/?#]*)([^?#]*)(?:\?([^#]*))?", re.IGNORECASE)
# Canonical as it stands but for the query, and the path is its own strict view: most of all calls.
_ORDINARY: Final = re.compile(
    r"(https?)://([a-z0-9.-]+(?::[0-9]+)?)((?:/[A-Za-z0-9_~@:$-][A-Za-z0-9_~@:$.-]*)+)(?:\?([!\x22$-\[\]-~]*))?"
)
_SCHEME: Final = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*):")
_PLAIN_PATH: Final = re.compile(r"[A-Za-z0-9/._~!$&'()*+,;=:@-]*")
_PLAIN_QUERY: Final = re.compile(r"[A-Za-z0-9/._~!$&'()*+,;=:@?\[\]-]*")
_UNUSUAL_PATH: Final = re.compile(r"%[0-9A-Fa-f]{2}|[^A-Za-z0-9/._~!$&'()*+,;=:@-]")
_UNUSUAL_QUERY: Final = re.compile(r"%[0-9A-Fa-f]{2}|[^A-Za-z0-9/._~!$&'()*+,;=:@?\[\]-]")
_UNRESERVED: Final = {f"%{ord(c):02X}": c for c in "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~"}
_HIGH_ESCAPE: Final = re.compile(r"%[89A-F]")
_DOT_SEGMENT: Final = re.compile(r"/\.\.?(?:/|$)")


class InvalidUrl(ValueError):
    """The URL is refused. `detail` is a sub-code of invalid_url, the message advises without echoing."""

    def __init__(self, detail: str) -> None:
        super().__init__(ADVICE[detail])
        self.detail = detail


class Target(msgspec.Struct, frozen=True):
    """Where a call goes, in the one form that is judged, fingerprinted and sent.

    Shapes:
        scheme: `https`, or `http` for hosts the operator listed. host: lower case, IPv6 without brackets.
        path: begins with `/`, escapes kept. strict_path: the view of policy/paths.py.
        query: empty, or `?` and the merged parameters.
    """

    scheme: str
    host: str
    port: int
    path: str
    strict_path: str
    query: str

    @property
    def origin(self) -> tuple[str, str, int]:
        """What a credential is bound to."""
        return self.scheme, self.host, self.port

    @property
    def authority(self) -> str:
        """The value of the Host header: the port only when it is not the default of the scheme."""
        host = bracketed(self.host)
        return host if self.port == DEFAULT_PORTS[self.scheme] else f"{host}:{self.port}"

    @property
    def request_target(self) -> str:
        """Path and query as they stand on the request line."""
        return self.path + self.query

    @property
    def url(self) -> str:
        """The canonical URL; parsed again it gives the same Target."""
        return f"{self.scheme}://{self.authority}{self.path}{self.query}"


class ParsedTarget(msgspec.Struct, frozen=True):
    """A Target and the names of the credential parameters that were taken out of the caller's query."""

    target: Target
    stripped: tuple[str, ...]


def parse_target(
    url: str,
    query: Mapping[str, QueryValue] | None = None,
    *,
    http_hosts: Container[str] = frozenset(),
    strip_params: Collection[str] = (),
    is_mail: bool = False,
) -> ParsedTarget:
    """Read a caller's URL strictly and merge the `query` map into it.

    Shapes:
        http_hosts: names of SSRF_ALLOWLIST_HOSTS in canonical form; only these may be called with http or
        hold an underscore. strip_params: credential parameters of the connection, compared decoded.
        is_mail: the call is for the mail service, whose URLs may be relative to MAIL_ORIGIN.
    Raises: InvalidUrl, and nothing else, whatever the text is.
    """
    ordinary = _ORDINARY.fullmatch(url) if len(url) <= MAX_URL_BYTES else None
    if ordinary:
        scheme, authority, path, raw_query = ordinary.groups("")
    else:
        scheme, authority, path, raw_query = _split(url, is_mail)
    host, port, authority = _read_authority(scheme, authority)
    if (scheme == "http" or "_" in host) and host not in http_hosts:
        raise InvalidUrl("scheme" if scheme == "http" else "host")
    if not ordinary:
        path = _canonical_path(path)
    parameters, stripped = _canonical_query(raw_query, query, strip_params)
    canonical = f"{scheme}://{authority}{path}{parameters}"
    if len(canonical) > MAX_URL_BYTES:
        raise InvalidUrl("too_long")
    view = path if ordinary else _strict_path(path)
    _check_second_reading(canonical, scheme, authority, path, parameters)
    return ParsedTarget(Target(scheme, host, port, path, view, parameters), stripped)


def query_pairs(query: str) -> list[tuple[str, str]]:
    """Names and values of a canonical query, percent-decoded once, `+` read as a blank, in order."""
    return [(_decoded(name), _decoded(value)) for name, value in raw_query_pairs(query)]


def raw_query_pairs(query: str) -> list[tuple[str, str]]:
    """Names and values of a canonical query as they are sent."""
    pairs = []
    for part in query.removeprefix("?").split("&"):
        if part:
            name, _, value = part.partition("=")
            pairs.append((name, value))
    return pairs


def query_names(query: str) -> tuple[str, ...]:
    """Each decoded name once, in order: what the audit keeps of a query."""
    return tuple(dict.fromkeys(_decoded(name) for name, _ in raw_query_pairs(query)))


def _split(url: str, is_mail: bool) -> tuple[str, str, str, str]:
    _check_characters(url)
    if is_mail and url.startswith("/") and not url.startswith("//"):
        url = MAIL_ORIGIN + url
    form = _FORM.match(url)
    if form is None:
        raise InvalidUrl(_fault_of_form(url))
    scheme, authority, path, raw_query = form.groups("")
    return scheme.lower(), authority, path, raw_query


def _check_characters(url: str) -> None:
    if len(url) > MAX_RAW_LENGTH:
        raise InvalidUrl("too_long")
    found = _FORBIDDEN.search(url)
    if found:
        char = found[0]
        if char == "\\":
            raise InvalidUrl("backslash")
        raise InvalidUrl("percent_encoding" if "\ud800" <= char <= "\udfff" else "control_character")
    if url != url.strip():
        raise InvalidUrl("control_character")


def _fault_of_form(url: str) -> str:
    scheme = _SCHEME.match(url)
    if scheme is None:
        return "relative"
    return "syntax" if scheme[1].lower() in DEFAULT_PORTS else "scheme"


@lru_cache(maxsize=1024)
def _read_authority(scheme: str, text: str) -> tuple[str, int, str]:
    """Host, port and canonical text of an authority."""
    if not text:
        raise InvalidUrl("syntax")
    if "@" in text:
        raise InvalidUrl("userinfo")
    end_of_host = text.find("]") + 1 if text.startswith("[") else text.find(":")
    host_text, rest = (text[:end_of_host], text[end_of_host:]) if end_of_host > 0 else (text, "")
    try:
        host = read_host(host_text)
        if rest and rest[0] != ":":
            raise InvalidHost("host")
        port = read_port(rest[1:]) if rest else DEFAULT_PORTS[scheme]
    except InvalidHost as error:
        raise InvalidUrl(error.detail) from None
    canonical = bracketed(host) if port == DEFAULT_PORTS[scheme] else f"{bracketed(host)}:{port}"
    try:
        second = urlsplit(f"{scheme}://{canonical}/")
        agreed = second.hostname == host and (second.port or DEFAULT_PORTS[scheme]) == port
    except ValueError:
        agreed = False
    if not agreed:
        raise InvalidUrl("ambiguous")
    return host, port, canonical


def _canonical_path(path: str) -> str:
    if path.startswith("//"):
        raise InvalidUrl("empty_segment")
    if _PLAIN_PATH.fullmatch(path):
        return path or "/"
    return _UNUSUAL_PATH.sub(_spell, path)


def _spell(match: re.Match[str]) -> str:
    """One escape or one character that needs one, in the canonical spelling (RFC 3986 section 6.2.2)."""
    piece = match[0]
    if piece == "%":
        raise InvalidUrl("percent_encoding")
    if piece[0] == "%":
        piece = piece.upper()
        return _UNRESERVED.get(piece, piece)
    return quote(piece, safe="")


def _strict_path(path: str) -> str:
    try:
        view = strict_path(path)
    except UnsafePath as error:
        raise InvalidUrl(error.detail) from None
    # The view drops blanks around segments, so a dot segment can appear that no reading before it had.
    if "/." in view and _DOT_SEGMENT.search(view):
        raise InvalidUrl("dot_segment")
    return view


def _canonical_query(
    raw: str, entries: Mapping[str, QueryValue] | None, strip_params: Collection[str]
) -> tuple[str, tuple[str, ...]]:
    """The merged query with its `?` (empty without parameters), and the names taken out."""
    stripped: tuple[str, ...] = ()
    if raw and not _PLAIN_QUERY.fullmatch(raw):
        raw = _UNUSUAL_QUERY.sub(_spell, raw)
    if "%" in raw:
        _check_escapes_of_query(raw)
    if entries or (raw and strip_params):
        raw, stripped = _merge(raw, entries or {}, strip_params)
    return "?" + raw if raw.strip("&") else "", stripped


def _check_escapes_of_query(query: str) -> None:
    if "%00" in query:
        raise InvalidUrl("control_character")
    if _HIGH_ESCAPE.search(query):
        try:
            unquote_to_bytes(query).decode("utf-8")
        except UnicodeDecodeError:
            raise InvalidUrl("percent_encoding") from None


def _merge(query: str, entries: Mapping[str, QueryValue], strip_params: Collection[str]) -> tuple[str, tuple[str, ...]]:
    kept: list[str] = []
    stripped: list[str] = []
    for part in query.split("&"):
        name = _decoded(part.partition("=")[0])
        if name in strip_params:
            stripped.append(name)
        elif part and name not in entries:
            kept.append(part)
    length = 0
    for name, value in entries.items():
        if name in strip_params:
            stripped.append(name)
            continue
        for item in value if isinstance(value, list | tuple) else (value,):
            kept.append(f"{_quoted(name)}={_quoted(_text_of(item))}")
            length += len(kept[-1])
            if length > MAX_URL_BYTES:
                raise InvalidUrl("too_long")
    return "&".join(kept), tuple(dict.fromkeys(stripped))


def _text_of(value: object) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, bool | int) or (isinstance(value, float) and isfinite(value)):
        try:
            return strict_json.dumps(value).decode("ascii")
        except ValueError:  # an integer of thousands of digits
            raise InvalidUrl("too_long") from None
    raise InvalidUrl("syntax")


def _quoted(text: str) -> str:
    if len(text) > MAX_URL_BYTES:
        raise InvalidUrl("too_long")
    if "\0" in text:
        raise InvalidUrl("control_character")
    try:
        return quote(text, safe="")
    except UnicodeEncodeError:
        raise InvalidUrl("percent_encoding") from None


def _decoded(text: str) -> str:
    return unquote_plus(text, errors="strict") if "%" in text or "+" in text else text


def _check_second_reading(url: str, scheme: str, authority: str, path: str, query: str) -> None:
    """Ask an independent parser where it would draw the borders; host and port were asked per authority."""
    try:
        second = urlsplit(url)
    except ValueError:
        raise InvalidUrl("ambiguous") from None
    if second != (scheme, authority, path, query[1:], ""):
        raise InvalidUrl("ambiguous")
