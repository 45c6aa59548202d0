"""Check digits and calendars: true numbers pass, and the same numbers with one digit changed do not."""

import re
import warnings
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from agenthifive.policy.pii.checksums import luhn, verhoeff
from agenthifive.policy.pii.validators import VALIDATORS, iban_length
from policy.calls import preset_file

VALID = {
    "card": ["5421 9876 1234 1006", "4222222222222", "3714-496353-91006", "6011111111111117", "30569309025904"],
    "iban": ["GB82 WEST 1234 5698 7654 32", "NL91ABNA0417164300", "DE89-3704-0044-0532-0130-00"],
    "wallet": ["1BoatSLRHtKNngkdXEeobR76b53LETtpyT", "bc1qw508d6qejxtdg4y5r3zarvary0c5xw7kv8f3t4",
               "BC1QW508D6QEJXTDG4Y5R3ZARVARY0C5XW7KV8F3T4"],
    "aba": ["122100105", "011000015"],
    "npi": ["1679010003"],
    "nhs": ["485 777 1004"],
    "fiscal_code_it": ["BNCGLI82C10F205J"],
    "vat_it": ["07643531002", "IT 07643531002"],
    "aadhaar": ["2345 6789 1008"],
    "nif_es": ["48271903D", "Y4821736F", "Y-4821736-F"],
    "tfn_au": ["876 543 107"],
    "abn_au": ["83 914 571 560"],
    "pesel": ["90021510000"],
    "hetu": ["150290-200Y"],
    "tnin_th": ["3-1002-00123-00-2"],
    "nric_sg": ["S8123456F"],
}  # fmt: skip


@pytest.mark.parametrize(("name", "text"), [(name, text) for name, texts in VALID.items() for text in texts])
def test_a_true_number_passes_and_with_a_changed_digit_does_not(name: str, text: str) -> None:
    assert VALIDATORS[name](text) == len(text)
    at = max(place for place, char in enumerate(text[:-1]) if char.isdigit())
    changed = f"{text[:at]}{(int(text[at]) + 1) % 10}{text[at + 1 :]}"
    assert VALIDATORS[name](changed) == 0


@pytest.mark.parametrize(
    ("name", "valid", "invalid"),
    [
        ("card", "4012888888881881", ["9012888888881884", "40128888888818", "0000 0000 0000 0000"]),
        ("ssn", "078-05-1120", ["000-12-3456", "666-12-3456", "900-12-3456", "078-00-1120", "078-05-0000"]),
        ("nino", "AB 12 34 56 C", ["BG123456A", "zz123456a"]),
        ("calendar_date", "29.02.2024", ["29.02.2023", "31/04/1990", "1899-12-31", "13.13.1990"]),
        ("calendar_date", "May 12th, 1985", ["May 32, 1985", "1 May 2101"]),
        ("calendar_date", "12 september 1985", ["31 September 1985"]),
        ("calendar_date", "05/12/1985", ["00/12/1985"]),
        ("phone", "+49 30 901820", ["111-111-1111", "+1 23", "1234567890123456"]),
        ("ip_literal", "2001:db8::1", ["12:30:45", "::1", "256.1.1.1", "01.2.3.4"]),
        ("rrn_kr", "850917-1234567", ["851317-1234567", "850932-1234567"]),
        ("pesel", "90021510000", ["90131510000", "90023210001"]),
        ("hetu", "150290-200y", ["320290-200Y", "151390-200Y"]),
        ("wallet", "0x52908400098527886E0F7030069857D2E4169EE7", ["bc1qW508D6QEJXTDG4Y5R3ZARVARY0C5XW7KV8F3T4"]),
        ("aadhaar", "234567891008", ["222222222222"]),
        ("vat_it", "07643531002", ["00000000000"]),
    ],
)  # fmt: skip
def test_what_is_never_given_out_does_not_pass(name: str, valid: str, invalid: list[str]) -> None:
    assert VALIDATORS[name](valid) == len(valid)
    assert [text for text in invalid if VALIDATORS[name](text)] == []


@pytest.mark.parametrize("tail", [" 1234", " ABC", "9", " please"])
def test_an_iban_ends_where_its_country_ends_it(tail: str) -> None:
    assert iban_length("GB82 WEST 1234 5698 7654 32" + tail) == len("GB82 WEST 1234 5698 7654 32")


@pytest.mark.parametrize("text", ["GB82 WEST 1234 5698 7654", "XX82WEST12345698765432", "GB83WEST12345698765432"])
def test_what_is_too_short_or_of_no_country_is_no_iban(text: str) -> None:
    assert iban_length(text) == 0


@given(st.lists(st.integers(0, 9), min_size=2, max_size=18), st.data())
def test_a_changed_digit_and_for_verhoeff_two_swapped_ones_are_noticed(number: list[int], data: st.DataObject) -> None:
    at = data.draw(st.integers(0, len(number) - 1))
    other = [*number[:at], (number[at] + data.draw(st.integers(1, 9))) % 10, *number[at + 1 :]]
    assert not (luhn(number) and luhn(other))
    assert not (verhoeff(number) and verhoeff(other))
    swapped = [*number[:-2], number[-1], number[-2]]
    assert swapped == number or not (verhoeff(number) and verhoeff(swapped))


CHECKED: list[dict[str, Any]] = [entry for entry in preset_file()["pii"]["recognisers"] if "validator" in entry]


@given(st.data())
@settings(suppress_health_check=list(HealthCheck), max_examples=400)
def test_no_match_of_a_pattern_makes_its_validator_fail(data: st.DataObject) -> None:
    entry = data.draw(st.sampled_from(CHECKED))
    pattern = data.draw(st.sampled_from(entry["patterns"]))["re2"]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        compiled = re.compile(pattern, re.ASCII)
    text = data.draw(st.from_regex(compiled, fullmatch=True))
    assert VALIDATORS[entry["validator"]](text) <= len(text)
