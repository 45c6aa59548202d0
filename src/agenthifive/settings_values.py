"""From text to values: one strict reading for each kind of setting, and what a setting says about itself.

    text --read_*--> value, or ValueError("what is wrong")        bounds and choices: pydantic, from `knob(...)`

The words of a ValueError become the middle of a refusal line, so they never quote the text itself: an operator
may have pasted a secret into the wrong variable. Source: contract/operations.md sections 0 and 13.
"""

import ipaddress
import os
import re
import ssl
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, Final

from pydantic import BeforeValidator, Field, SecretStr
from pydantic.config import JsonDict

Network = ipaddress.IPv4Network | ipaddress.IPv6Network

MAX_RING_KEYS: Final = 8
MIN_SECRET_CHARACTERS: Final = 32
MIN_METRICS_TOKEN_CHARACTERS: Final = 24
MIN_PASSPHRASE_CHARACTERS: Final = 14
NEW_SECRET: Final = "generate one with: openssl rand -hex 32"
KEY_MODES: Final = ("env", "azure-kv", "aws-kms", "gcp-kms", "vault-transit")

_TRUE: Final = frozenset({"true", "1", "yes", "on"})
_FALSE: Final = frozenset({"false", "0", "no", "off", ""})
_WHOLE: Final = re.compile(r"-?(?:0|[1-9][0-9]{0,14})")
_NUMBER: Final = re.compile(r"-?(?:0|[1-9][0-9]{0,14})(?:\.[0-9]{1,9})?")
_KEY: Final = re.compile(r"[0-9A-Fa-f]{64}")
_ORIGIN: Final = re.compile(
    r"(?P<scheme>https?)://(?P<host>\[[0-9a-f:.]+\]|[a-z0-9](?:[a-z0-9.-]*[a-z0-9])?)(?::(?P<port>[1-9][0-9]{0,4}))?"
)
_URL: Final = re.compile(r"(?P<origin>https?://[^/?#]+)/[A-Za-z0-9._~!$&'()*+,;=:@%/-]*(?:\?[A-Za-z0-9._~=&%/-]*)?")
_LABEL: Final = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?")
_NUMERIC_LABEL: Final = re.compile(r"[0-9]+|0x[0-9a-f]*")
_DEFAULT_PORTS: Final = {"http": "80", "https": "443"}
_LOOPBACK_TWINS: Final = {"localhost": "127.0.0.1", "127.0.0.1": "localhost"}
_NOTHING: Final = (None, ..., (), "")
_DSN_KEYWORDS: Final = re.compile(r"\s*[a-z_]+\s*=")


def knob(
    default: object,
    meaning: str,
    *,
    low: float | None = None,
    high: float | None = None,
    bounds: str = "",
    shown: str | None = None,
    example: str = "",
    production: str = "",
    check: str = "",
    secret: bool = False,
) -> Any:
    """Declare a setting: its default, its meaning, and the words its refusal and its reference row need.

    Shapes:
        default: a value; `...` when loading always supplies one; a function of the settings above it otherwise.
        bounds: what is expected, in words; made from low and high when both are left out of it.
        shown: the default as the reference prints it, when the value does not say it.
        example: the last part of a refusal line; `NAME=default` when empty.
        check: the doctor id a refusal of this value carries. production: what the reference says instead of it.
        secret: masked everywhere; its type is SecretStr.
    """
    extra: JsonDict = {
        "bounds": bounds or _range_in_words(low, high),
        "shown": _default_in_words(default) if shown is None else shown,
        "example": example,
        "production": production or check,
        "check": check,
        "secret": secret,
        "literal": shown is None and not callable(default) and default not in _NOTHING,
    }
    if callable(default):
        return Field(default_factory=default, ge=low, le=high, description=meaning, json_schema_extra=extra)
    return Field(default, ge=low, le=high, description=meaning, json_schema_extra=extra)


