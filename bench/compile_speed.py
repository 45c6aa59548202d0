"""How fast policies compile: 10,000 documents of the tiers, as a start-up or a flushed memory meets them.

python -m bench.compile_speed [--profile]

shared:  tiers as they are; policies of one tier share their patterns      target <= 2 s on the reference machine
own:     each with a pattern nobody else has                                what sharing cannot help with
"""

import argparse
import cProfile
import pstats
import time
from collections.abc import Mapping, Sequence
from typing import Any, Final

from agenthifive.catalog.catalog import Catalog, load_catalog
from agenthifive.catalog.facts import service_facts
from agenthifive.policies.tiers import bind_at_large
from agenthifive.policy import presets
from agenthifive.policy.compile import compile_policy
from agenthifive.policy.model import ServiceFacts

COUNT: Final = 10_000
_OWN_COUNT: Final = 1_000

Document = tuple[Mapping[str, Any], ServiceFacts]


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--profile", action="store_true", help="show where the time goes")
    arguments = parser.parse_args()
    documents = documents_of_tiers(load_catalog())
    print(f"{len(documents)} documents: every tier of every template with tiers of its own")
    shared = [documents[number % len(documents)] for number in range(COUNT)]
    if arguments.profile:
        with cProfile.Profile() as profile:
            compile_all(shared)
        pstats.Stats(profile).sort_stats("tottime").print_stats(15)
        return
    report("shared", compile_all(shared), COUNT)
    own = [with_own_pattern(documents[number % len(documents)], number) for number in range(_OWN_COUNT)]
    report("own", compile_all(own), _OWN_COUNT)


def documents_of_tiers(catalog: Catalog) -> Sequence[Document]:
    """Every tier with the facts of its service."""
    documents = []
    for service in catalog.services:
        facts = service_facts(service, service.default_variant, bind_at_large(service))
        for template in service.file.templates:
            if presets.has_template(template.id):
                documents += [(presets.template_config(template.id, tier), facts) for tier in presets.TIERS]
    return documents


def with_own_pattern(document: Document, number: int) -> Document:
    """The document with one more rule, about a path of its own."""
    content, facts = document
    rule = {"match": {"urlPattern": f"^/own/{number}/"}, "action": "deny"}
    rules = {**content["rules"], "request": [rule, *content["rules"]["request"]]}
    return {**content, "rules": rules}, facts


def compile_all(documents: Sequence[Document]) -> float:
    """Processor seconds to compile them."""
    started = time.process_time()
    for content, facts in documents:
        compile_policy(content, facts)
    return time.process_time() - started


def report(name: str, seconds: float, count: int) -> None:
    """One line."""
    print(f"{name:7} {count:6} policies {seconds:7.2f} s {seconds / count * 1e6:8.0f} us each")


if __name__ == "__main__":
    main()
