"""Medians, targets and ratios."""

import pytest
from bench.figures import Figures, Row, find, median_of, quantile
from bench.targets import TARGETS, Verdict, judge, nginx_ratio
from hypothesis import given
from hypothesis import strategies as st


def _row(scenario: str, connections: int, **figures: float) -> Row:
    return Row(scenario, connections, 3, Figures(**figures))  # type: ignore[arg-type]


def test_each_figure_is_the_median_of_the_runs_that_have_it() -> None:
    runs = [Figures(rps=10, p50_ms=1), Figures(rps=30), Figures(rps=20, p50_ms=3)]
    merged = median_of(runs)
    assert (merged.rps, merged.p50_ms, merged.p99_ms) == (20, 2, None)


def test_errors_are_added_up_and_the_worst_disturbance_counts() -> None:
    merged = median_of([Figures(errors=0, others_share=0.5), Figures(errors=2), Figures(errors=1)])
    assert (merged.errors, merged.others_share) == (3, 0.5)


@given(st.lists(st.floats(0, 1e6), min_size=1), st.floats(0, 1))
def test_a_quantile_is_one_of_the_values_and_grows_with_its_share(values: list[float], share: float) -> None:
    found = quantile(values, share)
    assert found in values
    assert min(values) <= found <= quantile(values, 1.0) == max(values)


def test_cpu_of_server_and_postgresql_is_one_figure() -> None:
    assert Figures(server_s=0.2, postgres_s=0.1).cpu_s == pytest.approx(0.3)
    assert Figures(rps=1).cpu_s is None


def test_a_limit_is_kept_when_it_is_met_exactly_and_a_floor_likewise() -> None:
    ceiling, floor = TARGETS[0], next(target for target in TARGETS if target.is_floor)
    assert Verdict(ceiling, ceiling.limit).is_kept
    assert not Verdict(ceiling, ceiling.limit + 0.01).is_kept
    assert Verdict(floor, floor.limit).is_kept
    assert not Verdict(floor, floor.limit - 0.01).is_kept


def test_only_promises_that_were_measured_are_judged() -> None:
    rows = [_row("lean", 16, server_s=0.2, postgres_s=0.1, p99_ms=5)]
    verdicts = {verdict.target.name: verdict for verdict in judge(rows)}
    assert set(verdicts) == {"server + PostgreSQL CPU of a lean call, c=16", "99th percentile of a lean call, c=16"}
    assert not verdicts["server + PostgreSQL CPU of a lean call, c=16"].is_kept


def test_throughput_in_a_grown_log_is_compared_with_the_same_run_before() -> None:
    rows = [_row("lean", 16, rps=1000), _row("lean, grown", 16, rps=850)]
    (verdict,) = judge(rows)
    assert verdict.measured == pytest.approx(0.85)
    assert not verdict.is_kept


def test_the_ratio_to_nginx_takes_the_baseline_of_as_many_connections_or_of_the_most() -> None:
    rows = [_row("proxy", 1, server_s=0.04), _row("proxy", 16, server_s=0.02)]
    busy, busier = _row("lean", 16, server_s=0.2, postgres_s=0.1), _row("lean", 64, server_s=0.2)
    assert nginx_ratio(rows, busy) == pytest.approx(15)
    assert nginx_ratio(rows, busier) == pytest.approx(10)
    assert nginx_ratio([], busy) is None
    assert nginx_ratio(rows, _row("stream", 16, server_s=5)) is None


def test_a_row_is_found_by_scenario_and_connections() -> None:
    rows = [_row("lean", 1, rps=1), _row("lean", 16, rps=2)]
    assert find(rows, "lean", 16) == Figures(rps=2)
    assert find(rows, "lean", 64) is None


def test_a_row_on_the_wire_leaves_out_what_it_does_not_know() -> None:
    assert _row("start", 0, start_s=1.5).wire() == {
        "scenario": "start", "connections": 0, "runs": 3, "errors": 0, "others_share": 0.0, "start_s": 1.5,
    }  # fmt: skip
