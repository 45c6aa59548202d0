"""The tables as a person sees them."""

from bench.__main__ import choose, is_broken
from bench.figures import Figures, Row
from bench.report import table, verdicts
from bench.scenarios import SCENARIOS
from bench.targets import TARGETS, Verdict


def test_columns_stand_under_each_other_and_missing_figures_are_dashes() -> None:
    rows = [
        Row("proxy", 16, 3, Figures(rps=40_000.4, server_s=0.02)),
        Row("lean", 16, 3, Figures(rps=2500, p50_ms=6.345, server_s=0.15, postgres_s=0.05, rows=2.004)),
    ]
    head, proxy, lean = table(rows).splitlines()
    assert proxy.split() == ["proxy", "16", "40000", "-", "-", "0.020", "-", "1.0", "-", "-", "0"]
    assert lean.split() == ["lean", "16", "2500", "6.34", "-", "0.150", "0.050", "10.0", "-", "2.00", "0"]
    assert head.index("p50 ms") + len("p50 ms") == lean.index("6.34") + len("6.34")


def test_a_disturbed_row_is_marked_and_the_mark_explained() -> None:
    text = table([Row("lean", 1, 3, Figures(rps=1, others_share=0.2)), Row("lean", 16, 3, Figures(rps=1))])
    _, disturbed, quiet, legend = text.splitlines()
    assert disturbed.endswith("!")
    assert not quiet.endswith("!")
    assert legend.startswith("! other processes")


def test_figures_of_one_scenario_only_stand_in_the_last_column() -> None:
    assert "+2.3 MiB" in table([Row("download", 1, 1, Figures(growth_mib=2.34))])
    assert "1.20 s" in table([Row("start", 0, 1, Figures(start_s=1.2))])


def test_a_verdict_names_limit_and_figure() -> None:
    _, line = verdicts([Verdict(TARGETS[0], 0.5)]).splitlines()
    assert line.startswith(TARGETS[0].name)
    assert line.split()[-5:] == ["<=", "0.25", "s/1000", "0.5", "MISSED"]


def test_everything_but_the_grown_log_is_run_unless_asked() -> None:
    assert choose([], does_grow=False) == [name for name in SCENARIOS if name != "grown"]
    assert choose([], does_grow=True) == list(SCENARIOS)
    assert choose(["start", "proxy"], does_grow=False) == ["proxy", "start"]


def test_the_grown_log_is_never_measured_without_the_short_one() -> None:
    assert choose(["grown"], does_grow=False) == ["lean", "limited", "grown"]


def test_a_failed_or_unrecorded_request_breaks_the_row() -> None:
    assert is_broken(Row("lean", 1, 3, Figures(rows=2.0, errors=1)))
    assert is_broken(Row("lean", 1, 3, Figures(rows=1.99)))
    assert is_broken(Row("token", 16, 3, Figures(rows=0.99)))
    assert not is_broken(Row("lean", 1, 3, Figures(rows=2.0)))
    assert not is_broken(Row("token", 16, 3, Figures(rows=1.0)))
    assert not is_broken(Row("start", 0, 3, Figures()))
