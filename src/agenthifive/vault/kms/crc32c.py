"""CRC-32C (Castagnoli), which Google's key service puts beside every value that travels.

Source: RFC 3720 section 12.1 and appendix B.4 (polynomial and check values).
"""

from typing import Final

_POLYNOMIAL: Final = 0x82F63B78  # reversed


def crc32c(octets: bytes) -> int:
    """The checksum of some bytes."""
    register = 0xFFFFFFFF
    for octet in octets:
        register ^= octet
        for _ in range(8):
            register = (register >> 1) ^ (_POLYNOMIAL if register & 1 else 0)
    return register ^ 0xFFFFFFFF
