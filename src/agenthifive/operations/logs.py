"""Logs: one line an event, JSON or readable; what looks like one of our secrets is masked last.

Source: contract/operations.md section 8.4.
"""

import logging
import re
import sys
from collections.abc import MutableMapping
from typing import Any, Final

import structlog

_SECRETS: Final = re.compile(
    r"ah5[tpb]_[A-Za-z0-9_-]{8,}|whsec_[A-Za-z0-9_-]{8,}|eyJ[A-Za-z0-9_-]{10,}\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]*"
    r"|-----BEGIN [A-Z ]*PRIVATE KEY-----[\s\S]*?(?:-----END [A-Z ]*PRIVATE KEY-----|\Z)"
    r"|\b(?:sk-|sk_live_|xox[a-z]-|gh[opsu]_|glpat-)[A-Za-z0-9_-]{8,}|\b[0-9]{5,20}:[A-Za-z0-9_-]{30,64}"
    r"|(?<=://)[^/\s:@]*:[^/\s@]+(?=@)"
)
_PARAMETERS: Final = re.compile(r"([?&](?:token|key|code|access_token)=)[^&\s]+")


class Readable(str):
    """A text that is meant to be read in the log as it is: the links of mails on an instance without a mail server."""

    __slots__ = ()


def scrub(_: Any, __: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """The last processor: mask whatever still looks like a secret."""
    for name, value in event.items():
        if isinstance(value, str) and not isinstance(value, Readable):
            event[name] = _PARAMETERS.sub(r"\1***", _SECRETS.sub("***", value))
    return event


def is_readable(form: str | None) -> bool:
    """Whether lines are for a person at a terminal."""
    return form == "console" or (form is None and sys.stderr.isatty())


def configure_logs(level: str, form: str | None) -> None:
    """Send structlog and the standard library's logs to standard error, in one form."""
    is_for_people = is_readable(form)
    renderer: Any = structlog.dev.ConsoleRenderer() if is_for_people else structlog.processors.JSONRenderer()
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True, key="ts"),
            structlog.processors.format_exc_info,
            scrub,
            structlog.processors.EventRenamer("msg"),
            renderer,
        ]
        if not is_for_people
        else [
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="%H:%M:%S", utc=False),
            structlog.processors.format_exc_info,
            scrub,
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelNamesMapping()[level.upper()]),
        logger_factory=structlog.WriteLoggerFactory(file=sys.stderr),
        cache_logger_on_first_use=True,
    )
    logging.basicConfig(level=level.upper(), format="%(levelname)s %(name)s %(message)s", stream=sys.stderr, force=True)
    for quiet in ("uvicorn", "psycopg.pool", "asyncio"):
        logging.getLogger(quiet).setLevel(logging.WARNING)
