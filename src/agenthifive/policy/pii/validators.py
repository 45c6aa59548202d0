"""Whether what a pattern matched can be what it looks like.

    name in presets.json -> validator(text of the match) -> how many of its characters are a valid value, 0: none

Source: contract/policy.md section 16.2.
"""

import ipaddress
import re
from collections.abc import Callable, Mapping
from datetime import date
from typing import Final, TypeAlias

from agenthifive.policy.pii import identities
from agenthifive.policy.pii.checksums import base58check, bech32, digits_of, luhn, mod_97

Validator: TypeAlias = Callable[[str], int]

# First digits of card numbers (from, to) and the lengths issued under them (ISO/IEC 7812-1, ranges of the schemes).
_ISSUERS: Final = (
    ("4", "4", (13, 16, 19)),
    ("51", "55", (16,)),
    ("2221", "2720", (16,)),
    ("34", "34", (15,)),
    ("37", "37", (15,)),
    ("6011", "6011", range(16, 20)),
    ("644", "649", range(16, 20)),
    ("65", "65", range(16, 20)),
    ("3528", "3589", range(16, 20)),
    ("300", "305", range(14, 20)),
    ("36", "36", range(14, 20)),
    ("38", "39", range(14, 20)),
    ("62", "62", range(16, 20)),
    ("50", "50", range(13, 20)),
    ("56", "58", range(13, 20)),
    ("63", "63", range(13, 20)),
    ("67", "67", range(13, 20)),
)
# Countries by the length of their IBAN (SWIFT IBAN registry).
_IBAN_COUNTRIES: Final = {
    15: "NO",
    16: "BE",
    18: "DK FI FK FO GL NL SD",
    19: "MK SI",
    20: "AT BA EE KZ LT LU MN XK",
    21: "CH HR LI LV",
    22: "BG BH CR DE GB GE IE ME RS VA",
    23: "AE GI IL IQ OM SO TL",
    24: "AD CZ ES MD PK RO SA SE SK TN VG",
    25: "LY PT ST",
    26: "IS TR",
    27: "BI DJ FR GR IT MC MR SM",
    28: "AL AZ BY CY DO GT HN HU LB NI PL SV",
    29: "BR EG PS QA UA",
    30: "JO KW MU YE",
    31: "MT SC",
    32: "LC",
    33: "RU",
}
_IBAN_LENGTHS: Final = {
    country: length for length, countries in _IBAN_COUNTRIES.items() for country in countries.split()
}
_DIGITS: Final = frozenset("0123456789")
_MONTHS: Final = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_DATE_PART: Final = re.compile(r"[0-9]+|[A-Za-z]{3}")
_EARLIEST: Final = date(1900, 1, 1)
_LATEST: Final = date(2100, 1, 1)


def is_card(text: str) -> bool:
    """Issued under a known prefix in this length, and Luhn."""
    digits = digits_of(text)
    number = "".join(map(str, digits))
    if len(set(digits)) == 1 or not luhn(digits):
        return False
    return any(low <= number[: len(low)] <= high and len(number) in lengths for low, high, lengths in _ISSUERS)


def iban_length(text: str) -> int:
    """Where the IBAN in a text ends that begins with one; 0 when there is none."""
    wanted = _IBAN_LENGTHS.get(text[:2].upper(), len(text) + 1)
    kept: list[str] = []
    for at, char in enumerate(text):
        if char.isalnum():
            kept.append(char.upper())
            if len(kept) == wanted:
                return at + 1 if mod_97("".join(kept)) else 0
    return 0


def is_wallet(text: str) -> bool:
    """A Bitcoin address with its check sum; an Ethereum address has none that counts."""
    if text.startswith("0x"):
        return True
    return bech32(text) if text[:3].lower() == "bc1" else base58check(text)


def is_calendar_date(text: str) -> bool:
    """A day that exists, from 1900 on; of two numbers either may be the month."""
    parts = _DATE_PART.findall(text)
    months = [_MONTHS.index(part.lower()) + 1 for part in parts if part.lower() in _MONTHS]
    numbers = [int(part) for part in parts if part.isdecimal()]
    year = max(numbers)
    numbers.remove(year)
    if months:
        return len(numbers) == 1 and _exists(year, months[0], numbers[0])
    return len(numbers) == 2 and (_exists(year, *numbers) or _exists(year, *reversed(numbers)))


def is_phone(text: str) -> bool:
    """7 to 15 digits (ITU-T E.164), more than two different."""
    return len(_DIGITS.intersection(text)) > 2 and 7 <= sum(map(str.isdecimal, text)) <= 15


def is_ip(text: str) -> bool:
    """An address; of IPv6 at least two groups are written out."""
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return False
    return address.version == 4 or sum(map(bool, text.split(":"))) >= 2


def _exists(year: int, month: int, day: int) -> bool:
    try:
        return _EARLIEST <= date(year, month, day) <= _LATEST
    except ValueError:
        return False


def _whole(check: Callable[[str], bool]) -> Validator:
    return lambda text: len(text) if check(text) else 0


VALIDATORS: Final[Mapping[str, Validator]] = {
    "card": _whole(is_card),
    "iban": iban_length,
    "wallet": _whole(is_wallet),
    "calendar_date": _whole(is_calendar_date),
    "phone": _whole(is_phone),
    "ip_literal": _whole(is_ip),
    "ssn": _whole(identities.is_us_ssn),
    "aba": _whole(identities.is_aba_routing),
    "npi": _whole(identities.is_us_npi),
    "nhs": _whole(identities.is_uk_nhs),
    "nino": _whole(identities.is_uk_nino),
    "fiscal_code_it": _whole(identities.is_fiscal_code),
    "vat_it": _whole(identities.is_it_vat),
    "aadhaar": _whole(identities.is_aadhaar),
    "nif_es": _whole(identities.is_nif),
    "tfn_au": _whole(identities.is_tfn),
    "abn_au": _whole(identities.is_abn),
    "pesel": _whole(identities.is_pesel),
    "hetu": _whole(identities.is_hetu),
    "tnin_th": _whole(identities.is_thai_id),
    "rrn_kr": _whole(identities.is_kr_rrn),
    "nric_sg": _whole(identities.is_sg_fin),
}
