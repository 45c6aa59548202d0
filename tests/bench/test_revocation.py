"""Goal R9, small: two real replicas, calls without pause and a stream on each, and every way to say stop."""

from bench.revocation import CALLS_BOUND_S, STREAMS_BOUND_S, Waits, percentile, rehearse

from databases import fresh_database

CHANGES = {
    "person disabled",
    "agent frozen",
    "instance frozen",
    "agent disabled",
    "tokens revoked",
    "policy changed",
    "connection revoked",
}


def test_whatever_stops_an_agent_stops_it_on_every_replica_with_its_streams(worker_id: str) -> None:
    """The full size: python -m bench.revocation. How soon is measured there; here all must come."""
    with fresh_database(f"revocation_{worker_id}") as made:
        told = rehearse(made.app_dsn, made.admin_dsn, rounds=1)
    print(told)
    assert set(told["changes"]) == CHANGES
    for figures in told["changes"].values():
        assert figures["calls"]["samples"] == figures["streams"]["samples"] == 2


def test_a_goal_is_missed_by_one_late_percentile_or_one_late_stream() -> None:
    assert Waits([0.2] * 99 + [CALLS_BOUND_S + 1], [STREAMS_BOUND_S]).is_good
    assert not Waits([0.2] * 98 + [CALLS_BOUND_S + 1] * 2).is_good
    assert not Waits([0.2], [STREAMS_BOUND_S + 0.1]).is_good


def test_a_percentile_is_a_value_that_was_seen() -> None:
    assert percentile([3.0, 1.0, 2.0], 50) == 2.0
    assert percentile([5.0], 99) == 5.0
    assert percentile([float(number) for number in range(1, 201)], 99) == 198.0
