"""The catalog as it ships, read once; and a small service that has one of everything."""

from pathlib import Path

import pytest

from agenthifive.catalog.catalog import Catalog, load_catalog


@pytest.fixture(scope="session")
def catalog() -> Catalog:
    """The built-in catalog."""
    return load_catalog()


@pytest.fixture(scope="session")
def demo_text() -> str:
    """The text of `demo.toml`: a valid file that uses every table."""
    return (Path(__file__).parent / "demo.toml").read_text(encoding="utf-8")
