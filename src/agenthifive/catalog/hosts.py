"""Host names of service files: exact, or `*.suffix` where the star is exactly one label.

Source: contract/catalog/SCHEMA.md section 2.
"""

import re
from typing import Final

_LABEL: Final = r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?"
_NAME: Final = re.compile(rf"(?:{_LABEL}\.)+[a-z]{{2,63}}")
_STAR: Final = re.compile(r"[a-z0-9-]{1,63}")
_SUBDOMAIN: Final = re.compile(_LABEL)

# Suffixes under which strangers register names, seen in the world of APIs: a wildcard there binds to nobody.
_PUBLIC_SUFFIXES: Final = frozenset(
    {
        "co.uk", "org.uk", "ac.uk", "gov.uk", "com.au", "net.au", "co.nz", "co.jp", "co.kr", "co.in",
        "com.br",
        "com.cn", "com.mx", "co.za", "com.tr", "com.sg", "github.io", "gitlab.io", "herokuapp.com",
        "vercel.app", "netlify.app", "pages.dev", "workers.dev", "web.app", "firebaseapp.com",
        "azurewebsites.net", "azurestaticapps.net", "cloudapp.net", "trafficmanager.net",
        "blob.core.windows.net", "cloudfront.net", "amazonaws.com", "s3.amazonaws.com",
        "elasticbeanstalk.com",
        "on.aws", "appspot.com", "run.app", "cloudfunctions.net", "fly.dev", "onrender.com", "railway.app",
        "ngrok.io", "ngrok.app", "ngrok-free.app", "trycloudflare.com", "r2.dev", "deno.dev", "glitch.me",
        "repl.co", "surge.sh",
    }
)  # fmt: skip
# Storage that a listed provider redirects to: a hop there carries no credential.
_REDIRECT_SUFFIXES: Final = frozenset({"blob.core.windows.net", "s3.amazonaws.com", "cloudfront.net"})


def is_host_name(text: str) -> bool:
    """Whether a text is a full name in lower case: two labels or more, no address, no final dot."""
    return len(text) <= 253 and _NAME.fullmatch(text) is not None


def is_label(text: str) -> bool:
    """Whether a text is one DNS label in lower case."""
    return _SUBDOMAIN.fullmatch(text) is not None


def host_fault(text: str, *, is_redirect: bool = False) -> str | None:
    """What is wrong with an exact name or `*.suffix`, None when nothing is."""
    suffix = text.removeprefix("*.")
    if not is_host_name(suffix):
        return f"{text!r} is no host name or '*.suffix'"
    if text != suffix and suffix in _PUBLIC_SUFFIXES and not (is_redirect and suffix in _REDIRECT_SUFFIXES):
        return f"wildcard over the public suffix {suffix}"
    return None


def covers_host(name: str, host: str) -> bool:
    """Whether a host of a file covers a canonical host name."""
    if not name.startswith("*."):
        return host == name
    label, dot, suffix = host.partition(".")
    return bool(dot) and suffix == name[2:] and _STAR.fullmatch(label) is not None
