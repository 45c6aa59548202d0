"""Numbers that states give to people and firms: what makes one of them possible.

Every function takes the text of a match, separators included, and says whether it can be such a number.
"""

from typing import Final

from agenthifive.policy.pii.checksums import digits_of, luhn, verhoeff, weighted

_NHS_WEIGHTS: Final = (10, 9, 8, 7, 6, 5, 4, 3, 2)
_NOT_NINO: Final = frozenset(("BG", "GB", "KN", "NK", "NT", "TN", "ZZ"))
# Values of digits and letters in the odd places of a codice fiscale (decree of 23 December 1976).
_FISCAL_ODD: Final = dict(
    zip(
        "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ",
        (1, 0, 5, 7, 9, 13, 15, 17, 19, 21, 1, 0, 5, 7, 9, 13, 15, 17, 19, 21,
         2, 4, 18, 20, 11, 3, 6, 8, 12, 14, 16, 10, 22, 25, 24, 23),
        strict=True,
    )
)  # fmt: skip
_FISCAL_EVEN: Final = {char: int(char) if char.isdigit() else ord(char) - ord("A") for char in _FISCAL_ODD}
_NIF_LETTERS: Final = "TRWAGMYFPDXBNJZSQVHLCKE"
_NIE_FIRST: Final = str.maketrans("XYZ", "012")
_TFN_WEIGHTS: Final = (1, 4, 3, 7, 5, 8, 6, 9, 10)
_ABN_WEIGHTS: Final = (10, 1, 3, 5, 7, 9, 11, 13, 15, 17, 19)
_PESEL_WEIGHTS: Final = (1, 3, 7, 9, 1, 3, 7, 9, 1, 3)
_HETU_CHARACTERS: Final = "0123456789ABCDEFHJKLMNPRSTUVWXY"
_THAI_WEIGHTS: Final = (13, 12, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2)
_FIN_WEIGHTS: Final = (2, 7, 6, 5, 4, 3, 2)
_FIN_OFFSETS: Final = {"S": 0, "T": 4, "F": 0, "G": 4, "M": 3}
# Check letters by remainder. Of series M two orders are in use.
_FIN_LETTERS: Final = {
    "S": ("JZIHGFEDCBA",),
    "T": ("JZIHGFEDCBA",),
    "F": ("XWUTRQPNMLK",),
    "G": ("XWUTRQPNMLK",),
    "M": ("XWUTRQPNJLK", "KLJNPQRTUWX"),
}
_LAST_DAY: Final = 31
_LAST_MONTH: Final = 12


def is_us_ssn(text: str) -> bool:
    """Area, group and serial are ones the Social Security Administration gives out."""
    digits = "".join(map(str, digits_of(text)))
    area, group, serial = digits[:3], digits[3:5], digits[5:]
    is_given = area not in ("000", "666") and area[0] != "9" and group != "00" and serial != "0000"
    return is_given and len(set(digits)) > 1


def is_aba_routing(text: str) -> bool:
    """A Federal Reserve district and the check digit of the American Bankers Association."""
    digits = digits_of(text)
    district = 10 * digits[0] + digits[1]
    is_district = district <= 12 or 21 <= district <= 32 or 61 <= district <= 72 or district == 80
    return is_district and any(digits) and weighted(digits, (3, 7, 1) * 3) % 10 == 0


def is_us_npi(text: str) -> bool:
    """Luhn behind the issuer prefix 80840 of health cards."""
    return luhn([8, 0, 8, 4, 0, *digits_of(text)])


def is_uk_nhs(text: str) -> bool:
    """Check digit modulo 11; 10 is never given out."""
    digits = digits_of(text)
    check = -weighted(digits, _NHS_WEIGHTS) % 11
    return check == digits[-1] and len(set(digits)) > 1


def is_uk_nino(text: str) -> bool:
    """Two letters that are used as a prefix."""
    return text[:2].upper() not in _NOT_NINO


def is_fiscal_code(text: str) -> bool:
    """The control letter of a codice fiscale."""
    code = text.upper()
    total = sum(_FISCAL_ODD[char] for char in code[0:15:2]) + sum(_FISCAL_EVEN[char] for char in code[1:15:2])
    return ord(code[15]) - ord("A") == total % 26


def is_it_vat(text: str) -> bool:
    """Luhn, and not all zeros."""
    digits = digits_of(text)
    return any(digits) and luhn(digits)


def is_aadhaar(text: str) -> bool:
    """Verhoeff, and no palindrome."""
    digits = digits_of(text)
    return digits != digits[::-1] and verhoeff(digits)


def is_nif(text: str) -> bool:
    """The letter that the number of a DNI or NIE asks for."""
    letters = "".join(char for char in text.upper() if char.isalnum())
    number = letters[:-1].translate(_NIE_FIRST)
    return number.isdecimal() and _NIF_LETTERS[int(number) % 23] == letters[-1]


def is_tfn(text: str) -> bool:
    """Weights modulo 11."""
    return weighted(digits_of(text), _TFN_WEIGHTS) % 11 == 0


def is_abn(text: str) -> bool:
    """Weights modulo 89, after one is taken from the first digit."""
    first, *rest = digits_of(text)
    return weighted([first - 1, *rest], _ABN_WEIGHTS) % 89 == 0


def is_pesel(text: str) -> bool:
    """A month, which also holds the century, a day, and the check digit."""
    digits = digits_of(text)
    month, day = (10 * digits[2] + digits[3]) % 20, 10 * digits[4] + digits[5]
    is_date = 1 <= month <= _LAST_MONTH and 1 <= day <= _LAST_DAY
    return is_date and -weighted(digits, _PESEL_WEIGHTS) % 10 == digits[10]


def is_hetu(text: str) -> bool:
    """Day, month, and the character that the nine digits ask for."""
    if not (1 <= int(text[:2]) <= _LAST_DAY and 1 <= int(text[2:4]) <= _LAST_MONTH):
        return False
    return _HETU_CHARACTERS[int(text[:6] + text[7:10]) % 31] == text[10].upper()


def is_thai_id(text: str) -> bool:
    """Check digit modulo 11, of which the last digit counts."""
    digits = digits_of(text)
    return (11 - weighted(digits, _THAI_WEIGHTS) % 11) % 10 == digits[12]


def is_kr_rrn(text: str) -> bool:
    """A month and a day."""
    digits = digits_of(text)
    return 1 <= 10 * digits[2] + digits[3] <= _LAST_MONTH and 1 <= 10 * digits[4] + digits[5] <= _LAST_DAY


def is_sg_fin(text: str) -> bool:
    """The check letter of the series."""
    code = text.upper()
    remainder = (weighted(digits_of(code), _FIN_WEIGHTS) + _FIN_OFFSETS[code[0]]) % 11
    return any(letters[remainder] == code[8] for letters in _FIN_LETTERS[code[0]])
