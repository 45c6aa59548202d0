"""Which addresses a call may reach. A pure table with its sources; no socket is opened here.

    host name -> check_name -> (the dialler resolves once) -> check_answers -> (it dials an answer of that set)
                                                                    |
                                       classify each: table row -> liftable? -> lifted by a setting?

Deny unless public unicast. Rows are tested from the top; the first one names the reason.
Source: contract/broker.md sections 8.1 to 8.3.
"""

import re
from bisect import bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Final, NamedTuple, TypeAlias

from agenthifive.broker.host import read_host, read_port

IPAddress: TypeAlias = IPv4Address | IPv6Address
IPNetwork: TypeAlias = IPv4Network | IPv6Network


class AddressClass(StrEnum):
    """Why an address or a name is refused: the `detail` of egress_blocked."""

    METADATA = "metadata"
    SELF_ADDRESS = "self_address"
    LOCAL_NAME = "local_name"
    THIS_NETWORK = "this_network"
    PRIVATE = "private"
    CGNAT = "cgnat"
    LOOPBACK = "loopback"
    LINK_LOCAL = "link_local"
    IETF_PROTOCOL = "ietf_protocol"
    DOCUMENTATION = "documentation"
    RELAY_ANYCAST = "relay_anycast"
    BENCHMARKING = "benchmarking"
    MULTICAST = "multicast"
    BROADCAST = "broadcast"
    RESERVED = "reserved"
    ZONE_ID = "zone_id"
    UNSPECIFIED = "unspecified"
    V4_MAPPED = "v4_mapped"
    V4_COMPATIBLE = "v4_compatible"
    V4_TRANSLATED = "v4_translated"
    NAT64 = "nat64"
    NAT64_LOCAL = "nat64_local"
    DISCARD = "discard"
    TEREDO = "teredo"
    ORCHID = "orchid"
    SIXTO4 = "sixto4"
    SRV6 = "srv6"
    UNIQUE_LOCAL = "unique_local"
    SITE_LOCAL = "site_local"
    ISATAP = "isatap"
    NOT_GLOBAL_UNICAST = "not_global_unicast"


_LIFTABLE: Final = frozenset(
    {AddressClass.PRIVATE, AddressClass.CGNAT, AddressClass.LOOPBACK, AddressClass.UNIQUE_LOCAL}
)


def liftable(reason: AddressClass) -> bool:
    """Whether an operator's setting may permit addresses refused for this reason."""
    return reason in _LIFTABLE


class Row(NamedTuple):
    """One block of the table; `reason` is None for space that may be called."""

    block: str
    reason: AddressClass | None
    source: str


_C: Final = AddressClass

V4_ROWS: Final = (
    Row("169.254.169.254/32", _C.METADATA, "cloud instance metadata"),
    Row("169.254.170.2/32", _C.METADATA, "AWS container credentials"),
    Row("169.254.170.23/32", _C.METADATA, "AWS EKS pod identity"),
    Row("169.254.169.253/32", _C.METADATA, "AWS resolver"),
    Row("169.254.169.123/32", _C.METADATA, "AWS time"),
    Row("168.63.129.16/32", _C.METADATA, "Azure platform channel, in public space"),
    Row("100.100.100.200/32", _C.METADATA, "Alibaba metadata"),
    Row("192.0.0.192/32", _C.METADATA, "Oracle metadata"),
    Row("0.0.0.0/8", _C.THIS_NETWORK, "RFC 791, RFC 1122"),
    Row("10.0.0.0/8", _C.PRIVATE, "RFC 1918"),
    Row("172.16.0.0/12", _C.PRIVATE, "RFC 1918"),
    Row("192.168.0.0/16", _C.PRIVATE, "RFC 1918"),
    Row("100.64.0.0/10", _C.CGNAT, "RFC 6598"),
    Row("127.0.0.0/8", _C.LOOPBACK, "RFC 1122"),
    Row("169.254.0.0/16", _C.LINK_LOCAL, "RFC 3927"),
    Row("192.0.0.0/24", _C.IETF_PROTOCOL, "RFC 6890"),
    Row("192.0.2.0/24", _C.DOCUMENTATION, "RFC 5737"),
    Row("198.51.100.0/24", _C.DOCUMENTATION, "RFC 5737"),
    Row("203.0.113.0/24", _C.DOCUMENTATION, "RFC 5737"),
    Row("192.88.99.0/24", _C.RELAY_ANYCAST, "RFC 3068, deprecated by RFC 7526"),
    Row("198.18.0.0/15", _C.BENCHMARKING, "RFC 2544"),
    Row("224.0.0.0/4", _C.MULTICAST, "RFC 5771"),
    Row("255.255.255.255/32", _C.BROADCAST, "RFC 919, RFC 8190"),
    Row("240.0.0.0/4", _C.RESERVED, "RFC 1112"),
)

