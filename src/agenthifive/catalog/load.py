"""From a folder of TOML to checked service files; the first bad file stops the start-up.

    *.toml -> tomllib -> schema.py (types, unknown keys) -> checks -> files among each other -> ServiceFile

Source: contract/catalog/SCHEMA.md sections 1, 12 (CATALOG_DIR) and 13.
"""

import re
import tomllib
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Final

import msgspec

from agenthifive.catalog.check_parts import Findings
from agenthifive.catalog.checks import (
    check_headers,
    check_hosts,
    check_names,
    check_stripped,
    check_tests,
    check_whole_hosts,
)
from agenthifive.catalog.checks_calls import (
    check_classes,
    check_defaults,
    check_llm,
    check_lookups,
    check_redirects,
    check_templates,
)
from agenthifive.catalog.checks_credential import check_credentials, check_variant_ids
from agenthifive.catalog.originals import GENERIC, ORIGINAL_TEMPLATES
from agenthifive.catalog.schema import CatalogError, ServiceFile

BUILT_IN: Final = Path(__file__).parent / "services"

CHECKS: Final[tuple[Callable[[ServiceFile], Findings], ...]] = (
    check_names,
    check_stripped,
    check_variant_ids,
    check_hosts,
    check_headers,
    check_credentials,
    check_whole_hosts,
    check_tests,
    check_classes,
    check_redirects,
    check_defaults,
    check_templates,
    check_llm,
    check_lookups,
)

_AT: Final = re.compile(r"(.*?)(?: - at `\$\.?(.*)`)?", re.DOTALL)
_NAMED: Final = re.compile(r"(Object contains unknown|Object missing required) field `(.*)`")


def read_files(extra_dir: Path | None = None) -> list[ServiceFile]:
    """Every service file in catalog order: by id, the operator's own behind the built-in ones.

    Raises: CatalogError naming file and key.
    """
    files = _read_folder(BUILT_IN)
    if extra_dir is not None:
        for service_id, file in _read_folder(extra_dir).items():
            if service_id in files and not file.override:
                name = f"{service_id}.toml"
                raise CatalogError(name, "override", "a built-in service is replaced only with override = true")
            files[service_id] = file
    _check_together(files.values())
    return list(files.values())


def read_file(path: Path) -> ServiceFile:
    """One checked file. Raises: CatalogError."""
    try:
        data = tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise CatalogError(path.name, "", f"is no TOML: {error}") from None
    except OSError as error:
        raise CatalogError(path.name, "", f"cannot be read: {error.strerror}") from None
    try:
        file = msgspec.convert(data, ServiceFile)
    except msgspec.ValidationError as error:
        raise CatalogError(path.name, *_explain(str(error))) from None
    if f"{file.id}.toml" != path.name:
        raise CatalogError(path.name, "id", f"{file.id!r} is not the name of the file")
    for check in CHECKS:
        for key, fault in check(file):
            raise CatalogError(path.name, key, fault)
    return file


def _read_folder(folder: Path) -> dict[str, ServiceFile]:
    if not folder.is_dir():
        raise CatalogError(str(folder), "", "is no folder")
    files = (read_file(path) for path in sorted(folder.glob("*.toml"), key=lambda path: path.stem))
    return {file.id: file for file in files}


def _explain(text: str) -> tuple[str, str]:
    """Key and fault out of the words of the decoder: `… field `x` - at `$.host[0]`` is key `host[0].x`."""
    match = _AT.fullmatch(text)
    assert match is not None  # the pattern takes every text
    fault, key = match[1], match[2] or ""
    named = _NAMED.match(fault)
    if named is None:
        return key, fault
    key = f"{key}.{named[2]}" if key else named[2]
    return key, "unknown key" if "unknown" in named[1] else "is missing"


def _check_together(files: Iterable[ServiceFile]) -> None:
    """Template ids and model slugs are unique, and what older clients know is there."""
    templates: dict[str, str] = {}
    slugs: dict[str, str] = {}
    ids: set[str] = set()
    for file in files:
        ids.add(file.id)
        for number, template in enumerate(file.templates):
            if template.id in templates:
                owner = templates[template.id]
                raise _twice(file, f"action_template[{number}].id", template.id, owner)
            templates[template.id] = file.id
        if file.llm is not None:
            if file.llm.slug in slugs:
                raise _twice(file, "llm.slug", file.llm.slug, slugs[file.llm.slug])
            slugs[file.llm.slug] = file.id
    for service_id, wanted in {**ORIGINAL_TEMPLATES, GENERIC: ()}.items():
        if service_id not in ids:
            raise CatalogError(f"{service_id}.toml", "", "is missing")
        for template_id in wanted:
            if templates.get(template_id) != service_id:
                raise CatalogError(f"{service_id}.toml", "action_template", f"{template_id} is missing")


def _twice(file: ServiceFile, key: str, name: str, owner: str) -> CatalogError:
    return CatalogError(f"{file.id}.toml", key, f"{name!r} is also in {owner}.toml")
