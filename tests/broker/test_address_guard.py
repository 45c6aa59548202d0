"""The guard: what the operator's settings lift, for which name, and what nothing lifts.

Source: contract/broker.md sections 8.1, 8.3 and 19 (cases 21, 24 and 25).
"""

from ipaddress import IPv4Address, ip_address, ip_network

import pytest

from agenthifive.broker.address import (
    AddressClass,
    AllowedHost,
    Guard,
    Refusal,
    parse_allow_private,
    parse_allowlist,
)

# fmt: off
BAD_ENTRIES = [
    "git.corp=banana", "git.corp=", "git.corp:", "git.corp:0", "git.corp:65536", "git.corp:0443", "git.corp:x",
    "*.corp", ".corp", "git.corp.", "git corp", "https://git.corp", "git.corp/x", "u@git.corp", "::1", "[::1",
    "[git.corp]", "[fe80::1%25x]", "127.1", "=10.0.0.0/8", "git.corp=10.0.0.1/8", "git.corp=10.0.0.0/33",
    "git.corp=10.0.0.0/255.0.0.0", "git.corp=10.0.0.0/8|", "git.corp==10.0.0.0/8", "git.corp=10.0.0.0/8;x",
    "git.corp= 10.0.0.0/8", "gít.corp",
]
LOCAL_NAMES = ["localhost", "LOCALHOST", "localhost.", "x.localhost", "printer.local", "a.b.local"]
METADATA_NAMES = ["metadata", "metadata.google.internal", "Metadata.Google.Internal."]
# fmt: on


class TestAllowPrivate:
    OWN = frozenset({(ip_address("127.0.0.1"), 4000), (ip_address("10.0.0.9"), 5432), (ip_address("203.0.114.7"), 443)})

    @pytest.mark.parametrize("address", ["10.0.0.1", "127.0.0.1", "fd00::1", "100.64.0.1", "::1", "8.8.8.8"])
    def test_lifts_the_four_private_classes(self, address):
        assert Guard(allow_private=True, own_endpoints=self.OWN).check_answers("x.test", 443, [address]) is None

    @pytest.mark.parametrize(
        ("address", "port", "reason"),
        [
            ("169.254.169.254", 443, "metadata"),
            ("100.100.100.200", 443, "metadata"),
            ("168.63.129.16", 443, "metadata"),
            ("fd00:ec2::254", 443, "metadata"),
            ("169.254.0.1", 443, "link_local"),
            ("224.0.0.1", 443, "multicast"),
            ("::ffff:10.0.0.1", 443, "v4_mapped"),
            ("0.0.0.0", 4000, "this_network"),
            ("127.0.0.1", 4000, "self_address"),
            ("10.0.0.9", 5432, "self_address"),
            ("203.0.114.7", 443, "self_address"),
            ("nonsense", 443, "not_global_unicast"),
        ],
    )
    def test_never_lifts_the_rest(self, address, port, reason):
        guard = Guard(allow_private=True, own_endpoints=self.OWN)
        assert guard.check_answers("x.test", port, [address]) == Refusal(AddressClass(reason), address)

    def test_metadata_stays_metadata_on_our_own_port(self):
        metadata = ip_address("169.254.169.254")
        guard = Guard(own_endpoints=frozenset({(metadata, 80)}))
        assert guard.check_answers("x.test", 80, [metadata]) == Refusal(AddressClass.METADATA, str(metadata))

    @pytest.mark.parametrize("wildcard", ["0.0.0.0", "::"])
    @pytest.mark.parametrize("address", ["127.0.0.1", "127.9.9.9", "::1"])
    def test_a_wildcard_listener_is_every_loopback_address(self, wildcard, address):
        guard = Guard(allow_private=True, own_endpoints=frozenset({(ip_address(wildcard), 4000)}))
        refusal = guard.check_answers("x.test", 4000, [address])
        assert refusal == Refusal(AddressClass.SELF_ADDRESS, address)
        assert guard.check_answers("x.test", 4001, [address]) is None
        assert guard.check_answers("x.test", 4000, ["10.0.0.1"]) is None

    @pytest.mark.parametrize(
        ("text", "meaning"),
        [
            *((word, True) for word in ("true", "TRUE", " 1 ", "Yes", "on")),
            *((word, False) for word in ("false", "0", "no", "OFF", "")),
            *((word, None) for word in ("maybe", "2", "truee", "enabled")),
        ],
    )
    def test_the_switch_is_on_for_four_words_only(self, text, meaning):
        assert parse_allow_private(text) is meaning

    @pytest.mark.parametrize("address", ["10.0.0.1", "127.0.0.1", "fd00::1", "100.64.0.1"])
    def test_nothing_is_lifted_by_default(self, address):
        assert Guard().check_answers("x.test", 443, [address]) is not None


