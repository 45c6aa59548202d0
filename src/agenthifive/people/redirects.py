"""Where a browser may be sent after sign-in: a path of ours, never another site.

Source: contract/http.md sections 14.1 and 14.2 (INVALID_CALLBACK_URL).
"""

import re
from typing import Final

from agenthifive.errors import AppError

PATH_MAX: Final = 1024
# one slash, then printable ASCII without the backslash: browsers read `//`, `/\` and `/<tab>/` as another site
_OWN_PATH: Final = re.compile(r"/(?![/\\])[!-\[\]-~]*")


def own_path(text: str) -> str:
    """The path, when it leads nowhere but to this origin. Raises: AppError (400 INVALID_CALLBACK_URL)."""
    if len(text) > PATH_MAX or _OWN_PATH.fullmatch(text) is None:
        raise AppError(
            "INVALID_CALLBACK_URL",
            "This address is not a path on this site. Send one that begins with a single slash, such as /dashboard.",
        )
    return text
