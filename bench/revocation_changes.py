"""The ways to stop an agent, each with the way to let it go on. Source: contract/goals.md R9."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from bench.account import Agent, Connection, allowlists, invite
from bench.rotation_stage import Site

_ELSEWHERE: Final = "/v2/**"
_HERE: Final = "/v1/**"


@dataclass(frozen=True, slots=True)
class Change:
    """One way. `stop` ends what the target may do; `undo` leads back to where it may."""

    name: str
    stop: Callable[[], None]
    undo: Callable[[], None]


class Target:
    """An agent of a second person who has no part in the administration: what it presents and where it calls."""

    def __init__(self, site: Site, origin: str) -> None:
        self.site = site
        self.person_id, self.person = invite(site.survivor, site.account, "mallory@example.com")
        self.agent: Agent = self.person.create_agent("Stopped")
        self._origin = origin
        self.connection: Connection
        self.policy_id: str
        self.connect()

    def connect(self) -> None:
        """Let the agent use a connection that was never revoked."""
        self.connection = self.person.connect("Provider", self._origin)
        self.policy_id = self.person.allow(self.agent, self.connection)

    def renew(self) -> None:
        """Give the agent another access token."""
        self.agent = self.person.renew(self.agent)

    def enable(self) -> None:
        """Let a disabled agent work again; its tokens are gone."""
        self.person.post(f"/v1/agents/{self.agent.id}/enable", {})
        self.renew()

    def permit(self, paths: str) -> None:
        """Change what the policy allows."""
        body = {"allowlists": allowlists(self.connection, paths)}
        self.person.put(f"/v1/policies/{self.policy_id}/allowlists", body)

    def freeze(self, verb: str, scope: str, target_id: str | None) -> None:
        """Use the kill switch."""
        body = {"scope": scope, **({} if target_id is None else {"targetId": target_id})}
        self.site.account.administer(f"/v1/admin/{verb}", body)


def list_changes(target: Target) -> Sequence[Change]:
    """Every way, those that need a recent sign-in first."""
    person, agent_id, admin = target.person, target.agent.id, target.site.account

    def freezing(scope: str, target_id: str | None) -> Change:
        def switch(verb: str) -> None:
            target.freeze(verb, scope, target_id)

        return Change(f"{scope} frozen", lambda: switch("freeze"), lambda: switch("unfreeze"))

    return (
        Change(
            "person disabled",
            lambda: admin.administer(f"/v1/admin/users/{target.person_id}/disable", {}),
            lambda: admin.administer(f"/v1/admin/users/{target.person_id}/enable", {}),
        ),
        freezing("agent", agent_id),
        freezing("instance", None),
        Change("agent disabled", lambda: person.post(f"/v1/agents/{agent_id}/disable", {}), target.enable),
        Change("tokens revoked", lambda: person.post(f"/v1/agents/{agent_id}/revoke-tokens", {}), target.renew),
        Change("policy changed", lambda: target.permit(_ELSEWHERE), lambda: target.permit(_HERE)),
        Change(
            "connection revoked",
            lambda: person.post(f"/v1/connections/{target.connection.id}/revoke", {}),
            target.connect,
        ),
    )
