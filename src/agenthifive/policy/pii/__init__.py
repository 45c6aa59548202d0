"""Personal data: what counts as such, where it stands in a text, and what is put in its place.

    types of a rule -> compile_types -> PiiTypes         text -> find -> findings | None -> replace -> text

    recognisers   patterns, scores and context of presets.json, compiled       context      words beside a match
    validators    check digits and calendars (checksums, identities)           edges        where a finding may begin
    forms         texts without disguises                                      pages        texts searched in one go
    search        matches, judged and merged                                   findings     spans and placeholders

`find` answers None where a text is too much to look through; callers refuse what depends on the answer.
Source: contract/policy.md section 16.
"""

from agenthifive.policy.pii.findings import find, find_each, replace
from agenthifive.policy.pii.model import CUSTOM, CustomType, Finding, PiiTypes
from agenthifive.policy.pii.recognisers import compile_types, type_names

__all__ = ["CUSTOM", "CustomType", "Finding", "PiiTypes", "compile_types", "find", "find_each", "replace", "type_names"]
