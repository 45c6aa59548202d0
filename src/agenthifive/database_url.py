"""What a database connection string says about safety: where it leads, how it is encrypted, how it is guarded.

libpq itself reads the string, so nothing here can disagree with the driver. Its error text may quote the password
and is never passed on. Source: contract/operations.md section 3.1.
"""

import ipaddress
import re
from dataclasses import dataclass
from typing import Final

import psycopg
from psycopg.conninfo import conninfo_to_dict

from agenthifive.settings_values import is_loopback_host

STRONG_PASSWORD_CHARACTERS: Final = 16

_DEFAULT_PORT: Final = 5432
_UNKNOWN_HOST: Final = "service file"
_KNOWN_PASSWORDS: Final = frozenset({"dev-password", "postgres", "password", "agenthifive", ""})
_EMPTY_URI_PASSWORD: Final = re.compile(r"postgres(?:ql)?://[^/?#@]*:@")
_ENCRYPTED: Final = frozenset({"require", "verify-ca", "verify-full"})


@dataclass(frozen=True, slots=True)
class DatabaseUrl:
    """The facts of one connection string.

    Shapes:
        remote_hosts: every name or address libpq may connect to outside this machine.
        sslmode: as written; libpq's default when absent. has_known_password: empty, an example, or the user's name.
        password_characters: 0 when the string holds none, as with a client certificate or a password file.
    """

    remote_hosts: tuple[str, ...]
    sslmode: str
    has_known_password: bool
    password_characters: int

    @property
    def is_encrypted(self) -> bool:
        """Whether nothing of it crosses a network in clear."""
        return not self.remote_hosts or self.sslmode in _ENCRYPTED

    @property
    def is_authenticated(self) -> bool:
        """Whether the far end has to prove its name."""
        return not self.remote_hosts or self.sslmode == "verify-full"

    @property
    def names_public_address(self) -> bool:
        """Whether a host is written as an address of the public internet; names are not resolved here."""
        return any(_is_public(host) for host in self.remote_hosts)

    @property
    def has_short_password(self) -> bool:
        """Whether there is a password and it could be guessed."""
        return 0 < self.password_characters < STRONG_PASSWORD_CHARACTERS


def read_database_url(text: str) -> DatabaseUrl | None:
    """The facts of a libpq URI or keyword string; None when libpq cannot read it."""
    try:
        parts = {key: str(value) for key, value in conninfo_to_dict(text).items()}
    except psycopg.ProgrammingError:
        return None
    password = parts.get("password")
    return DatabaseUrl(
        remote_hosts=tuple(host for host in _dialled_hosts(parts) if not _is_local(host)),
        sslmode=parts.get("sslmode", "prefer"),
        has_known_password=(
            _EMPTY_URI_PASSWORD.match(text) is not None
            if password is None
            else password.lower() in _KNOWN_PASSWORDS or password == parts.get("user")
        ),
        password_characters=len(password or ""),
    )


def database_endpoints(text: str) -> tuple[tuple[str, int], ...]:
    """Host and port of every database that libpq may connect to over a network, this machine included."""
    parts = {key: str(value) for key, value in conninfo_to_dict(text).items()}
    hosts = _dialled_hosts(parts)
    ports = parts.get("port", "").split(",")
    ports = ports * len(hosts) if len(ports) == 1 else ports
    return tuple(
        (host, int(port) if port.strip().isdigit() else _DEFAULT_PORT)
        for host, port in zip(hosts, ports, strict=False)
        if host not in ("", _UNKNOWN_HOST) and host[0] not in "/@"
    )


def _dialled_hosts(parts: dict[str, str]) -> tuple[str, ...]:
    """For each entry of the lists the address if one is given, else the host; a service file could name any."""
    if "service" in parts and not parts.get("host") and not parts.get("hostaddr"):
        return (_UNKNOWN_HOST,)
    hosts, addresses = parts.get("host", "").split(","), parts.get("hostaddr", "").split(",")
    width = max(len(hosts), len(addresses))
    hosts += [""] * (width - len(hosts))
    addresses += [""] * (width - len(addresses))
    return tuple(address or host for host, address in zip(hosts, addresses, strict=True))


def _is_local(host: str) -> bool:
    return host == "" or host[0] in "/@" or is_loopback_host(host.lower())


def _is_public(host: str) -> bool:
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return False
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return (mapped or address).is_global
