"""Ids that older policies, clients and documents know: they are never renamed and never missing.

Source: contract/catalog/SCHEMA.md sections 1 and 9, contract/presets.json (`templates`).
"""

from collections.abc import Mapping
from typing import Final

ORIGINAL_TEMPLATES: Final[Mapping[str, tuple[str, ...]]] = {
    "google-gmail": ("gmail-read", "gmail-manage"),
    "google-calendar": ("calendar-read", "calendar-manage"),
    "google-drive": ("drive-read", "drive-manage"),
    "google-docs": ("docs-read", "docs-manage"),
    "google-sheets": ("sheets-read", "sheets-manage"),
    "google-contacts": ("contacts-read", "contacts-manage"),
    "microsoft-teams": ("teams-read", "teams-manage"),
    "microsoft-outlook-mail": ("outlook-read", "outlook-manage"),
    "microsoft-outlook-calendar": ("outlook-calendar-read", "outlook-calendar-manage"),
    "microsoft-onedrive": ("onedrive-read", "onedrive-manage"),
    "microsoft-outlook-contacts": ("outlook-contacts-read", "outlook-contacts-manage"),
    "notion": ("notion-read", "notion-manage"),
    "trello": ("trello-read", "trello-manage"),
    "jira": ("jira-read", "jira-manage"),
    "email-imap": ("email-read", "email-manage"),
    "telegram": ("telegram",),
    "slack": ("slack",),
    "anthropic-messages": ("anthropic-messages",),
    "openai": ("openai",),
    "gemini": ("gemini",),
    "openrouter": ("openrouter",),
}
"""The 21 services with values carried over, and the templates each of them must offer."""

GENERIC: Final = "generic-http"
"""The service of any other HTTP API; code relies on its name."""
