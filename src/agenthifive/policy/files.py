"""Names of the files a call creates, renames, attaches or uploads.

Source: contract/policy.md section 4 ("$files").
"""

import re
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, Final

from agenthifive.policy.mail import Mail
from agenthifive.policy.members import values_of
from agenthifive.strict_json import InvalidJson, loads

if TYPE_CHECKING:
    from agenthifive.policy.model import Body

_NAME_MEMBERS: Final = ("name", "filename", "file_name", "fileName", "title")
_ITEM_NAMES: Final = ("name", "filename", "title")
_TELEGRAM_MEDIA: Final = ("document", "video", "audio", "animation", "photo", "voice", "thumbnail")
_ONEDRIVE_TARGET: Final = re.compile(
    r"(?::/|/children/)([^:]+?)(?::?/(?:content|createUploadSession))?:?$", re.IGNORECASE
)


def files_of(service: str, strict_path: str, body: "Body", members: Any, mail: Mail | None) -> list[dict[str, str]]:
    """One `{"name": ...}` for every file name, in no promised order."""
    names = [str(file["name"]) for file in mail["attachments"]] if mail is not None else []
    if isinstance(members, Mapping):
        names.extend(_named_in(members))
        if service == "telegram":
            names.extend(_telegram_media(members))
    if body.kind == "multipart":
        names.extend(part.filename for part in body.value if part.filename)
    if service == "microsoft-onedrive":
        found = _ONEDRIVE_TARGET.search(strict_path)
        if found:
            names.append(found.group(1).rsplit("/", 1)[-1])
    return [{"name": name} for name in names]


def _named_in(members: Mapping[str, Any]) -> Iterator[str]:
    for member in _NAME_MEMBERS:
        yield from (value for value in values_of(members.get(member)) if isinstance(value, str))
    for member in ("files", "attachments"):
        items = members.get(member)
        for item in items if isinstance(items, list) else ():
            if isinstance(item, Mapping):
                yield from (item[name] for name in _ITEM_NAMES if isinstance(item.get(name), str))


def _telegram_media(members: Mapping[str, Any]) -> Iterator[str]:
    """Media may be given as an address; the file name is its last segment."""
    media = [value for member in _TELEGRAM_MEDIA for value in values_of(members.get(member))]
    for value in values_of(members.get("media")):
        items = _parsed(value) if isinstance(value, str) else value
        listed = items if isinstance(items, list) else [items]
        media += [item.get("media") if isinstance(item, Mapping) else item for item in listed]
    yield from (value.split("?", 1)[0].rsplit("/", 1)[-1] for value in media if isinstance(value, str))


def _parsed(text: str) -> Any:
    """The list a form carries as JSON text, or the text itself."""
    try:
        return loads(text.encode("utf-8", "replace"))
    except InvalidJson:
        return text
