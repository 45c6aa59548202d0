"""The forms in which a secret, or one of our own one-click links, can stand in a provider's reply.

    secret -> plain                        |  each also with any part of it percent-encoded
              base64, base64url, 3 offsets |  or JSON-escaped ("readable" forms)
              hex, upper and lower         |  as it is

Readable forms are found in escaped text in two steps: a cheap look through the text with its escapes undone, and only
when that finds something an exact, slower search for the place. Source: contract/broker.md section 10.5.
"""

import re
from binascii import b2a_base64
from typing import Final
from urllib.parse import unquote_to_bytes

ESCAPE_BYTES_MAX: Final = 6
"""The longest escape of one byte, `\\u0041`."""

# Letters that can occur in a form of any secret; a secret adds its own.
FORM_ALPHABET: Final = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/_-%\\"

_TO_URL_ALPHABET: Final = bytes.maketrans(b"+/", b"-_")
_HEX_DIGITS: Final = b"0123456789abcdefABCDEF"
_ORDINARY: Final = re.compile(rb"[ !#$&-\[\]-~]+")  # printable ASCII without quote, percent sign, backslash
_SHORT_ESCAPES: Final = {
    '"': b'\\\\"',
    "\\": b"\\\\\\\\",
    "/": b"\\\\/",
    "\b": b"\\\\b",
    "\f": b"\\\\f",
    "\n": b"\\\\n",
    "\r": b"\\\\r",
    "\t": b"\\\\t",
}


def base64_forms(secret: bytes) -> list[bytes]:
    """The base64 characters that the secret alone determines, after 0, 1 and 2 foreign bytes.

    base64url follows where it differs.
    """
    forms = []
    for foreign in (0, 1, 2):
        encoded = b2a_base64(bytes(foreign) + secret, newline=False)
        form = encoded[(foreign * 8 + 5) // 6 : (foreign + len(secret)) * 8 // 6]
        forms.append(form)
        if b"+" in form or b"/" in form:
            forms.append(form.translate(_TO_URL_ALPHABET))
    return forms


def readable_forms(secret: str) -> list[bytes]:
    """Plain and base64 forms: everything that may occur with escapes in it."""
    plain = secret.encode("utf-8", "surrogatepass")
    forms = base64_forms(plain)
    forms.append(plain)
    if " " in secret:  # form encoding writes a blank as a plus sign
        forms.append(plain.replace(b" ", b"+"))
    return forms


def hex_forms(secret: bytes) -> tuple[bytes, bytes]:
    """Lower and upper case."""
    lower = secret.hex().encode()
    return lower, lower.upper()


def without_escapes(data: bytes) -> bytes:
    """Undo `%XX`, `\\u00XX` and `\\/`; the same object when there is none. Good for finding, not for locating."""
    if b"\\" in data:
        data = data.replace(b"\\/", b"/").replace(b"\\u00", b"%")
    return unquote_to_bytes(data)


def is_odd(form: bytes) -> bool:
    """Whether a form holds what escapes are made of, or characters that JSON escapes in ways of their own."""
    return _ORDINARY.fullmatch(form) is None


def escaped_core(form: bytes) -> bytes | None:
    """The part of a readable form that must appear in `without_escapes(text)` wherever the form occurs escaped.

    The beginning is left out as far as it could be swallowed by an escape that ends inside the form ("%" before
    "ab..." reads as one byte). None: no part is certain, because the form is odd.
    """
    if is_odd(form):
        return None
    if form[0] in b"u0":
        return form[5:] or None
    return form[2:] if form[0] in _HEX_DIGITS else form


def escaped_pattern(form: bytes) -> re.Pattern[bytes]:
    """Matches a readable form with any of its characters percent-encoded, JSON-escaped or plain."""
    return re.compile(_escaped_source(form))


def _escaped_source(form: bytes) -> bytes:
    return b"".join(_character(character) for character in form.decode("utf-8", "surrogatepass"))


def _character(character: str) -> bytes:
    """Alternatives for one character, longest first."""
    units = character.encode("utf-16-be", "surrogatepass").hex()
    json_form = b"".join(b"\\\\u" + _any_case(units[at : at + 4]) for at in range(0, len(units), 4))
    utf8 = character.encode("utf-8", "surrogatepass")
    percent_form = b"".join(
        b"(?:%" + _any_case(f"{byte:02x}") + b"|" + re.escape(bytes((byte,))) + b")" for byte in utf8
    )
    short = _SHORT_ESCAPES.get(character)
    return b"(?:" + json_form + b"|" + (short + b"|" if short else b"") + percent_form + b")"


def _any_case(digits: str) -> bytes:
    return "".join(f"[{digit}{digit.upper()}]" if digit.isalpha() else digit for digit in digits).encode()


# Our own one-click links: the path in every form, then as many characters as can belong to the token.
_LINK_PATH: Final = b"/api/quick-action/"
_LINK_TOKEN_MAX: Final = 64
_TOKEN_CHARACTER: Final = (
    rb"(?:[A-Za-z0-9_-]"
    rb"|(?:%|\\u00)(?:2[Dd]|3[0-9]|4[1-9A-Fa-f]|5[0-9AaFf]|6[1-9A-Fa-f]|7[0-9Aa]))"
)
_LINK_BASE64: Final = tuple(base64_forms(_LINK_PATH))
_LINK_HEX: Final = hex_forms(_LINK_PATH)

LINK: Final = re.compile(
    b"%b%b{1,%d}|(?:%b)[A-Za-z0-9+/_-]{0,%d}|(?:%b)[0-9A-Fa-f]{0,%d}"
    % (
        _escaped_source(_LINK_PATH),
        _TOKEN_CHARACTER,
        _LINK_TOKEN_MAX,
        b"|".join(re.escape(form) for form in _LINK_BASE64),
        _LINK_TOKEN_MAX,
        b"|".join(_LINK_HEX),
        2 * _LINK_TOKEN_MAX,
    )
)
LINK_BYTES_MAX: Final = ESCAPE_BYTES_MAX * (len(_LINK_PATH) + _LINK_TOKEN_MAX)
LINK_CORE: Final = b"/quick-action/"
LINK_PROBES: Final = (_LINK_PATH, *_LINK_BASE64, *_LINK_HEX)
"""One of these is in every text that contains a link, or LINK_CORE is in the text without escapes."""

LINK_OPENINGS: Final = (_LINK_PATH + b"\0", *_LINK_BASE64, *_LINK_HEX)
"""What a link can begin with. The NUL stands for the first character of the token, without which it is none."""