V6_ROWS: Final = (
    Row("fd00:ec2::254/128", _C.METADATA, "AWS metadata"),
    Row("fd00:ec2::23/128", _C.METADATA, "AWS EKS pod identity"),
    Row("fd00:ec2::253/128", _C.METADATA, "AWS resolver"),
    Row("fd20:ce::254/128", _C.METADATA, "GCP metadata"),
    Row("::/128", _C.UNSPECIFIED, "RFC 4291"),
    Row("::1/128", _C.LOOPBACK, "RFC 4291"),
    Row("::ffff:0:0/96", _C.V4_MAPPED, "RFC 4291 section 2.5.5.2"),
    Row("::/96", _C.V4_COMPATIBLE, "RFC 4291 section 2.5.5.1"),
    Row("::ffff:0:0:0/96", _C.V4_TRANSLATED, "RFC 2765, RFC 7915"),
    Row("64:ff9b::/96", _C.NAT64, "RFC 6052"),
    Row("64:ff9b:1::/48", _C.NAT64_LOCAL, "RFC 8215"),
    Row("100::/64", _C.DISCARD, "RFC 6666"),
    Row("100:0:0:1::/64", _C.DISCARD, "RFC 9780"),
    Row("2001::/32", _C.TEREDO, "RFC 4380"),
    Row("2001:2::/48", _C.BENCHMARKING, "RFC 5180"),
    Row("2001:10::/28", _C.ORCHID, "RFC 4843"),
    Row("2001:20::/28", _C.ORCHID, "RFC 7343"),
    Row("2001:30::/28", _C.ORCHID, "RFC 9374"),
    Row("2001::/23", _C.IETF_PROTOCOL, "RFC 2928"),
    Row("2001:db8::/32", _C.DOCUMENTATION, "RFC 3849"),
    Row("3fff::/20", _C.DOCUMENTATION, "RFC 9637"),
    Row("2002::/16", _C.SIXTO4, "RFC 3056"),
    Row("5f00::/16", _C.SRV6, "RFC 9602"),
    Row("fc00::/7", _C.UNIQUE_LOCAL, "RFC 4193"),
    Row("fe80::/10", _C.LINK_LOCAL, "RFC 4291"),
    Row("fec0::/10", _C.SITE_LOCAL, "RFC 3879"),
    Row("ff00::/8", _C.MULTICAST, "RFC 4291"),
    Row("2000::/3", None, "IANA global unicast"),
    Row("::/0", _C.NOT_GLOBAL_UNICAST, "IANA IPv6 space"),
)

_ISATAP_INTERFACE_IDS: Final = frozenset({0x00005EFE, 0x02005EFE})  # RFC 5214 section 6.1


class _Ranges(NamedTuple):
    """The rows of one family cut into disjoint ranges: `reasons[i]` holds from `starts[i]` on."""

    starts: tuple[int, ...]
    reasons: tuple[AddressClass | None, ...]

    def find(self, value: int) -> AddressClass | None:
        return self.reasons[bisect_right(self.starts, value) - 1]


