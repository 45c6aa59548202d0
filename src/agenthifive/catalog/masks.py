"""What a person sees of a stored credential: its ends, never its middle.

    fields with values -> two masked, one that is no secret -> credentialPreview

Computed once, when the credential is written; reading a connection unseals nothing.
Source: contract/connections.md section 7.
"""

from collections.abc import Mapping
from typing import Any, Final

from agenthifive.catalog.schema import FieldSpec
from agenthifive.catalog.service import Variant

PASSWORD_MASK: Final = "••••••"
_SHORT_MASK: Final = "••"
_PLACE_TYPES: Final = ("host", "subdomain", "base_url", "mail_host", "enum")


def mask(secret: str) -> str:
    """First and last four of a long secret, the first two of a middling one, nothing of a short one."""
    if len(secret) >= 20:
        return f"{secret[:4]}…{secret[-4:]}"
    return f"{secret[:2]}…" if len(secret) >= 8 else _SHORT_MASK


def preview(variant: Variant, values: Mapping[str, Any]) -> dict[str, str] | None:
    """The `credentialPreview` of entered values, None when there is no secret among them (OAuth, none).

    Two masked values: the secrets in the order of the file, then an account name. One in clear: where the
    service is, else another field that is no secret.
    """
    given = [spec for spec in variant.fields if spec.name in values]
    sealed = [spec for spec in given if spec.is_sealed]
    if variant.spec.kind == "oauth" or not sealed:
        return None
    accounts = [spec for spec in given if spec.type in ("email", "text")]
    masked = (sealed + accounts)[:2]
    shown = {"primaryLabel": masked[0].label, "primaryMasked": _masked(masked[0], values)}
    if len(masked) == 2:
        shown |= {"secondaryLabel": masked[1].label, "secondaryMasked": _masked(masked[1], values)}
    rest = [spec for spec in given if not spec.is_sealed and spec not in masked and spec.type != "boolean"]
    rest.sort(key=lambda spec: spec.type not in _PLACE_TYPES)
    if rest:
        shown |= {"tertiaryLabel": rest[0].label, "tertiaryValue": str(values[rest[0].name])}
    return shown


def _masked(spec: FieldSpec, values: Mapping[str, Any]) -> str:
    return PASSWORD_MASK if spec.type == "password" else mask(values[spec.name])
