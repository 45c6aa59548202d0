"""One spelling for each host: a name, a dotted quad or an IPv6 literal; everything else is refused.

The URL parser and the settings that name hosts read through this module, so that a name listed by the
operator and a name written by an agent are compared in the same form.
Source: contract/broker.md section 4.1, rows "host" and "numeric host"; RFC 1123 2.1, RFC 5891, RFC 5952.
"""

import re
import unicodedata
from functools import lru_cache
from ipaddress import AddressValueError, IPv4Address, IPv6Address
from typing import Final

MAX_HOST_LENGTH: Final = 253

_NAME: Final = re.compile(r"(?:[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?\.)*[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?")
_PORT: Final = re.compile(r"[1-9][0-9]{0,4}")
_NUMBER: Final = re.compile(r"[0-9]+|0x[0-9a-f]*")
_LETTERS_AND_DIGITS: Final = frozenset({"Ll", "Lo", "Lm", "Mn", "Mc", "Nd"})
_KEPT_THOUGH_FOLDED: Final = "ßς"  # RFC 5892 2.6: letters of their own since IDNA 2008


class InvalidHost(ValueError):
    """The text is no host or port in its one spelling. `detail` is a sub-code of invalid_url."""

    def __init__(self, detail: str) -> None:
        super().__init__(detail)
        self.detail = detail


@lru_cache(maxsize=1024)
def read_host(text: str) -> str:
    """The canonical host of a URL authority or a setting.

    Shapes:
        text: as in an authority, IPv6 in brackets. Result: lower case, IPv6 without brackets. A name may
        hold underscores: whether it may is the caller's question (only operators may list such names).
    Raises: InvalidHost with detail `host`, `zone_id` or `non_canonical_ip`.
    """
    if not text.isascii():  # before lower(): the Kelvin sign would become a plain k
        raise InvalidHost("host")
    host = text.lower()
    if host.startswith("["):
        return _read_ipv6(host)
    if len(host) > MAX_HOST_LENGTH or not _NAME.fullmatch(host):
        raise InvalidHost("host")
    labels = host.split(".")
    if _NUMBER.fullmatch(labels[-1]):
        return _read_ipv4(host)
    if not all(_is_a_label(label) for label in labels if label.startswith("xn--")):
        raise InvalidHost("host")
    return host


def read_port(text: str) -> int:
    """A port in its one spelling. Raises: InvalidHost with detail `port`."""
    if not _PORT.fullmatch(text) or int(text) > 65535:
        raise InvalidHost("port")
    return int(text)


def bracketed(host: str) -> str:
    """The host as it stands in an authority."""
    return f"[{host}]" if ":" in host else host


def _read_ipv4(host: str) -> str:
    try:
        address = IPv4Address(host)
    except AddressValueError:
        raise InvalidHost("non_canonical_ip") from None
    if str(address) != host:
        raise InvalidHost("non_canonical_ip")
    return host


def _read_ipv6(host: str) -> str:
    if not host.endswith("]"):
        raise InvalidHost("host")
    literal = host[1:-1]
    if "%" in literal:
        raise InvalidHost("zone_id")
    try:
        address = IPv6Address(literal)
    except AddressValueError:
        raise InvalidHost("host") from None
    mapped = address.ipv4_mapped
    # RFC 5952 section 5 writes mapped addresses with a dotted quad; older interpreters write them in hex.
    if literal != (f"::ffff:{mapped}" if mapped else str(address)):
        raise InvalidHost("non_canonical_ip")
    return literal


def _is_a_label(label: str) -> bool:
    """Whether `xn--…` decodes to letters and digits in their folded form and encodes back to itself.

    Joiners and middle dots, which RFC 5892 admits in some contexts, are refused.
    """
    try:
        text = label[4:].encode("ascii").decode("punycode")
        if "xn--" + text.encode("punycode").decode("ascii") != label:
            return False
    except UnicodeError:
        return False
    if text.isascii() or text[0] == "-" or text[-1] == "-" or unicodedata.category(text[0]).startswith("M"):
        return False
    return unicodedata.is_normalized("NFC", text) and all(_is_registrable(char) for char in text)


def _is_registrable(char: str) -> bool:
    if char == "-" or char in _KEPT_THOUGH_FOLDED:
        return True
    folded = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", char).casefold())
    return folded == char and unicodedata.category(char) in _LETTERS_AND_DIGITS
