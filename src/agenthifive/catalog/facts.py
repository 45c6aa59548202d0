"""What the policy engine must know of a service and a connection to it.

Source: contract/policy.md section 3, catalog/SCHEMA.md section 2.
"""

from agenthifive.catalog.binding import Binding
from agenthifive.catalog.service import Service, Variant
from agenthifive.policy.model import HostFacts, ServiceFacts


def service_facts(service: Service, variant: Variant, binding: Binding) -> ServiceFacts:
    """The facts of one connection.

    `hosts` are the names of the file (an allowlist may be written for the wildcard); hosts of self-hosted
    connections and of the operator stand in `origins` with scheme, port and prefix.
    """
    file = service.file
    named = {
        spec.name: HostFacts(spec.name, spec.path_case == "insensitive")
        for spec in file.hosts
        if not binding.has_base_url and (not spec.variants or variant.id in spec.variants)
    }
    own = [bound for bound in binding.hosts if bound.catalog_host is None]
    for bound in own:
        named.setdefault(bound.origin[1], HostFacts(bound.origin[1], bound.rule.ignores_case))
    return ServiceFacts(
        service=file.id,
        provider=file.provider,
        hosts=tuple(named.values()),
        constraints=file.constraints,
        params_in_query=file.args_anywhere,
        is_llm=file.llm is not None,
        models=frozenset(variant.spec.models),
        origins=tuple((*bound.origin, bound.prefix) for bound in own),
    )
