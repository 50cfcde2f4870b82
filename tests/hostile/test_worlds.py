"""Random correct servers over a real wire, through the public client: the word is the server's, or is not said yet."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from tests.download.worlds import NEVER, World, any_world
from tests.hostile.worlds import Played, play

_FEW, _AT_ONCE = 25, 50


def check(played: Played) -> None:
    server, state = played.server, played.download.state
    said, true = str(state.status), server.outcome
    context = f"{played.world}\n{true} at {server.ends_at}, ended at {played.ended_at}: {state}"
    if not state.done:
        assert not server.tells, f"the flags tell, and it never ended: {context}"
        return
    assert played.ended_at >= server.ends_at, f"an end before the end: {context}"
    if said == true:
        return
    assert {said, true} != {"COMPLETED", "FAILED"}, context
    if "COMPLETED" in (said, true):
        # The server took our cancel, did not act on it, and the transfer ended in that moment.
        cancel = state.cancel
        assert said == "CANCELED", context
        assert cancel is not None
        assert not played.world.cancel_takes, context


def check_all(worlds: list[World]) -> None:
    for played in play(worlds):
        check(played)


def batches(size: int) -> st.SearchStrategy[list[World]]:
    """Worlds side by side; freezes are of one process, and so of all or none."""
    awake = any_world().map(lambda world: world._replace(freeze_at_s=NEVER, hangs=0))
    return st.lists(awake, min_size=size, max_size=size)


_KNOBS = settings(
    deadline=None, suppress_health_check=list(HealthCheck), phases=[Phase.generate], derandomize=True, database=None
)


@settings(_KNOBS, max_examples=1)
@given(worlds=batches(_FEW))
def test_in_a_few_worlds_over_the_wire_the_word_is_the_servers(worlds: list[World]) -> None:
    check_all(worlds)


@pytest.mark.full
@settings(_KNOBS, max_examples=20)
@given(worlds=batches(_AT_ONCE))
def test_in_a_thousand_worlds_over_the_wire_the_word_is_the_servers(worlds: list[World]) -> None:
    check_all(worlds)
