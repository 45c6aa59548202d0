"""Outgoing mail in one shape, whatever the service calls its parts.

    Gmail    raw MIME in `raw` or `message.raw`, or uploaded as the body --+
    Outlook  `message`, the body itself, or MIME in base64 ----------------+--> {from, to, cc, bcc, subject ...}
    mail     the fields of the virtual API --------------------------------+

None: the call carries no mail. UNREADABLE: it may carry one, and nobody can say what is in it.
Source: contract/policy.md section 4 ("$mail"), contract/email.md section 6.
"""

import base64
import binascii
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from agenthifive.policy.members import OPAQUE, Several
from agenthifive.policy.mime import read_addresses, read_mime
from agenthifive.policy.texts import plain

if TYPE_CHECKING:
    from agenthifive.policy.model import Body

Mail: TypeAlias = dict[str, Any]


class _Unreadable:
    """There may be a mail, but it cannot be looked into."""

    __slots__ = ()


UNREADABLE: Final = _Unreadable()
MailView: TypeAlias = Mail | _Unreadable | None

_OUTLOOK_PARTS: Final = frozenset(
    ("toRecipients", "ccRecipients", "bccRecipients", "subject", "body", "attachments", "comment")
)
_WRITING: Final = frozenset(("POST", "PUT", "PATCH"))


def mail_of(service: str, method: str, body: "Body", members: Any) -> MailView:
    """The mail a call would send or store.

    Shapes:
        from, to, cc, bcc, recipients: bare addresses, lower case. attachments: {name, contentType, size}.
    """
    read = _READERS.get(service)
    if read is None or method not in _WRITING:
        return None
    return read(body, members)


def _gmail(body: "Body", members: Any) -> MailView:
    if body.kind in ("text", "binary"):
        return _from_mime(_as_bytes(body.value))
    if not isinstance(members, Mapping):
        return None
    message = members.get("message")
    raws = [members["raw"]] if members.get("raw") is not None else []
    if isinstance(message, Mapping) and message.get("raw") is not None:
        raws.append(message["raw"])
    sources = [_decode_base64(raw) for raw in raws] + _mime_parts(body)
    if not sources:
        return None
    return _from_mime(sources[0]) if len(sources) == 1 else UNREADABLE


def _outlook(body: "Body", members: Any) -> MailView:
    if body.kind in ("text", "binary"):  # Graph takes whole mails as MIME in base64
        return _from_mime(_decode_base64(_as_bytes(body.value)))
    if not isinstance(members, Mapping):
        return None
    inner = members.get("message")
    message = inner if isinstance(inner, Mapping) else members
    if not _OUTLOOK_PARTS & set(message) and not _OUTLOOK_PARTS & set(members):
        return None
    if any(value is OPAQUE for value in members.values()):
        return UNREADABLE
    lists = [message] if message is members else [message, members]

    def people(name: str) -> list[str]:
        return [_graph_address(item) for part in lists for item in _items(part.get(name))]

    content = message.get("body")
    texts = [plain(str(content.get("content", "")))] if isinstance(content, Mapping) else []
    texts += [plain(str(part["comment"])) for part in lists if part.get("comment")]
    files = [
        {
            "name": str(item.get("name") or ""),
            "contentType": str(item.get("contentType") or ""),
            "size": _decoded_size(item.get("contentBytes")),
        }
        for item in _items(message.get("attachments"))
        if isinstance(item, Mapping)
    ]
    return _mail(
        people("from"),
        people("toRecipients"),
        people("ccRecipients"),
        people("bccRecipients"),
        subject=str(message.get("subject") or ""),
        texts=texts,
        files=files,
    )


def _virtual(body: "Body", members: Any) -> MailView:
    if body.kind in ("text", "binary"):
        return UNREADABLE
    if not isinstance(members, Mapping):
        return None

    def people(name: str) -> list[str]:
        return [address for item in _items(members.get(name)) for address in read_addresses(_address_text(item))]

    texts = [
        plain(str(text))
        for name in ("text", "textBody", "html", "htmlBody", "body")
        for text in _items(members.get(name))
    ]
    files = [
        {
            "name": str(item.get("filename") or item.get("name") or ""),
            "contentType": str(item.get("contentType") or ""),
            "size": max(_stated_size(item.get("size")), _decoded_size(item.get("content"))),
        }
        for item in _items(members.get("attachments"))
        if isinstance(item, Mapping)
    ]
    subject = "\n".join(str(text) for text in _items(members.get("subject")))
    return _mail(people("from"), people("to"), people("cc"), people("bcc"), subject=subject, texts=texts, files=files)


_READERS: Final = {
    "google-gmail": _gmail,
    "microsoft-outlook-mail": _outlook,
    "email-imap": _virtual,
}


def _mail(
    senders: list[str],
    to: list[str],
    cc: list[str],
    bcc: list[str],
    *,
    subject: str,
    texts: Iterable[str],
    files: list[dict[str, Any]],
) -> Mail:
    return {
        "from": senders,
        "to": to,
        "cc": cc,
        "bcc": bcc,
        "recipients": to + cc + bcc,
        "subject": subject,
        "text": "\n".join(text for text in texts if text),
        "attachments": files,
        "attachmentBytes": sum(file["size"] for file in files),
    }


def _from_mime(data: bytes | None) -> MailView:
    letter = None if data is None else read_mime(data)
    if letter is None:
        return UNREADABLE
    files = [{"name": file.name, "contentType": file.content_type, "size": file.size_bytes} for file in letter.files]
    people = [read_addresses(*letter.raw_headers.get(name, ())) for name in ("from", "to", "cc", "bcc")]
    subject = "\n".join(letter.subjects)
    senders, to, cc, bcc = people
    return _mail(senders, to, cc, bcc, subject=subject, texts=letter.texts, files=files)


def _address_text(item: Any) -> str:
    return str(item.get("address", "")) if isinstance(item, Mapping) else str(item)


def _graph_address(item: Any) -> str:
    inner = item.get("emailAddress") if isinstance(item, Mapping) else None
    return str(inner.get("address", "")).strip().lower() if isinstance(inner, Mapping) else ""


def _items(value: Any) -> list[Any]:
    if value is None:
        return []
    if isinstance(value, Several):
        return [item for inner in value for item in _items(inner)]
    return value if isinstance(value, list) else [value]


def _as_bytes(value: Any) -> bytes | None:
    if isinstance(value, str):
        return value.encode("utf-8", "surrogatepass")
    return value if isinstance(value, bytes) else None


def _decode_base64(value: Any) -> bytes | None:
    text = value.encode("utf-8", "replace") if isinstance(value, str) else value
    if not isinstance(text, bytes):
        return None
    packed = b"".join(text.split()).replace(b"-", b"+").replace(b"_", b"/").rstrip(b"=")
    try:
        return base64.b64decode(packed + b"=" * (-len(packed) % 4), validate=True)
    except (binascii.Error, ValueError):
        return None


def _decoded_size(value: Any) -> int:
    return len(value) * 3 // 4 if isinstance(value, str) else 0


def _stated_size(value: Any) -> int:
    return value if isinstance(value, int) else 0


def _mime_parts(body: "Body") -> list[bytes | None]:
    """Parts of an upload that are not metadata are mails."""
    if body.kind != "multipart":
        return []
    return [
        part.data if part.data is not None else _as_bytes(part.value)
        for part in body.value
        if "json" not in (part.content_type or "").lower()
    ]
