"""A real Chromium in front of the whole application. Where none is installed these tests are not collected; in CI that
is a failure."""

import os
import shutil
import socket
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio
from playwright.async_api import Browser, async_playwright

from application import Place, run_application
from browser.visitor import SIZES, Visitor
from databases import fresh_database
from listening import listening

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
_ARGUMENTS = (
    *("--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking"),
    *("--disable-component-update", "--disable-sync"),
)

if CHROMIUM is None and not os.environ.get("CI"):
    collect_ignore_glob = ["test_*.py"]


def pytest_report_header() -> str:
    """Say which browser it is."""
    return f"browser: {CHROMIUM or 'none found, pages are not looked at in one'}"


@pytest_asyncio.fixture(scope="session")
async def browser() -> AsyncIterator[Browser]:
    """The browser, without a profile."""
    assert CHROMIUM is not None, "CI installs Chromium"
    async with async_playwright() as playwright:
        opened = await playwright.chromium.launch(executable_path=CHROMIUM, args=list(_ARGUMENTS))
        yield opened
        await opened.close()


@pytest.fixture
def environ() -> dict[str, str]:
    """Settings of the application; a module may ask for others."""
    return {}


@pytest_asyncio.fixture
async def place(worker_id: str, tmp_path: Path, environ: dict[str, str]) -> AsyncIterator[Place]:
    """An application nobody has set up yet, behind a port of its own; its address is `app.settings.web_url`."""
    with fresh_database(f"browser_{worker_id}") as made:
        listener = socket.create_server(("127.0.0.1", 0))
        origin = f"http://localhost:{listener.getsockname()[1]}"
        async with (
            run_application(made.app_dsn, tmp_path, has_owner=False, **{**environ, "WEB_URL": origin}) as running,
            listening(running.app.gate, listener),
        ):
            yield running


@pytest_asyncio.fixture(params=[(size, scheme) for size in SIZES for scheme in ("light", "dark")])
async def visitor(request: pytest.FixtureRequest, browser: Browser, place: Place) -> AsyncIterator[Visitor]:
    size, scheme = request.param
    width, height = SIZES[size]
    page = await browser.new_page(viewport={"width": width, "height": height}, color_scheme=scheme)
    yield Visitor(page, place.app.settings.web_url)
    await page.close()
