"""The address table: each row, its neighbours, every way to carry an IPv4 address, and the settings.

The oracle below is a second, naive copy of the contract's table: a list of blocks tested from the top.
Source: contract/broker.md sections 8.1 to 8.3 and 19 (cases 23 to 25), contract/goals.md S1.
"""

import random
from ipaddress import IPv4Address, IPv6Address, ip_network

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agenthifive.broker.address import (
    AddressClass,
    Guard,
    Refusal,
    classify,
    liftable,
    parse_allowlist,
    parse_nat64_prefixes,
)
from agenthifive.broker.target import InvalidUrl, parse_target

TABLE = """
    169.254.169.254 169.254.170.2 169.254.170.23 169.254.169.253 169.254.169.123  metadata
    168.63.129.16 100.100.100.200 192.0.0.192                                     metadata
    fd00:ec2::254 fd00:ec2::23 fd00:ec2::253 fd20:ce::254                         metadata
    0.0.0.0/8                                                                     this_network
    10.0.0.0/8 172.16.0.0/12 192.168.0.0/16                                       private
    100.64.0.0/10                                                                 cgnat
    127.0.0.0/8                                                                   loopback
    169.254.0.0/16                                                                link_local
    192.0.0.0/24                                                                  ietf_protocol
    192.0.2.0/24 198.51.100.0/24 203.0.113.0/24                                   documentation
    192.88.99.0/24                                                                relay_anycast
    198.18.0.0/15                                                                 benchmarking
    224.0.0.0/4                                                                   multicast
    255.255.255.255                                                               broadcast
    240.0.0.0/4                                                                   reserved
    ::                                                                            unspecified
    ::1                                                                           loopback
    ::ffff:0:0/96                                                                 v4_mapped
    ::/96                                                                         v4_compatible
    ::ffff:0:0:0/96                                                               v4_translated
    64:ff9b::/96                                                                  nat64
    64:ff9b:1::/48                                                                nat64_local
    100::/64 100:0:0:1::/64                                                       discard
    2001::/32                                                                     teredo
    2001:2::/48                                                                   benchmarking
    2001:10::/28 2001:20::/28 2001:30::/28                                        orchid
    2001::/23                                                                     ietf_protocol
    2001:db8::/32 3fff::/20                                                       documentation
    2002::/16                                                                     sixto4
    5f00::/16                                                                     srv6
    fc00::/7                                                                      unique_local
    fe80::/10                                                                     link_local
    fec0::/10                                                                     site_local
    ff00::/8                                                                      multicast
    ::/3 4000::/2 8000::/1                                                        not_global_unicast
"""
ROWS = [
    (ip_network(block), reason)
    for *blocks, reason in (line.split() for line in TABLE.splitlines() if line.strip())
    for block in blocks
]
SEED = 20261123


def oracle(address):
    for block, reason in ROWS:
        if address.version == block.version and address in block:
            return reason
    return None


def members(block, count, rng):
    first, last = int(block.network_address), int(block.broadcast_address)
    make = IPv4Address if block.version == 4 else IPv6Address
    return [make(value) for value in (first, last, *(rng.randint(first, last) for _ in range(count)))]


@pytest.mark.parametrize(("block", "reason"), ROWS, ids=str)
def test_first_last_and_random_members_of_a_row_are_refused_with_its_reason(block, reason):
    rng = random.Random(SEED)
    seen = set()
    for address in members(block, 40, rng):
        expected = oracle(address)
        assert classify(address) == classify(str(address)) == expected, address
        seen.add(expected)
    assert reason in seen


# fmt: off
NEIGHBOURS = [
    "100.63.255.255", "172.32.0.0", "192.0.1.1", "198.20.0.0", "168.63.129.15", "2001:200::1", "2003::1",
    "192.31.196.1", "192.52.193.1", "192.175.48.1",  # AS112 and AMT anycast
    "1.0.0.0", "9.255.255.255", "11.0.0.0", "100.128.0.0", "126.255.255.255", "128.0.0.0", "168.63.129.17",
    "169.253.255.255", "169.255.0.0", "172.15.255.255", "191.255.255.255", "192.0.1.0", "192.0.1.255", "192.0.3.0",
    "192.88.98.255", "192.88.100.0", "192.167.255.255", "192.169.0.0", "198.17.255.255", "198.51.99.255",
    "198.51.101.0", "203.0.112.255", "203.0.114.0", "223.255.255.255", "2000::", "2003::", "3fff:1000::",
    "2001:db7:ffff:ffff:ffff:ffff:ffff:ffff", "2001:db9::", "3ffe:ffff:ffff:ffff:ffff:ffff:ffff:ffff",
]
# fmt: on


@pytest.mark.parametrize("address", NEIGHBOURS)
def test_neighbours_of_the_rows_stay_allowed(address):
    assert classify(address) is None


