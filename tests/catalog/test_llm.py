"""What a path behind the LLM proxy means. contract/broker.md section 14.1."""

import pytest

from agenthifive.catalog.catalog import Catalog
from agenthifive.catalog.llm import format_of, upstream_url


@pytest.mark.parametrize(
    ("slug", "tail", "url"),
    [
        ("openai", "chat/completions", "https://api.openai.com/v1/chat/completions"),
        ("openai", "v1/chat/completions", "https://api.openai.com/v1/chat/completions"),
        ("openai", "v1", "https://api.openai.com/v1"),
        ("openai", "v1beta/x", "https://api.openai.com/v1/v1beta/x"),
        ("openrouter", "models", "https://openrouter.ai/api/v1/models"),
        ("openrouter", "v1/models", "https://openrouter.ai/api/v1/models"),
        ("openrouter", "api/v1/models", "https://openrouter.ai/api/v1/models"),
        ("anthropic", "v1/messages", "https://api.anthropic.com/v1/messages"),
        ("gemini", "models/g:streamGenerateContent", "https://generativelanguage.googleapis.com/v1beta/models/g:streamGenerateContent"),
        ("gemini", "v1beta/models", "https://generativelanguage.googleapis.com/v1beta/models"),
        ("groq", "openai/v1/models", "https://api.groq.com/openai/v1/models"),
        ("groq", "v1/models", "https://api.groq.com/openai/v1/models"),
        ("openai", "../admin", "https://api.openai.com/v1/../admin"),
        ("openai", "", "https://api.openai.com/v1/"),
    ],
)  # fmt: skip
def test_the_base_is_put_before_once(catalog: Catalog, slug: str, tail: str, url: str) -> None:
    """Tails that leave the base stay as they are: the strict parser refuses them."""
    service = catalog.llm(slug)
    assert service is not None
    assert upstream_url(service, {}, tail) == url


def test_the_base_of_a_connection(catalog: Catalog) -> None:
    own, azure = catalog.llm("openai-compatible"), catalog.llm("azure-openai")
    assert own is not None
    assert azure is not None
    assert upstream_url(own, {"baseUrl": "http://llm.corp:8080/v1"}, "v1/models") == "http://llm.corp:8080/v1/models"
    url = upstream_url(azure, {"resource": "acme"}, "chat/completions")
    assert url == "https://acme.openai.azure.com/openai/v1/chat/completions"


@pytest.mark.parametrize(
    ("slug", "path", "dialect"),
    [
        ("openai", "/v1/chat/completions", "openai-chat"),
        ("openai", "/v1/responses", "openai-responses"),
        ("openai", "/v1/responses/r1/cancel", "openai-responses"),
        ("deepseek", "/anthropic/v1/messages", "anthropic-messages"),
        ("anthropic", "/v1/messages", "anthropic-messages"),
        ("gemini", "/v1beta/models/x:generateContent", "gemini"),
        ("xai", "/v1/messages", "anthropic-messages"),
    ],
)
def test_the_dialect_goes_by_the_path(catalog: Catalog, slug: str, path: str, dialect: str) -> None:
    service = catalog.llm(slug)
    assert service is not None
    assert format_of(service, {}, path) == dialect


def test_a_service_without_models_has_no_upstream(catalog: Catalog) -> None:
    notion = catalog.get("notion")
    assert notion is not None
    with pytest.raises(ValueError, match="no LLM service"):
        upstream_url(notion, {}, "x")
