"""Outgoing mail in one shape, whatever the service calls its parts.

    Gmail    raw MIME in `raw` or `message.raw`, or uploaded as the body --+
    Outlook  `message`, the body itself, or MIME in base64 ----------------+--> {from, to, cc, bcc, subject ...}
    mail     the fields of the virtual API --------------------------------+

None: the call carries no mail. UNREADABLE: it may carry one, and nobody can say what is in it.
Source: contract/policy.md section 4 ("$mail"), contract/email.md section 6.
"""

import base64
import binascii
import email
import email.policy
from collections.abc import Iterable, Mapping
from email.errors import MessageError
from email.message import EmailMessage, Message
from email.utils import getaddresses
from itertools import islice
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from agenthifive.policy.members import OPAQUE, Several
from agenthifive.policy.texts import plain

if TYPE_CHECKING:
    from agenthifive.policy.model import Body

Mail: TypeAlias = dict[str, Any]


class _Unreadable:
    """There may be a mail, but it cannot be looked into."""

    __slots__ = ()


UNREADABLE: Final = _Unreadable()
MailView: TypeAlias = Mail | _Unreadable | None

MAX_MIME_PARTS: Final = 1000
MAX_HEADER_LENGTH: Final = 64 * 1024
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
        return _read_mime(_as_bytes(body.value))
    if not isinstance(members, Mapping):
        return None
    message = members.get("message")
    raws = [members["raw"]] if members.get("raw") is not None else []
    if isinstance(message, Mapping) and message.get("raw") is not None:
        raws.append(message["raw"])
    sources = [_decode_base64(raw) for raw in raws] + _mime_parts(body)
    if not sources:
        return None
    return _read_mime(sources[0]) if len(sources) == 1 else UNREADABLE


def _outlook(body: "Body", members: Any) -> MailView:
    if body.kind in ("text", "binary"):  # Graph takes whole mails as MIME in base64
        return _read_mime(_decode_base64(_as_bytes(body.value)))
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
        str(message.get("subject", "")),
        texts,
        files,
    )


def _virtual(body: "Body", members: Any) -> MailView:
    if body.kind in ("text", "binary"):
        return UNREADABLE
    if not isinstance(members, Mapping):
        return None

    def people(name: str) -> list[str]:
        return [address for item in _items(members.get(name)) for address in _addresses_in(item)]

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
    return _mail(people("from"), people("to"), people("cc"), people("bcc"), subject, texts, files)


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


def _read_mime(data: bytes | None) -> MailView:
    if data is None:
        return UNREADABLE
    try:
        message = email.message_from_bytes(data, policy=email.policy.default)
        return _mime_mail(message) if message.keys() else UNREADABLE
    except (MessageError, ValueError, LookupError, AttributeError, IndexError, TypeError, RecursionError):
        # The parser of the standard library raises any of these on malformed headers.
        return UNREADABLE


def _mime_mail(message: EmailMessage) -> MailView:
    parts = list(islice(message.walk(), MAX_MIME_PARTS + 1))
    if len(parts) > MAX_MIME_PARTS or any(_header_length(part) > MAX_HEADER_LENGTH for part in parts):
        return UNREADABLE  # the parser of the standard library takes too long on these

    def people(name: str) -> list[str]:
        return _addresses_in(*(str(value) for value in message.get_all(name, [])))

    texts: list[str] = []
    files: list[dict[str, Any]] = []
    for part in parts:
        if part.is_multipart():
            continue
        content = part.get_payload(decode=True)
        data = content if isinstance(content, bytes) else b""
        name = part.get_filename()
        if name or part.get_content_maintype() != "text":
            files.append({"name": name or "", "contentType": part.get_content_type(), "size": len(data)})
        else:
            texts.append(plain(_decode_text(data, part.get_content_charset())))
    subject = "\n".join(str(value) for value in message.get_all("subject", []))
    return _mail(people("from"), people("to"), people("cc"), people("bcc"), subject, texts, files)


def _header_length(part: Message) -> int:
    return sum(len(name) + len(value) for name, value in part.raw_items())


def _decode_text(data: bytes, charset: str | None) -> str:
    try:
        return data.decode(charset or "utf-8", "replace")
    except LookupError:
        return data.decode("utf-8", "replace")


def _addresses_in(*values: Any) -> list[str]:
    """Bare addresses; what cannot be read as one is kept as it is, so that no list can contain it."""
    found = []
    for value in values:
        text = str(value.get("address", "")) if isinstance(value, Mapping) else str(value)
        if not text.strip():
            continue
        addresses = [address for _, address in getaddresses([text]) if address]
        found += [address.lower() for address in addresses] or [text.strip().lower()]
    return found


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