def _cut(rows: Sequence[Row]) -> _Ranges:
    blocks = []
    starts = {0}
    for row in rows:
        network = ip_network(row.block)
        first, last = int(network.network_address), int(network.broadcast_address)
        blocks.append((first, last, row.reason))
        starts |= {first, last + 1}
    ordered = tuple(sorted(starts))
    reasons = tuple(
        next((reason for first, last, reason in blocks if first <= start <= last), None) for start in ordered
    )
    return _Ranges(ordered, reasons)


_V4: Final = _cut(V4_ROWS)
_V6: Final = _cut(V6_ROWS)


def classify(address: IPAddress | str, nat64_prefixes: Sequence[IPv6Network] = ()) -> AddressClass | None:
    """Why this address may not be called, or None for public unicast.

    Text that is no address is refused as `not_global_unicast`: what cannot be read cannot be judged.

    Shapes:
        nat64_prefixes: /96 networks whose embedded IPv4 address is judged instead.
    """
    return _judge(address, nat64_prefixes)[0]


def _judge(
    address: IPAddress | str, nat64_prefixes: Sequence[IPv6Network]
) -> tuple[AddressClass | None, IPAddress | None]:
    """The reason, and the address that was judged in the end (the embedded one behind a known NAT64)."""
    if isinstance(address, str):
        try:
            address = ip_address(address)
        except ValueError:
            return AddressClass.NOT_GLOBAL_UNICAST, None
    if isinstance(address, IPv4Address):
        return _V4.find(int(address)), address
    value = int(address)
    reason = _V6.find(value)
    if reason is AddressClass.METADATA:
        return reason, address
    if address.scope_id is not None:
        return AddressClass.ZONE_ID, address
    for prefix in nat64_prefixes:
        if address in prefix:
            embedded = IPv4Address(value & 0xFFFFFFFF)
            return _V4.find(int(embedded)), embedded
    if reason in (None, AddressClass.NOT_GLOBAL_UNICAST) and value >> 32 & 0xFFFFFFFF in _ISATAP_INTERFACE_IDS:
        return AddressClass.ISATAP, address
    return reason, address


_ENTRY: Final = re.compile(r"(\[[^\]=]*\]|[^:\[\]=]+)(?::([^:=]*))?(?:=(.+))?")
_CIDR: Final = re.compile(r"[0-9A-Fa-f:.]+(?:/(?:0|[1-9][0-9]{0,2}))?")
_NAT64_SPACE: Final = frozenset({None, AddressClass.NAT64, AddressClass.NAT64_LOCAL, AddressClass.UNIQUE_LOCAL})


@dataclass(frozen=True, slots=True)
class AllowedHost:
    """One entry of SSRF_ALLOWLIST_HOSTS; without networks it lifts every liftable answer of that name."""

    host: str
    port: int | None
    networks: tuple[IPNetwork, ...]

    def covers(self, host: str, port: int) -> bool:
        """Whether the entry speaks of this name on this port."""
        return host == self.host and self.port in (None, port)

    def contains(self, address: IPAddress) -> bool:
        """Whether the entry lifts this answer."""
        return not self.networks or any(address in network for network in self.networks)


def parse_allowlist(text: str) -> tuple[AllowedHost, ...]:
    """Read SSRF_ALLOWLIST_HOSTS: a comma list of `host[:port][=cidr[|cidr…]]`, IPv6 literals in brackets.

    Raises: ValueError naming the first malformed entry.
    """
    entries = (entry.strip() for entry in text.split(","))
    return tuple(_read_entry(entry) for entry in entries if entry)


def _read_entry(entry: str) -> AllowedHost:
    try:
        form = _ENTRY.fullmatch(entry)
        if form is None:
            raise ValueError(entry)
        host, port, networks = form.groups()
        return AllowedHost(
            host=read_host(host),
            port=read_port(port) if port is not None else None,
            networks=tuple(_read_network(text) for text in networks.split("|")) if networks else (),
        )
    except ValueError:
        raise ValueError(f"SSRF_ALLOWLIST_HOSTS: cannot read {entry!r}, write host[:port][=cidr]") from None


def _read_network(text: str) -> IPNetwork:
    if not _CIDR.fullmatch(text):
        raise ValueError(text)
    return ip_network(text)


