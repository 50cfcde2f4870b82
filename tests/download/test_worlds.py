"""Thousands of correct servers in virtual time: whatever they leave open, the word is theirs, or is not said yet."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings

from pieces_nb.download import state as ds
from tests.download.worlds import NEVER, Followed, Simulation, World, any_world

GRACE_S = ds.Timing().start_grace_s


def check(world: World) -> Followed:
    followed = Simulation(world).run()
    server, state = followed.server, followed.state
    context = f"{world}\n{server.outcome} at {server.ends_at}; {state}"
    if not server.shows:
        return followed
    if state.done and not (str(state.status) == "CANCELED" and _took_an_ignored_cancel(followed)):
        assert followed.ended_at >= min(server.ends_at, NEVER), f"an end before the end: {context}"
        assert _is_true(followed), context
    if not state.done:
        assert not server.tells, f"the flags tell, and it never ended: {context}"
    ends = [seen for _, seen in followed.seen if seen.done]
    assert len({(seen.status, seen.ended_at) for seen in ends}) <= 1
    for (_, before), (_, after) in zip(followed.seen, followed.seen[1:], strict=False):
        if before.attempt == after.attempt and before.percentage is not None:
            assert after.percentage is not None
            assert after.percentage >= before.percentage, context
    return followed


def _is_true(followed: Followed) -> bool:
    """Whether the word is the server's; where no frame told why it ended, FAILED and a cancel of ours are true too."""
    said, true = str(followed.state.status), followed.server.outcome
    if said == true:
        return True
    if said == "CANCELED" and _took_an_ignored_cancel(followed):
        return True
    if true == "CANCELED":
        return said == "FAILED" and not _was_told(followed)
    return true == "FAILED" and said == "CANCELED" and followed.state.cancel is not None and not _was_told(followed)


def _took_an_ignored_cancel(followed: Followed) -> bool:
    """Whether the server took a cancel and did not act on it: what ends soon after it looks canceled."""
    cancel, world = followed.state.cancel, followed.server.world
    return cancel is not None and cancel.accepted_at is not None and not world.cancel_takes


def _was_told(followed: Followed) -> bool:
    """Whether a frame amid others told the end on a socket that was open, so that nothing excuses another word."""
    world, server = followed.server.world, followed.server
    if not server.end_word or server.end_word != server.outcome:
        return False
    return any(
        before.socket_open and before.alive and at < server.ends_at <= later
        for (at, before), (later, _) in zip(followed.seen, followed.seen[1:], strict=False)
        if world.freeze_at_s == NEVER
    )


@settings(max_examples=500, derandomize=True, deadline=None, suppress_health_check=list(HealthCheck))
@given(world=any_world())
def test_in_any_world_the_word_is_the_servers(world: World) -> None:
    check(world)


@pytest.mark.full
@settings(max_examples=2_000, derandomize=True, deadline=None, suppress_health_check=list(HealthCheck))
@given(world=any_world())
def test_in_many_more_worlds_the_word_is_the_servers(world: World) -> None:
    check(world)


@pytest.mark.soak
@settings(max_examples=50_000, deadline=None, suppress_health_check=list(HealthCheck))
@given(world=any_world())
def test_in_worlds_nobody_has_tried_the_word_is_the_servers(world: World) -> None:
    check(world)
