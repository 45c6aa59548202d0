"""Write docs/reference/ from the code, or say how it differs.

python -m tools.reference            write
python -m tools.reference --check    exit 1 with a diff when a page is not what the code says
"""

import sys
from collections.abc import Callable, Mapping, Sequence
from difflib import unified_diff
from pathlib import Path
from typing import Final

from agenthifive.operations.reference import render_env_example, render_settings
from tools.reference_authorisation import render_authorisation
from tools.reference_cli import render_cli
from tools.reference_routes import render_routes
from tools.reference_services import render_services
from tools.reference_words import render_audit_actions, render_errors, render_scopes

ROOT: Final = Path(__file__).parents[1]
PAGES: Final[Mapping[str, Callable[[], str]]] = {
    "docs/reference/settings.md": render_settings,
    "docs/reference/errors.md": render_errors,
    "docs/reference/audit-actions.md": render_audit_actions,
    "docs/reference/routes.md": render_routes,
    "docs/reference/authorisation.md": render_authorisation,
    "docs/reference/services.md": render_services,
    "docs/reference/scopes.md": render_scopes,
    "docs/reference/cli.md": render_cli,
    ".env.example": render_env_example,
}


def main(arguments: Sequence[str]) -> int:
    """Write or check every page; the exit code."""
    if arguments not in ([], ["--check"]):
        sys.stderr.write("usage: python -m tools.reference [--check]\n")
        return 2
    if not arguments:
        for name, text in {name: render() for name, render in PAGES.items()}.items():
            (ROOT / name).write_text(text, "utf-8")
        return 0
    differences = [difference for name in PAGES if (difference := diff(name))]
    sys.stdout.write("".join(differences))
    return 1 if differences else 0


def diff(name: str) -> str:
    """How a page in the repository differs from what the code says; empty when it does not."""
    path = ROOT / name
    written = path.read_text("utf-8") if path.exists() else ""
    lines = unified_diff(
        written.splitlines(keepends=True), PAGES[name]().splitlines(keepends=True), name, f"{name} (from the code)"
    )
    return "".join(lines)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
