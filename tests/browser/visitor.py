"""Somebody who looks at our pages, on a desk or on a phone, by day or by night."""

from typing import Final

from playwright.async_api import Page

SIZES: Final = {"desktop": (1280, 800), "phone": (390, 844)}
WIDER_THAN_SCREEN: Final = "document.documentElement.scrollWidth > document.documentElement.clientWidth"
AUTHENTICATOR: Final = {
    "protocol": "ctap2",
    "transport": "internal",
    "hasResidentKey": True,
    "hasUserVerification": True,
    "isUserVerified": True,
    "automaticPresenceSimulation": True,
}
"""A device that unlocks by itself, inside the browser."""


class Visitor:
    """A page, and everything about it that must not happen."""

    def __init__(self, page: Page, origin: str) -> None:
        self.page = page
        self.faults: list[str] = []
        page.on("console", lambda said: self.faults.append(said.text) if said.type == "error" else None)
        page.on("pageerror", lambda error: self.faults.append(str(error)))
        page.on("request", lambda sent: self._look_at(sent.url, origin))

    def _look_at(self, url: str, origin: str) -> None:
        if not url.startswith((f"{origin}/", "data:")):
            self.faults.append(f"foreign request: {url}")

    async def check(self) -> None:
        """Nothing went wrong, nothing is cut off."""
        assert self.faults == []
        assert not await self.page.evaluate(WIDER_THAN_SCREEN)
