"""The acceptance case of operations.md section 16, small: two real replicas, calls all the time, kills at random."""

from bench.rotation import Plan, rehearse

from databases import fresh_database


def test_no_call_fails_and_no_record_is_lost_while_the_re_encrypting_process_is_killed(worker_id: str) -> None:
    """The full size: python -m bench.rotation."""
    plan = Plan(records=150, kills=2, seed=7, rows_per_s=60)
    with fresh_database(f"rotation_{worker_id}") as made:
        told = rehearse(made.app_dsn, made.admin_dsn, plan)
    print(told)
    assert told["calls"]["failed"] == {}
    assert told["calls"]["good"] > 50
    assert told["killsWhileRecordsWereLeft"] == 2
    assert told["exitOfStartWithAnotherKey"] == 6
    assert told["isGood"] is True
