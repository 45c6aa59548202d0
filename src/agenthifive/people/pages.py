"""The pages of people, all of them: set-up, sign-in, and those of somebody who is signed in."""

from typing import Final

from agenthifive.edge.routing import Routes
from agenthifive.people import account_pages, setup_pages, sign_in_pages

routes: Final = Routes("pages")
for _each in (setup_pages, sign_in_pages, account_pages):
    routes.router.routes.extend(_each.routes.router.routes)
