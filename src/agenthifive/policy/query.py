"""The query as rules see it: the pairs a provider would read, and three ways of writing them as one text.

    "?a=%6d&b"  ->  (("a", "m"), ("b", ""))  ->  "?a=m&b="   decoded
                                                 "?a=m&b="   trimmed (blanks around names and values dropped)
                                                 "?a=%6d&b"  as sent

Source: contract/policy.md section 4.
"""

from typing import TypeAlias
from urllib.parse import unquote_plus

Pairs: TypeAlias = tuple[tuple[str, str], ...]


def parse_query(query: str) -> Pairs:
    """The pairs of a query (with or without its `?`) or of a form, decoded once, in order.

    Bytes that are no UTF-8 become U+FFFD: no rule can mistake them for a text it knows.
    """
    pairs = []
    for part in query.removeprefix("?").split("&"):
        if part:
            name, _, value = part.partition("=")
            pairs.append((unquote_plus(name), unquote_plus(value)))
    return tuple(pairs)


def decoded_query(pairs: Pairs) -> str:
    """The pairs as one text in which `&` and `=` can only be separators."""
    return _join(pairs)


def trimmed_query(pairs: Pairs) -> str:
    """The decoded query with the blanks around names and values dropped."""
    return _join(tuple((name.strip(), value.strip()) for name, value in pairs))


def _join(pairs: Pairs) -> str:
    if not pairs:
        return ""
    return "?" + "&".join(f"{_keep_apart(name).replace('=', '%3D')}={_keep_apart(value)}" for name, value in pairs)


def _keep_apart(text: str) -> str:
    return text.replace("%", "%25").replace("&", "%26") if "%" in text or "&" in text else text