def carried(v4):
    """The ways of IPv6 to carry an IPv4 address, with the reason each is refused for."""
    n = int(v4)
    hi, lo = n >> 16, n & 0xFFFF
    compatible = "unspecified" if n == 0 else "loopback" if n == 1 else "v4_compatible"
    return [
        (f"::ffff:{v4}", "v4_mapped"),
        (f"::ffff:{hi:x}:{lo:x}", "v4_mapped"),
        (f"0000:0000:0000:0000:0000:FFFF:{hi:04X}:{lo:04X}", "v4_mapped"),
        (f"::{v4}", compatible),
        (f"::ffff:0:{v4}", "v4_translated"),
        (f"64:ff9b::{v4}", "nat64"),
        (f"64:ff9b:1::{hi:x}:{lo:x}", "nat64_local"),
        (f"2002:{hi:x}:{lo:x}::1", "sixto4"),
        (f"2001:0:{hi:x}:{lo:x}::{lo ^ 0xFFFF:x}:{hi ^ 0xFFFF:x}", "teredo"),
        (f"2606:4700::5efe:{v4}", "isatap"),
        (f"2606:4700::200:5efe:{v4}", "isatap"),
    ]


def test_an_embedded_ipv4_address_is_refused_as_a_class_whatever_it_is():
    rng = random.Random(SEED)
    carriers = [IPv4Address(n) for n in (0, 1, 0xFFFFFFFF, 0x08080808)]
    for block, _ in ROWS:
        if block.version == 4:
            carriers += members(block, 20, rng)
    assert len(carriers) > 500
    for v4 in carriers:
        for text, reason in carried(v4):
            assert classify(text) == reason, text


@pytest.mark.parametrize(("text", "reason"), carried(IPv4Address("169.254.169.254"))[:9])
def test_a_literal_in_a_url_is_refused_by_the_parser_or_by_the_guard(text, reason):
    try:
        host = parse_target(f"https://[{text}]/").target.host
    except InvalidUrl:
        return
    assert Guard(allow_private=True).check_answers(host, 443, [host]) == Refusal(AddressClass(reason), host)


@pytest.mark.parametrize(
    ("address", "reason"),
    [
        ("fe80::1%eth0", "zone_id"),
        ("2606:4700::1%1", "zone_id"),
        (IPv6Address("::1%lo"), "zone_id"),
        ("fd00:ec2::254%eth0", "metadata"),
        ("127.0.0.1%lo", "not_global_unicast"),
        ("010.0.0.1", "not_global_unicast"),
        ("2130706433", "not_global_unicast"),
        ("example.com", "not_global_unicast"),
        ("", "not_global_unicast"),
        ("fe80::5efe:1.2.3.4", "link_local"),
        ("4000::5efe:1.2.3.4", "isatap"),
        ("4000::1", "not_global_unicast"),
    ],
)
def test_odd_answers_are_refused(address, reason):
    assert classify(address) == reason


def test_only_four_reasons_can_be_lifted():
    assert {reason for reason in AddressClass if liftable(reason)} == {
        "private",
        "cgnat",
        "loopback",
        "unique_local",
    }


@settings(max_examples=400, deadline=None, database=None)
@given(st.ip_addresses())
def test_the_table_agrees_with_a_naive_reading_of_it(address):
    expected = oracle(address)
    is_isatap = address.packed[8:12] in (b"\x00\x00\x5e\xfe", b"\x02\x00\x5e\xfe")
    if is_isatap and expected in (None, "not_global_unicast"):
        expected = "isatap"
    assert classify(address) == expected


# fmt: off
BAD_PREFIXES = [
    "64:ff9b::/95", "64:ff9b::", "banana", "::ffff:0:0/96", "::/96", "2002::/96", "2001:db8::/96", "10.0.0.0/8",
    "64:ff9b::1/96", "fe80::/96", "2606:4700::5efe:0:0/96", "64:ff9b::/96|64:ff9b:1::/96",
]
# fmt: on


class TestNat64:
    PREFIXES = parse_nat64_prefixes("64:ff9b::/96, 2606:4700:64::/96,64:ff9b:1:2::/96,fd00:64::/96")

    @pytest.mark.parametrize("prefix", ["64:ff9b::", "2606:4700:64::", "64:ff9b:1:2::", "fd00:64::"])
    @pytest.mark.parametrize(
        ("v4", "reason"),
        [
            ("8.8.8.8", None),
            ("10.0.0.1", "private"),
            ("169.254.169.254", "metadata"),
            ("224.0.0.1", "multicast"),
        ],
    )
    def test_the_embedded_address_is_judged_by_the_ipv4_rows(self, prefix, v4, reason):
        assert classify(prefix + v4, self.PREFIXES) == reason

    def test_other_prefixes_stay_refused(self):
        assert classify("64:ff9b:1:3::8.8.8.8", self.PREFIXES) == "nat64_local"
        assert classify("64:ff9b::8.8.8.8") == "nat64"

    def test_an_operator_may_lift_what_the_embedded_address_allows(self):
        guard = Guard(nat64_prefixes=self.PREFIXES, allowlist=parse_allowlist("git.corp=10.0.0.0/8"))
        assert guard.check_answers("git.corp", 443, ["64:ff9b::10.0.0.1"]) is None
        assert guard.check_answers("x.corp", 443, ["64:ff9b::10.0.0.1"]) == Refusal(
            AddressClass.PRIVATE, "64:ff9b::10.0.0.1"
        )

    @pytest.mark.parametrize("entry", BAD_PREFIXES)
    def test_a_prefix_that_cannot_be_one_stops_the_start_and_is_named(self, entry):
        with pytest.raises(ValueError, match="EGRESS_NAT64_PREFIXES") as caught:
            parse_nat64_prefixes(f"64:ff9b::/96,{entry}")
        assert repr(entry) in str(caught.value)

    def test_unset_means_none(self):
        assert parse_nat64_prefixes("") == parse_nat64_prefixes(" , ") == ()
