"""One key service a test."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from vault.kms.stage import Stage, staged


@pytest.fixture
def azure(tmp_path: Path) -> Iterator[Stage]:
    """Azure Key Vault."""
    with staged("azure-kv", tmp_path) as stage:
        yield stage


@pytest.fixture
def aws(tmp_path: Path) -> Iterator[Stage]:
    """AWS KMS."""
    with staged("aws-kms", tmp_path) as stage:
        yield stage


@pytest.fixture
def gcp(tmp_path: Path) -> Iterator[Stage]:
    """Google Cloud KMS."""
    with staged("gcp-kms", tmp_path) as stage:
        yield stage


@pytest.fixture
def transit(tmp_path: Path) -> Iterator[Stage]:
    """Vault."""
    with staged("vault-transit", tmp_path) as stage:
        yield stage
