"""Putting the parts together: what may never be called whatever the operator lifts."""

from ipaddress import ip_address

from agenthifive.assembly import own_addresses
from agenthifive.broker.address import Guard

ANSWERS = {
    "db.corp": ["10.0.0.5", "10.0.0.6"],
    "localhost": ["127.0.0.1", "::1"],
    "10.9.9.9": ["10.9.9.9"],
    "fd00::5": ["fd00::5"],
}


def ask(host: str, port: int) -> list[str]:
    if host not in ANSWERS:
        raise OSError("no such name")
    return ANSWERS[host]


def test_our_listener_and_the_databases_are_refused_by_every_address_their_names_lead_to() -> None:
    endpoints = [("localhost", 4000), ("db.corp", 5432), ("10.9.9.9", 5433), ("fd00::5", 5434), ("gone.corp", 5432)]
    own = own_addresses(endpoints, ask)
    assert own == {(ip_address(address), port) for host, port in endpoints for address in ANSWERS.get(host, [])}
    guard = Guard(allow_private=True, own_endpoints=own)
    for address, port in own:
        refused = guard.check_answers("x.test", port, [address])
        assert refused is not None, (address, port)
        assert refused.reason == "self_address"
        assert guard.check_answers("x.test", 8443, [address]) is None