class TestAllowlist:
    GUARD = Guard(allowlist=parse_allowlist("git.corp:8443=10.20.0.0/16|fd00:20::/32, Wiki.Corp ,[fd00::7]:80"))

    @pytest.mark.parametrize(
        ("host", "port", "address", "reason"),
        [
            ("git.corp", 8443, "10.20.3.4", None),
            ("git.corp", 8443, "fd00:20::1", None),
            ("git.corp", 443, "10.20.3.4", "private"),
            ("git.corp", 8443, "10.21.0.1", "private"),
            ("git.corp", 8443, "fd00:21::1", "unique_local"),
            ("git.corp", 8443, "8.8.8.8", None),
            ("git.corp", 8443, "169.254.169.254", "metadata"),
            ("git.corp", 8443, "::ffff:10.20.3.4", "v4_mapped"),
            ("x.git.corp", 8443, "10.20.3.4", "private"),
            ("git.corp.test", 8443, "10.20.3.4", "private"),
            ("wiki.corp", 1, "10.0.0.1", None),
            ("wiki.corp", 65535, "127.0.0.1", None),
            ("wiki.corp", 443, "169.254.1.1", "link_local"),
            ("fd00::7", 80, "fd00::7", None),
            ("fd00::7", 81, "fd00::7", "unique_local"),
        ],
    )
    def test_lifts_for_exactly_that_name_port_and_network(self, host, port, address, reason):
        refusal = self.GUARD.check_answers(host, port, [address])
        assert refusal == (None if reason is None else Refusal(AddressClass(reason), address))

    def test_names_that_may_be_called_with_http(self):
        assert self.GUARD.http_hosts == {"git.corp", "wiki.corp", "fd00::7"}

    def test_entries_without_networks_can_be_told_apart_for_the_warning(self):
        assert [entry.host for entry in self.GUARD.allowlist if not entry.networks] == [
            "wiki.corp",
            "fd00::7",
        ]

    @pytest.mark.parametrize(
        ("text", "entries"),
        [
            ("", ()),
            (" , ", ()),
            ("a_b.corp", (AllowedHost("a_b.corp", None, ()),)),
            ("10.0.0.5:443", (AllowedHost("10.0.0.5", 443, ()),)),
            ("a.corp=10.0.0.5", (AllowedHost("a.corp", None, (ip_network("10.0.0.5/32"),)),)),
        ],
    )
    def test_well_formed_text(self, text, entries):
        assert parse_allowlist(text) == entries

    @pytest.mark.parametrize("entry", BAD_ENTRIES)
    def test_a_malformed_entry_stops_the_start_and_is_named(self, entry):
        with pytest.raises(ValueError, match="SSRF_ALLOWLIST_HOSTS") as caught:
            parse_allowlist(f"ok.corp,{entry}")
        assert repr(entry) in str(caught.value)


class TestAnswers:
    @pytest.mark.parametrize(
        ("answers", "reason"),
        [
            (["93.184.216.34", "10.0.0.5"], "private"),
            (["93.184.216.34", "fd00::1"], "unique_local"),
            (["10.0.0.5", "93.184.216.34"], "private"),
            (["::ffff:169.254.169.254"], "v4_mapped"),
            (["64:ff9b::a9fe:a9fe"], "nat64"),
            (["2002:7f00:1::1"], "sixto4"),
            (["168.63.129.16"], "metadata"),
            (["93.184.216.34", "2606:4700::1"], None),
        ],
    )
    def test_one_refused_answer_refuses_them_all(self, answers, reason):
        refusal = Guard().check_answers("x.test", 443, answers)
        assert (refusal and refusal.reason) == reason

    def test_the_refused_address_is_kept_for_the_audit(self):
        assert Guard().check_answers("x.test", 443, ["8.8.8.8", IPv4Address("10.0.0.5")]) == Refusal(
            AddressClass.PRIVATE, "10.0.0.5"
        )


class TestNames:
    @pytest.mark.parametrize("host", LOCAL_NAMES + METADATA_NAMES)
    def test_local_names_are_refused_before_any_question(self, host):
        assert Guard(allow_private=True).check_name(host, 443) == Refusal(AddressClass.LOCAL_NAME)

    def test_local_names_can_be_listed_one_by_one(self):
        guard = Guard(allowlist=parse_allowlist("localhost:8080,printer.local,metadata,metadata.google.internal"))
        assert guard.check_name("localhost", 8080) is None
        assert guard.check_name("localhost", 8081) is not None
        assert guard.check_name("printer.local", 631) is None
        assert guard.check_name("x.printer.local", 631) is not None
        for host in METADATA_NAMES:
            assert guard.check_name(host, 80) is not None

    @pytest.mark.parametrize("host", ["api.example.com", "local", "localhost.test", "notlocalhost", "10.0.0.1", "::1"])
    def test_other_names_pass_to_the_resolver(self, host):
        assert Guard().check_name(host, 443) is None