_SWITCHED_ON: Final = frozenset({"true", "1", "yes", "on"})
_SWITCHED_OFF: Final = frozenset({"false", "0", "no", "off", ""})


def parse_allow_private(text: str) -> bool | None:
    """Read SSRF_ALLOW_PRIVATE; None is a word nobody knows: off, with a warning."""
    word = text.strip().lower()
    return True if word in _SWITCHED_ON else False if word in _SWITCHED_OFF else None


def parse_nat64_prefixes(text: str) -> tuple[IPv6Network, ...]:
    """Read EGRESS_NAT64_PREFIXES: a comma list of /96 networks in space that NAT64 can use.

    Raises: ValueError naming the first malformed entry.
    """
    prefixes = []
    for entry in (item.strip() for item in text.split(",")):
        if not entry:
            continue
        try:
            prefix = IPv6Network(entry)
            if prefix.prefixlen != 96 or classify(prefix.network_address) not in _NAT64_SPACE:
                raise ValueError(entry)
        except ValueError:
            raise ValueError(f"EGRESS_NAT64_PREFIXES: cannot use {entry!r}, write an IPv6 /96") from None
        prefixes.append(prefix)
    return tuple(prefixes)


@dataclass(frozen=True, slots=True)
class Refusal:
    """The reason is for the caller; the address only for the audit row."""

    reason: AddressClass
    address: str | None = None


_METADATA_NAMES: Final = frozenset({"metadata", "metadata.google.internal"})
_LOCAL_SUFFIXES: Final = (".localhost", ".local")


@dataclass(frozen=True, slots=True)
class Guard:
    """The operator's settings, deciding about names and about resolved addresses. Pure and total.

    Shapes:
        own_endpoints: address and port of each listener of ours and of the database. A wildcard listener
        (`0.0.0.0`, `::`) covers every loopback address; its other addresses have to be listed one by one.
    """

    allow_private: bool = False
    allowlist: tuple[AllowedHost, ...] = ()
    nat64_prefixes: tuple[IPv6Network, ...] = ()
    own_endpoints: frozenset[tuple[IPAddress, int]] = frozenset()

    @property
    def http_hosts(self) -> frozenset[str]:
        """The names that may be called with http (broker/target.py)."""
        return frozenset(entry.host for entry in self.allowlist)

    def check_name(self, host: str, port: int) -> Refusal | None:
        """Judge a host name before any DNS question; literals and public names pass."""
        host = host.lower().rstrip(".")
        if host in _METADATA_NAMES:
            return Refusal(AddressClass.LOCAL_NAME)
        if host != "localhost" and not host.endswith(_LOCAL_SUFFIXES):
            return None
        if any(entry.covers(host, port) for entry in self.allowlist):
            return None
        return Refusal(AddressClass.LOCAL_NAME)

    def check_answers(self, host: str, port: int, addresses: Iterable[IPAddress | str]) -> Refusal | None:
        """Judge every answer for a host: one refused address refuses them all."""
        for address in addresses:
            reason, judged = self._judge(address, port)
            if reason is not None and not (judged and self._is_lifted(reason, host, port, judged)):
                return Refusal(reason, str(address))
        return None

    def _judge(self, address: IPAddress | str, port: int) -> tuple[AddressClass | None, IPAddress | None]:
        reason, judged = _judge(address, self.nat64_prefixes)
        if reason is not AddressClass.METADATA and judged is not None and self._is_own(judged, port, reason):
            return AddressClass.SELF_ADDRESS, judged
        return reason, judged

    def _is_own(self, address: IPAddress, port: int, reason: AddressClass | None) -> bool:
        if (address, port) in self.own_endpoints:
            return True
        return reason is AddressClass.LOOPBACK and any(
            own.is_unspecified and own_port == port for own, own_port in self.own_endpoints
        )

    def _is_lifted(self, reason: AddressClass, host: str, port: int, address: IPAddress) -> bool:
        if not liftable(reason):
            return False
        return self.allow_private or any(
            entry.covers(host, port) and entry.contains(address) for entry in self.allowlist
        )
