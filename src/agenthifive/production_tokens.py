"""The start checks of what signs and verifies tokens.

    JWT_PRIVATE_KEY --> read as the signer reads it; none of the keys that are printed somewhere for examples
    WEB_JWKS_URL ----> internal: whoever answers it decides whose tokens are accepted

Each answers the message of a start problem, or None. Source: contract/operations.md sections 2 and 14 (JWT-KEY,
JWKS-INTERNAL), http.md section 13.
"""

import ipaddress
from typing import Final

from agenthifive.settings import Settings
from agenthifive.settings_values import is_loopback_host, origin_host
from agenthifive.vault.secret import Secret
from agenthifive.vault.signing import UnusableKey, thumbprint
from agenthifive.vault.token_keys import read_signing_key

NEW_KEY: Final = "generate one with: agenthifive jwt generate"
# RFC 7638 thumbprints of private keys that anybody can look up
PUBLISHED_KEYS: Final = frozenset(
    {
        "oGDmHqCJ7yzMkWEkrlZVHkvrHIyQwtlDmeq5ForUHeY",  # jwt.io, RS256
        "19J8y7Zprt2-QKLjF2I5pVk0OELX6cY2AfaAv1LC_w8",  # jwt.io, ES256
        "IsUn6_e04MaShXFIISMp4kG62LWzMIPy_MvSA5pJgX8",  # RFC 7515 appendix A.2
        "oKIywvGUpTVTyxMQ3bwIIeQUudfr_CkLMjCE19ECD-U",  # RFC 7515 appendix A.3
        "NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs",  # RFC 7517 appendix A.2
        "cn-I_WNMClehiVp51i_0VpOENW1upEerA8sEam5hn-s",  # RFC 7517 appendix A.2
        "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k",  # RFC 8037 appendix A
    }
)
_INTERNAL_SUFFIXES: Final = (".internal", ".local", ".localhost", ".svc", ".lan", ".home.arpa")


def find_key_fault(settings: Settings) -> str | None:
    """What is wrong with the signing key, in every mode."""
    if settings.jwt_private_key is None:
        return None
    try:
        read_signing_key(Secret(settings.jwt_private_key.get_secret_value()))
    except UnusableKey as fault:
        return f"{fault}; expected PEM PKCS#8 of RSA 2048 to 4096 bits, EC P-256 or Ed25519; {NEW_KEY}"
    return None


def find_missing_key(settings: Settings) -> str | None:
    """What else production refuses: no key, or one that others hold too."""
    if settings.jwt_private_key is None:
        return f"missing; expected PEM PKCS#8 of RSA 2048 to 4096 bits, EC P-256 or Ed25519; {NEW_KEY}"
    try:
        key = read_signing_key(Secret(settings.jwt_private_key.get_secret_value()))
    except UnusableKey:
        return None  # refused by find_key_fault
    if thumbprint(key.jwk) in PUBLISHED_KEYS:
        return f"this is a published example key; expected a key of your own; {NEW_KEY}"
    return None


def find_jwks_fault(settings: Settings) -> str | None:
    """Whether the source of verification keys is a public one. Names are judged again where they are reached."""
    if settings.web_jwks_url is None or settings.web_jwks_allow_public:
        return None
    scheme, _, rest = settings.web_jwks_url.partition("://")
    origin = f"{scheme}://{rest.partition('/')[0]}"
    host = origin_host(origin)
    expected = "expected an internal address; WEB_JWKS_URL=http://localhost:4000/.well-known/jwks.json"
    if origin == settings.web_url and not is_loopback_host(host):
        return f"is the public address of this instance; {expected}"
    if _is_public(host):
        return f"points to a public address; {expected}"
    if scheme == "http" and not _is_internal(host):
        return f"is http to a host that is not loopback or private; {expected}"
    return None


def _is_public(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_global
    except ValueError:
        return False


def _is_internal(host: str) -> bool:
    """Whether a host is on this machine or a private network, as far as its spelling says."""
    try:
        return ipaddress.ip_address(host).is_private
    except ValueError:
        return "." not in host or host.endswith(_INTERNAL_SUFFIXES)
