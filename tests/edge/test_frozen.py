"""What is stopped, and who is told so."""

import pytest

from agenthifive.edge.callers import Caller
from agenthifive.edge.frozen import Freeze, FreezeScope, Frozen
from agenthifive.errors import AppError
from agenthifive.words import PrincipalType

HERE, ELSEWHERE, BOT, OTHER = "w1", "w2", "a1", "a2"


def frozen(*freezes: Freeze) -> Frozen:
    made = Frozen()
    made.note_recorded(freezes)
    return made


def test_nothing_is_stopped_at_first_and_after_the_last_freeze_is_lifted() -> None:
    made = frozen(Freeze(FreezeScope.AGENT, BOT))
    assert made.is_any
    made.note_recorded([])
    assert not made.is_any
    assert made.scope_of(HERE, BOT) is None
    assert not Frozen().is_any


@pytest.mark.parametrize(
    ("freeze", "workspace_id", "agent_id", "scope"),
    [
        (Freeze(FreezeScope.INSTANCE), ELSEWHERE, None, FreezeScope.INSTANCE),
        (Freeze(FreezeScope.WORKSPACE, HERE), HERE, BOT, FreezeScope.WORKSPACE),
        (Freeze(FreezeScope.WORKSPACE, HERE), HERE, None, FreezeScope.WORKSPACE),
        (Freeze(FreezeScope.WORKSPACE, HERE), ELSEWHERE, BOT, None),
        (Freeze(FreezeScope.AGENT, BOT), HERE, BOT, FreezeScope.AGENT),
        (Freeze(FreezeScope.AGENT, BOT), HERE, OTHER, None),
        (Freeze(FreezeScope.AGENT, BOT), HERE, None, None),
    ],
)
def test_a_freeze_stops_what_it_names_and_nothing_else(
    freeze: Freeze, workspace_id: str, agent_id: str | None, scope: FreezeScope | None
) -> None:
    assert frozen(freeze).scope_of(workspace_id, agent_id) is scope


def test_the_file_and_the_database_stop_independently() -> None:
    made = frozen(Freeze(FreezeScope.AGENT, BOT))
    made.note_file(Freeze(FreezeScope.INSTANCE, is_file=True))
    assert made.count() == {FreezeScope.INSTANCE: 1, FreezeScope.WORKSPACE: 0, FreezeScope.AGENT: 1}
    assert made.scope_of(ELSEWHERE, OTHER) is FreezeScope.INSTANCE
    made.note_recorded([])
    assert made.scope_of(ELSEWHERE, OTHER) is FreezeScope.INSTANCE
    made.note_file(None)
    assert not made.is_any


@pytest.mark.parametrize(
    ("kind", "method", "is_refused"),
    [
        (PrincipalType.AGENT, "GET", True),
        (PrincipalType.AGENT, "POST", True),
        (PrincipalType.PAT, "GET", False),
        (PrincipalType.PAT, "HEAD", False),
        (PrincipalType.PAT, "POST", True),
        (PrincipalType.PAT, "PUT", True),
        (PrincipalType.PAT, "PATCH", True),
        (PrincipalType.PAT, "DELETE", True),
        (PrincipalType.USER, "POST", False),
        (PrincipalType.USER, "DELETE", False),
    ],
)
def test_agents_do_nothing_programs_change_nothing_and_people_put_things_right(
    kind: PrincipalType, method: str, is_refused: bool
) -> None:
    caller = Caller(kind, "id", HERE, user_id="olga", agent_id=BOT if kind is PrincipalType.AGENT else None)
    made = frozen(Freeze(FreezeScope.WORKSPACE, HERE, "secret reason"))
    if not is_refused:
        made.check_caller(caller, method)
        return
    with pytest.raises(AppError) as refused:
        made.check_caller(caller, method)
    assert (refused.value.code, refused.value.status) == ("frozen", 403)
    assert "secret reason" not in str(refused.value.body())
    frozen(Freeze(FreezeScope.WORKSPACE, ELSEWHERE)).check_caller(caller, method)