def is_loopback_host(host: str) -> bool:
    """Whether a host, as an origin or a DSN spells it, is this machine: localhost, 127.0.0.0/8 or ::1."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def origin_host(origin: str) -> str:
    """The host of an origin this module has read, an IPv6 address without its brackets."""
    match = _ORIGIN.fullmatch(origin)
    return match["host"].strip("[]") if match else ""


def loopback_twin(origin: str) -> str | None:
    """The same origin with `localhost` for `127.0.0.1` or the reverse; None for any other host.

    Source: contract/agents.md section 6.1 (accepted audiences).
    """
    twin = _LOOPBACK_TWINS.get(origin_host(origin))
    return None if twin is None else origin.replace(origin_host(origin), twin, 1)


def is_unknown_flag(text: str) -> bool:
    """Whether a word is neither of the true nor of the false words."""
    return text.lower() not in _TRUE and text.lower() not in _FALSE


def read_origin(text: str) -> str:
    """A bare origin: scheme, lower-case host, optional port; nothing that could be spelled a second way.

    Source: contract/operations.md section 6 (redirect URIs are built from it byte for byte).
    """
    match = _ORIGIN.fullmatch(text)
    if match is None:
        raise ValueError(_what_spoils_an_origin(text))
    scheme, host, port = match["scheme"], match["host"], match["port"]
    if port is not None and (int(port) > 65535 or port == _DEFAULT_PORTS[scheme]):
        raise ValueError("names the default port" if port == _DEFAULT_PORTS[scheme] else "port above 65535")
    if host.startswith("["):
        _require_canonical(host[1:-1])
    elif _NUMERIC_LABEL.fullmatch(host.rpartition(".")[2]):
        _require_canonical(host)
    elif len(host) > 253 or not all(_LABEL.fullmatch(label) for label in host.split(".")):
        raise ValueError("the host is not a name")
    return text


def read_jwks_url(text: str) -> str:
    """An http or https URL that can be written one way only: a bare origin, a path, perhaps a query.

    Source: contract/http.md section 13 "WEB_JWKS_URL" (no user information).
    """
    match = _URL.fullmatch(text)
    if match is None:
        raise ValueError("not a URL of an origin and a path")
    read_origin(match["origin"])
    return text


def read_encryption_keys(text: str) -> SecretStr:
    """A comma list of keys of 64 hexadecimal characters, joined again without blanks.

    Source: contract/operations.md section 1.3.
    """
    keys = split_list(text)
    if not keys:
        raise ValueError("holds no key")
    for position, key in enumerate(keys, 1):
        if not _KEY.fullmatch(key):
            found = f"{len(key)} characters" + ("" if len(key) != 64 else ", not all hexadecimal")
            raise ValueError(found if len(keys) == 1 else f"key {position} of the list has {found}")
    if len({key.lower() for key in keys}) > MAX_RING_KEYS:
        raise ValueError(f"{len(keys)} keys, more than {MAX_RING_KEYS}")
    return SecretStr(",".join(keys))


def ring_keys(*lists: SecretStr | None) -> tuple[str, ...]:
    """The distinct keys of the given lists, lower case, in order."""
    keys = (key.lower() for part in lists if part for key in split_list(part.get_secret_value()))
    return tuple(dict.fromkeys(keys))


def split_list(text: str) -> tuple[str, ...]:
    """The entries of a comma list, blanks around them removed; an empty entry counts for nothing."""
    return tuple(entry for entry in (part.strip(" ") for part in text.split(",")) if entry)


def _read_whole(text: str) -> int:
    if not _WHOLE.fullmatch(text):
        raise ValueError("not a whole number")
    return int(text)


def _read_number(text: str) -> float:
    if not _NUMBER.fullmatch(text):
        raise ValueError("not a number")
    return float(text)


def _read_flag(text: str) -> bool:
    if is_unknown_flag(text):
        raise ValueError("neither true nor false")
    return text.lower() in _TRUE


def _read_cautious_flag(text: str) -> bool:
    return text.lower() in _TRUE


def _read_address(text: str) -> str:
    _require_canonical(text)
    return text


def _read_networks(text: str) -> tuple[Network, ...]:
    networks = []
    for position, entry in enumerate(split_list(text), 1):
        try:
            networks.append(ipaddress.ip_network(entry))
        except ValueError:
            raise ValueError(f"entry {position} is not a network (or has bits set beyond its mask)") from None
    return tuple(networks)


def _read_origins(text: str) -> tuple[str, ...]:
    for position, entry in enumerate(split_list(text), 1):
        try:
            read_origin(entry)
        except ValueError as problem:
            raise ValueError(f"entry {position}: {problem}") from None
    return split_list(text)


def _read_dsn(text: str) -> SecretStr:
    scheme, separator, _ = text.partition("://")
    if separator and scheme in {"postgresql", "postgres"}:
        return SecretStr(text)
    if separator and scheme.startswith(("postgresql+", "postgres+")):
        raise ValueError("names a driver (postgresql+…)")
    if not _DSN_KEYWORDS.match(text):
        raise ValueError("not a PostgreSQL connection string")
    return SecretStr(text)


def _read_long_secret(minimum: int) -> Callable[[str], SecretStr]:
    def read(text: str) -> SecretStr:
        if len(text) < minimum:
            raise ValueError(f"{len(text)} characters")
        return SecretStr(text)

    return read


def _read_key_mode(text: str) -> str:
    if text not in KEY_MODES:
        raise ValueError("unknown mode")
    return text


def _read_directory(text: str) -> Path:
    if not os.path.isdir(text):
        raise ValueError("not a directory that can be read")
    return Path(text)


def _read_home(text: str) -> Path:
    if os.path.lexists(text) and not os.path.isdir(text):
        raise ValueError("not a directory")
    return Path(text)


def _read_certificates(text: str) -> Path:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    try:
        context.load_verify_locations(cafile=text)
    except ssl.SSLError:
        raise ValueError("holds no readable certificate") from None
    except OSError as problem:
        raise ValueError(f"cannot be read ({problem.strerror})") from None
    if not context.cert_store_stats()["x509"]:
        raise ValueError("holds no certificate")
    return Path(text)


def _require_canonical(address: str) -> None:
    try:
        canonical = str(ipaddress.ip_address(address))
    except ValueError:
        raise ValueError("not an IP address") from None
    if canonical != address or "%" in address:
        raise ValueError("an IP address in an unusual spelling")


def _what_spoils_an_origin(text: str) -> str:
    scheme, separator, rest = text.partition("://")
    if not separator or scheme.lower() not in _DEFAULT_PORTS:
        return "does not begin with http:// or https://"
    if "@" in rest:
        return "holds user information"
    if rest.endswith("/") and rest.count("/") == 1:
        return "has a trailing slash"
    if "?" in rest or "#" in rest:
        return "has a query or fragment"
    if "/" in rest:
        return "has a path"
    return "has upper-case letters" if text != text.lower() else "the host or port is malformed"


def _from_text(read: Callable[[str], object], *kinds: type) -> Callable[[object], object]:
    """`read` for text, wrapped or not; values of the given kinds pass, for Settings built without text."""

    def accept(value: object) -> object:
        if isinstance(value, SecretStr):
            value = value.get_secret_value()
        elif isinstance(value, Path):
            value = str(value)
        if isinstance(value, str):
            return read(value)
        if not isinstance(value, kinds):
            raise ValueError("not text")  # pydantic collects ValueError, not TypeError
        return value

    return accept


def _range_in_words(low: float | None, high: float | None) -> str:
    if low is None:
        return "text"
    return f"{low} or more" if high is None else f"{low}–{high}"


def _default_in_words(default: object) -> str:
    if isinstance(default, bool):
        return "true" if default else "false"
    if isinstance(default, float):
        return f"{default:g}"
    if default in _NOTHING:
        return "empty" if default in {(), ""} else "–"
    return str(default)


Text = Annotated[str, BeforeValidator(_from_text(str.strip))]
Whole = Annotated[int, BeforeValidator(_from_text(_read_whole, int))]
Number = Annotated[float, BeforeValidator(_from_text(_read_number, int, float))]
Flag = Annotated[bool, BeforeValidator(_from_text(_read_flag, bool))]
CautiousFlag = Annotated[bool, BeforeValidator(_from_text(_read_cautious_flag, bool))]
Origin = Annotated[str, BeforeValidator(_from_text(read_origin))]
JwksUrl = Annotated[str, BeforeValidator(_from_text(read_jwks_url))]
Origins = Annotated[tuple[str, ...], BeforeValidator(_from_text(_read_origins, tuple))]
Words = Annotated[tuple[str, ...], BeforeValidator(_from_text(split_list, tuple))]
Networks = Annotated[tuple[Network, ...], BeforeValidator(_from_text(_read_networks, tuple))]
Address = Annotated[str, BeforeValidator(_from_text(_read_address))]
Dsn = Annotated[SecretStr, BeforeValidator(_from_text(_read_dsn))]
Keys = Annotated[SecretStr, BeforeValidator(_from_text(read_encryption_keys))]
KeyMode = Annotated[str, BeforeValidator(_from_text(_read_key_mode))]
SessionSecret = Annotated[SecretStr, BeforeValidator(_from_text(_read_long_secret(MIN_SECRET_CHARACTERS)))]
MetricsToken = Annotated[SecretStr, BeforeValidator(_from_text(_read_long_secret(MIN_METRICS_TOKEN_CHARACTERS)))]
Passphrase = Annotated[SecretStr, BeforeValidator(_from_text(_read_long_secret(MIN_PASSPHRASE_CHARACTERS)))]
SecretText = Annotated[SecretStr, BeforeValidator(_from_text(_read_long_secret(1)))]
Home = Annotated[Path, BeforeValidator(_from_text(_read_home))]
Directory = Annotated[Path, BeforeValidator(_from_text(_read_directory))]
Certificates = Annotated[Path, BeforeValidator(_from_text(_read_certificates))]
