"""What a server says once it serves: where it is, and, while nobody has an account, the one-time set-up link.

    on a terminal, or `up`:  the address and the link in a frame
    under a service manager: the link as one log line at WARNING
    --json:                  one object

The link is the one secret that must reach the operator through the log, so it does not pass the log's scrubber.
Source: contract/operations.md section 10 (first start), http.md section 14.1.
"""

import asyncio
import json
import sys
import time
from typing import Any, Final, NamedTuple

import psycopg
import structlog
from psycopg_pool import PoolTimeout

from agenthifive import __version__
from agenthifive.app import Application
from agenthifive.cli.console import Terminal, framed
from agenthifive.errors import AppError
from agenthifive.ids import wire_time_of

LINK_NOTE: Final = "Open it to create the first account. It works once, for 24 hours. Another: agenthifive setup-link"
ADMIN_NOTE: Final = "Open it to choose the password of ADMIN_EMAIL. It works once, for 24 hours."

log = structlog.get_logger(__name__)


class FirstLink(NamedTuple):
    """The link that lets the first person in. Shapes: is_for_admin: the account of ADMIN_EMAIL exists already."""

    url: str
    is_for_admin: bool = False


class Welcome:
    """Greets once."""

    def __init__(self, terminal: Terminal) -> None:
        self._terminal = terminal
        self._task: asyncio.Task[None] | None = None

    def begin(self, application: Application) -> None:
        """Greet as soon as the event loop has a moment."""
        self._task = asyncio.create_task(self._greet(application))

    async def _greet(self, application: Application) -> None:
        settings = application.settings
        link = await issue_link(application)
        terminal = self._terminal
        if terminal.is_json:
            name = "setPasswordLink" if link is not None and link.is_for_admin else "setupLink"
            terminal.finish({"url": settings.web_url, name: None if link is None else link.url})
        elif terminal.command == "up" or terminal.is_watched:
            terminal.show(greeting(settings.web_url, link, has_docs=settings.api_docs == "public"))
        else:
            log.info("ready", url=settings.web_url)
            if link is not None:
                print(log_line(link, is_json=settings.log_format != "console"), file=sys.stderr, flush=True)


async def issue_link(application: Application) -> FirstLink | None:
    """A link for the first person; None once somebody has an account, and when the database fails (which is logged)."""
    people: Any = application.keeper.people
    try:
        async with application.unit() as unit:
            if await people.setup.has_users(await unit.begin()):
                return None
            if people.first_admin is not None:
                link = await people.first_admin.create(unit)
                return None if link is None else FirstLink(link, is_for_admin=True)
            return FirstLink(await people.setup.issue_link(unit))
    except AppError:
        return None  # somebody was faster
    except (psycopg.Error, PoolTimeout) as error:
        log.warning("no_setup_link", error=type(error).__name__, advice="run: agenthifive setup-link")
        return None


def greeting(web_url: str, link: FirstLink | None, *, has_docs: bool) -> str:
    """The words for a person."""
    lines = [f"AgentHiFive {__version__} is ready at {web_url}"]
    if has_docs:
        lines.append(f"API documentation: {web_url}/docs")
    if link is not None:
        words = ("Password link", link.url, ADMIN_NOTE) if link.is_for_admin else ("Set-up link", link.url, LINK_NOTE)
        lines += ["", framed(*words)]
    return "\n".join([*lines, "", "Stop it with Ctrl-C."])


def log_line(link: FirstLink, *, is_json: bool) -> str:
    """The words for a log."""
    name, text = "setupLink", "nobody has an account yet: open the set-up link; it works once, for 24 hours"
    if link.is_for_admin:
        name, text = "setPasswordLink", "the account of ADMIN_EMAIL was made: choose its password within 24 hours"
    if not is_json:
        return f"WARNING {text}: {link.url}"
    return json.dumps({"level": "warning", "ts": wire_time_of(time.time()), "msg": text, name: link.url})
