"""Check digits and check sums, as their standards define them. Pure arithmetic on digits and letters.

luhn              ISO/IEC 7812-1 annex B          mod_97       ISO 13616 (ISO/IEC 7064 MOD 97-10)
verhoeff          J. Verhoeff, 1969               base58check  Bitcoin addresses, version byte 0x00 or 0x05
weighted          sum of digit times weight       bech32       BIP 173 and BIP 350 (constant of bech32m)
"""

import hashlib
from collections.abc import Sequence
from typing import Final

_DOUBLED: Final = (0, 2, 4, 6, 8, 1, 3, 5, 7, 9)
# The dihedral group of ten elements: 0-4 rotations, 5-9 reflections; and the permutation of each position.
_TURNS: Final = tuple(
    tuple((a + b) % 5 + 5 * (b > 4) if a < 5 else (a - b) % 5 + 5 * (b < 5) for b in range(10)) for a in range(10)
)
_SHUFFLE: Final = (1, 5, 7, 6, 2, 8, 3, 0, 9, 4)
_BASE58: Final = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz"
_BASE58_VALUES: Final = {char: value for value, char in enumerate(_BASE58)}
_ADDRESS_BYTES: Final = 25
_BECH32_VALUES: Final = {char: value for value, char in enumerate("qpzry9x8gf2tvdw0s3jn54khce6mua7l")}
_BECH32_GENERATOR: Final = (0x3B6A57B2, 0x26508E6D, 0x1EA119FA, 0x3D4233DD, 0x2A1462B3)
_BECH32_CONSTANTS: Final = (1, 0x2BC830A3)
_BITCOIN_PREFIX: Final = (3, 3, 0, 2, 3)  # "bc" expanded: high bits, zero, low bits


def digits_of(text: str) -> list[int]:
    """The decimal digits of a text, in order."""
    return list(map(int, filter(str.isdecimal, text)))


def weighted(digits: Sequence[int], weights: Sequence[int]) -> int:
    """The sum of every digit times its weight; what has no partner does not count."""
    return sum(digit * weight for digit, weight in zip(digits, weights, strict=False))


def luhn(digits: Sequence[int]) -> bool:
    """Whether the last digit is the check digit of the others."""
    return (sum(digits[-1::-2]) + sum(_DOUBLED[digit] for digit in digits[-2::-2])) % 10 == 0


def verhoeff(digits: Sequence[int]) -> bool:
    """Whether the last digit is the check digit of the others."""
    permutation = tuple(range(10))
    check = 0
    for digit in reversed(digits):
        check = _TURNS[check][permutation[digit]]
        permutation = tuple(_SHUFFLE[step] for step in permutation)
    return check == 0


def mod_97(text: str) -> bool:
    """Whether an IBAN without separators, upper case, has the remainder 1."""
    return int("".join(str(int(char, 36)) for char in text[4:] + text[:4])) % 97 == 1


def base58check(text: str) -> bool:
    """Whether the text is a Bitcoin address of 25 bytes whose last four bytes are its check sum."""
    number = 0
    for char in text:
        number = number * 58 + _BASE58_VALUES[char]
    if number.bit_length() > 8 * _ADDRESS_BYTES:
        return False
    raw = number.to_bytes(_ADDRESS_BYTES, "big")
    return hashlib.sha256(hashlib.sha256(raw[:-4]).digest()).digest()[:4] == raw[-4:]


def bech32(text: str) -> bool:
    """Whether the text is `bc1...` with a valid check sum, of witness version 0 (bech32) or later (bech32m)."""
    if text not in (text.lower(), text.upper()):
        return False
    check = 1
    for value in (*_BITCOIN_PREFIX, *(_BECH32_VALUES.get(char, -1) for char in text.lower()[3:])):
        if value < 0:
            return False
        top, check = check >> 25, (check & 0x1FFFFFF) << 5 ^ value
        for bit, part in enumerate(_BECH32_GENERATOR):
            if top >> bit & 1:
                check ^= part
    return check in _BECH32_CONSTANTS
