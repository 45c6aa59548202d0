"""The superadmin an operator names in a setting: made once, while nobody has an account.

    ADMIN_EMAIL -> nobody has an account? -> superadmin, verified, without a password -> link to choose one

Replicas that start together wait for each other; the one that comes second finds an account and makes nothing.
Source: contract/operations.md section 10 (first start), contract/http.md section 14.1.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial

from agenthifive.db.unit import Unit
from agenthifive.notify import texts
from agenthifive.notify.mail import Mailer
from agenthifive.people import links, store
from agenthifive.people.accounts import Accounts
from agenthifive.people.links import Purpose
from agenthifive.people.model import Email
from agenthifive.words import AuditAction


@dataclass(frozen=True, slots=True)
class FirstAdmin:
    """Makes the account of ADMIN_EMAIL. Shapes: release: version, gitSha, revision, for the record."""

    email: Email
    web_url: str
    release: Mapping[str, str]
    accounts: Accounts
    mailer: Mailer

    async def create(self, unit: Unit) -> str | None:
        """The link to choose the password, for 24 hours; None when somebody has an account already.

        The link is mailed too, where mail leaves.
        """
        connection = await unit.begin()
        await store.lock_first_user(connection)
        if await store.has_users(connection):
            return None
        name = self.email.text.partition("@")[0]
        unit.record(AuditAction.INSTANCE_SET_UP, self.release)
        account = await self.accounts.create_user(
            unit, self.email.text, name, None, is_superadmin=True, method="admin_email"
        )
        token = await links.issue(connection, Purpose.RESET, account.user.id, links.SET_PASSWORD_TTL_S)
        link = links.reset_url(self.web_url, token)
        if self.mailer.delivers:
            unit.after_commit(partial(self.mailer.post, texts.set_password(self.email.text, link)))
        return link
