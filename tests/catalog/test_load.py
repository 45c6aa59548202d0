"""Files among each other, the operator's own, and how long it takes to read them all."""

import time
from pathlib import Path

import pytest

from agenthifive.catalog.catalog import load_catalog, read_extra_hosts
from agenthifive.catalog.load import BUILT_IN, read_files
from agenthifive.catalog.schema import CatalogError


def write(folder: Path, name: str, text: str) -> Path:
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


def test_extra_files_come_behind_the_built_in_ones(tmp_path: Path, demo_text: str) -> None:
    write(tmp_path, "demo.toml", demo_text)
    ids = [file.id for file in read_files(tmp_path)]
    assert ids[-1] == "demo"
    assert ids[:-1] == sorted(path.stem for path in BUILT_IN.glob("*.toml"))


def test_a_built_in_service_is_replaced_only_when_the_file_says_so(tmp_path: Path) -> None:
    text = (BUILT_IN / "notion.toml").read_text(encoding="utf-8").replace('name = "Notion"', 'name = "Mine"')
    write(tmp_path, "notion.toml", text)
    with pytest.raises(CatalogError, match=r"notion.toml: override"):
        load_catalog(tmp_path)
    write(tmp_path, "notion.toml", "override = true\n" + text)
    catalog = load_catalog(tmp_path)
    replaced = catalog.get("notion")
    assert replaced is not None
    assert replaced.file.name == "Mine"
    assert [service.id for service in catalog.services] == sorted(service.id for service in catalog.services)


@pytest.mark.parametrize(
    ("old", "new", "key"),
    [
        ('id = "demo-read"', 'id = "gmail-read"', "action_template[0].id"),
        ('slug = "demo"', 'slug = "openai"', "llm.slug"),
    ],
)
def test_ids_are_unique_over_all_files(tmp_path: Path, demo_text: str, old: str, new: str, key: str) -> None:
    write(tmp_path, "demo.toml", demo_text.replace(old, new))
    with pytest.raises(CatalogError) as refused:
        read_files(tmp_path)
    assert (refused.value.file, refused.value.key) == ("demo.toml", key)


def test_ids_that_older_clients_know_cannot_disappear(tmp_path: Path) -> None:
    text = (BUILT_IN / "notion.toml").read_text(encoding="utf-8").replace('id = "notion-read"', 'id = "notion-see"')
    write(tmp_path, "notion.toml", "override = true\n" + text)
    with pytest.raises(CatalogError, match=r"notion\.toml: action_template: notion-read is missing"):
        read_files(tmp_path)


def test_a_folder_that_is_not_there_stops_the_start(tmp_path: Path) -> None:
    with pytest.raises(CatalogError, match="is no folder"):
        load_catalog(tmp_path / "nowhere")


def test_loading_is_quick() -> None:
    """A quarter of a second for the whole catalog, so that a start stays a start."""
    spent_s = []
    for _ in range(5):
        began = time.process_time()
        load_catalog()
        spent_s.append(time.process_time() - began)
    assert min(spent_s) < 0.25


# ---- CATALOG_EXTRA_HOSTS -------------------------------------------------------------------------------------


def test_extra_hosts_belong_to_their_service_only() -> None:
    catalog = load_catalog(
        extra_hosts="openai=http://127.0.0.1:9000, gitlab=https://git.corp ,openai=https://[fd00::1]:444"
    )
    openai, gitlab, notion = (catalog.get(name) for name in ("openai", "gitlab", "notion"))
    assert openai is not None
    assert gitlab is not None
    assert notion is not None
    assert openai.extra_origins == (("http", "127.0.0.1", 9000), ("https", "fd00::1", 444))
    assert gitlab.extra_origins == (("https", "git.corp", 443),)
    assert notion.extra_origins == ()


@pytest.mark.parametrize(
    "entry",
    [
        "openai", "openai=", "openai=127.0.0.1", "openai=ftp://x.test", "nosuch=https://x.test",
        "openai=https://x.test/path", "openai=https://u@x.test", "openai=https://x.test:0",
        "openai=https://x.test:70000", "openai=https://010.0.0.1", "openai=https://x.test.", "=https://x.test",
        "openai=https://[zz]", "openai=https://x.test?a",
    ],
)  # fmt: skip
def test_a_malformed_extra_host_is_named(entry: str) -> None:
    with pytest.raises(ValueError, match="CATALOG_EXTRA_HOSTS") as refused:
        read_extra_hosts(f"notion=https://ok.test,{entry}", {"notion", "openai"})
    assert repr(entry) in str(refused.value)
