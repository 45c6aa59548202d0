"""How much of the personal data in ordinary sentences is found, and how much else is taken for it."""

from pathlib import Path

from policy.pii.labelled import KINDS, SENTENCES, measure, sentences, table

PAGE = Path(__file__).parents[3] / "docs/explanation/personal-data.md"


def test_each_of_six_kinds_is_found_in_ordinary_sentences() -> None:
    scores = measure(sentences())
    assert {kind: score.f1 for kind, score in scores.items() if kind in KINDS and score.f1 < 0.95} == {}
    assert sum(score.right + score.missed for score in scores.values()) == SENTENCES * 3 // 5
    assert sum(score.wrong for score in scores.values()) <= 2


def test_another_seed_gives_no_other_picture() -> None:
    for seed in range(3):
        scores = measure(sentences(seed, 200))
        assert min(scores[kind].f1 for kind in KINDS) >= 0.9


def test_the_figures_of_the_documentation_are_those_of_this_code() -> None:
    assert table(measure(sentences())) in PAGE.read_text(encoding="utf-8")
