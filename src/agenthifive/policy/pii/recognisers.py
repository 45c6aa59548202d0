"""The recognisers, compiled: what they look for, and which of them are searched together.

    presets.json -> Recogniser -> Shape ...        one pattern and how its matches are judged
    ids of a rule -> Plan                          sets of shapes, shapes alone, shapes that need a word beside them

A shape whose score does not reach the threshold by itself counts only near a word of its context. So those are searched
only in pages that hold such a word. The others are searched in sets: one pass says which of them occur at all.
Source: contract/policy.md sections 16.1 and 16.2.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final

from agenthifive.policy.patterns import PatternSet, compile_own, pattern_set
from agenthifive.policy.pii.context import Phrases, compile_phrases, hint_pattern
from agenthifive.policy.pii.model import CUSTOM, CustomType, PiiTypes
from agenthifive.policy.pii.validators import VALIDATORS, Validator
from agenthifive.policy.preset_file import preset_document

# Which recognisers are searched as one set. Only speed depends on it: one automaton for all of them would have too
# many states in texts full of digits, one pass for each of them would read every text thirty times.
_TOGETHER: Final = (
    ("secret_code",),
    ("ip_address", "mac_address"),
    ("phone", "credit_card", "us_ssn", "us_itin", "uk_nhs", "uk_nino", "in_aadhaar", "au_abn", "th_tnin"),
    ("it_fiscal_code", "it_vat", "es_nif", "es_nie", "pl_pesel", "fi_pic", "kr_rrn", "sg_fin", "crypto_wallet"),
)
# (recogniser, number of the pattern) of shapes searched alone, and a text without which they cannot occur.
_ALONE: Final[Mapping[tuple[str, int], str]] = {
    ("email", 0): "@",
    ("url", 0): "://",
    ("phone", 0): "+",
    ("credit_card", 2): "",
    ("iban", 0): "",
    ("crypto_wallet", 0): "",
}


@dataclass(frozen=True, slots=True)
class Shape:
    """One pattern of a recogniser, and how its matches are judged.

    Shapes:
        score: of a match the validator, if there is one, has accepted.
        needs: a text every match holds, if the shape is searched alone; None: it is searched in a set.
    """

    id: str
    pattern: str
    regex: Any
    score: float
    edges: str
    validator: Validator | None
    phrases: Phrases
    needs: str | None


@dataclass(frozen=True, slots=True)
class Settings:
    """The numbers of section 16.1."""

    threshold: float
    boost: float
    tokens_before: int
    tokens_after: int
    custom_score: float


@dataclass(frozen=True, slots=True)
class Plan:
    """What is searched for some recognisers, and how.

    Shapes:
        sets: shapes of which one pass says which occur. hints: weak[i] may find its context where hint i is found.
        weak: by recogniser, the shapes that count only with context.
    """

    sets: tuple[tuple[PatternSet, tuple[Shape, ...]], ...]
    alone: tuple[Shape, ...]
    hints: PatternSet
    weak: tuple[tuple[Shape, ...], ...]


@lru_cache(maxsize=1)
def settings() -> Settings:
    """As presets.json gives them."""
    pii = preset_document()["pii"]
    return Settings(
        pii["threshold"],
        pii["contextBoost"],
        pii["contextTokensBefore"],
        pii["contextTokensAfter"],
        pii["customScore"],
    )


@lru_cache(maxsize=1)
def type_names() -> frozenset[str]:
    """Every type a rule may name."""
    pii = preset_document()["pii"]
    return frozenset((*_entries(), *pii["groups"], *pii["aliases"], CUSTOM))


def compile_types(types: Sequence[Mapping[str, Any]]) -> PiiTypes:
    """Compile the types of a valid rule: groups and aliases resolved; of a recogniser named twice the first counts."""
    pii = preset_document()["pii"]
    named: dict[str, str | None] = {}
    for entry in types:
        name = pii["aliases"].get(entry["type"], entry["type"])
        if name != CUSTOM:
            for one in pii["groups"].get(name, (name,)):
                named.setdefault(one, entry.get("replacement"))
    plan_for(tuple(named))  # compiled with the policy, so that no call has to wait for it
    custom = (CustomType(t["pattern"], t.get("replacement")) for t in types if t["type"] == CUSTOM)
    return PiiTypes(tuple(custom), tuple(named.items()))


@lru_cache(maxsize=256)
def plan_for(ids: tuple[str, ...]) -> Plan:
    """How these recognisers are searched."""
    shapes = {one: _shapes(one) for one in ids}
    threshold = settings().threshold
    strong = [shape for one in ids for shape in shapes[one] if shape.score >= threshold]
    rest = tuple(one for one in ids if not any(one in group for group in _TOGETHER))
    sets = []
    for group in (*_TOGETHER, rest):
        together = tuple(shape for shape in strong if shape.id in group and shape.needs is None)
        if together:
            sets.append((pattern_set(tuple(shape.pattern for shape in together)), together))
    alone = tuple(shape for shape in strong if shape.needs is not None)
    weak = {one: tuple(shape for shape in shapes[one] if shape.score < threshold) for one in ids}
    weak = {one: found for one, found in weak.items() if found}
    hints = pattern_set(tuple(hint_pattern(_entries()[one]["context"]) for one in weak))
    return Plan(tuple(sets), alone, hints, tuple(weak.values()))


@lru_cache(maxsize=64)
def _shapes(one: str) -> tuple[Shape, ...]:
    entry = _entries()[one]
    validator = VALIDATORS[entry["validator"]] if "validator" in entry else None
    phrases = compile_phrases(entry["context"])
    return tuple(
        Shape(
            one,
            pattern["re2"],
            compile_own(pattern["re2"]),
            pattern["base"] if validator is None else pattern.get("verified", pattern["base"]),
            entry["edges"],
            validator,
            phrases,
            _ALONE.get((one, number)),
        )
        for number, pattern in enumerate(entry["patterns"])
    )


@lru_cache(maxsize=1)
def _entries() -> dict[str, dict[str, Any]]:
    listed: Iterable[dict[str, Any]] = preset_document()["pii"]["recognisers"]
    return {entry["id"]: entry for entry in listed}
