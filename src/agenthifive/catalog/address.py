"""Addresses of a service file with their templates filled: probe, token and revocation endpoints, model base.

    "https://{siteUrl}/rest/x"  + {siteUrl: acme.atlassian.net}   ->  https://acme.atlassian.net/rest/x
    "{baseUrl}/models"          + {baseUrl: https://llm/v1}       ->  https://llm/v1/models
    "https://gitlab.com/api/v4" + {baseUrl: https://git.corp/x}   ->  https://git.corp/x/api/v4

Source: contract/catalog/SCHEMA.md section 2 (self_hosted) and 4.
"""

from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import quote

from agenthifive.catalog.hosts import covers_host, is_host_name
from agenthifive.catalog.schema import ServiceFile
from agenthifive.catalog.template import example_of, parse_template

BASE_URL: Final = "{baseUrl}"


class Unrenderable(ValueError):
    """An address cannot be built: a value is missing or is no part of a host name."""


def split_address(address: str) -> tuple[str, str]:
    """Host and the rest (from the first `/` or `?` on) of an https address, templates kept."""
    text = address.removeprefix("https://")
    ends = [at for at in (text.find("/"), text.find("?")) if at >= 0]
    end = min(ends, default=len(text))
    return text[:end], text[end:]


def render_address(file: ServiceFile, address: str, values: Mapping[str, Any]) -> str:
    """Fill the templates of an address of this file for one connection.

    Values stand raw in the host (they were checked when they were entered, and are again) and
    percent-encoded behind it.

    Shapes:
        values: fields of the connection, secrets included where the address needs them.
    Raises: Unrenderable.
    """
    base_url = values.get("baseUrl") if file.self_hosted else None
    try:
        if address.startswith(BASE_URL):
            if not base_url:
                raise Unrenderable("the connection has no base address")
            return f"{base_url}{_render_rest(address.removeprefix(BASE_URL), values)}"
        host_template, rest = split_address(address)
        if base_url and names_host(file, host_template):
            return f"{base_url}{_render_rest(rest, values)}"
        host = parse_template(host_template).render(values)
        if not is_host_name(host):
            raise Unrenderable("a value of the connection is no part of a host name")
        return f"https://{host}{_render_rest(rest, values)}"
    except KeyError as error:
        raise Unrenderable(f"the connection has no {error.args[0]}") from None


def names_host(file: ServiceFile, host_template: str) -> bool:
    """Whether a host of an address is, or renders to, a `[[host]]` of the file."""
    if host_template.startswith("{") and host_template.endswith("}") and host_template.count("{") == 1:
        return host_template in {host.tenant for host in file.hosts}
    return any(covers_host(host.name, example_of(host_template)) for host in file.hosts)


def _render_rest(rest: str, values: Mapping[str, Any]) -> str:
    return parse_template(rest).render(values, lambda value: quote(value, safe=""))
