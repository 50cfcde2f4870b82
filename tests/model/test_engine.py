"""The engine under the local models, as answers describe it."""

from __future__ import annotations

from typing import Any

import pytest

from pieces_nb.model.engine import Deployment, Engine, EngineState
from pieces_nb.model.models import DownloadStatus

READY = {"version": "0.5.1"}
RUNS = {"version": "0.6.0", "id": "one", "status": "IN-PROGRESS", "percentage": 37.5}


@pytest.mark.parametrize(
    ("answer", "state", "words"),
    [
        (None, EngineState.UNKNOWN, "this server has no calls for an engine"),
        ({}, EngineState.MISSING, "not installed: local models cannot be downloaded or loaded without it"),
        ({"installation": READY}, EngineState.READY, "installed 0.5.1"),
        ({"installation": READY, "updateRequired": RUNS}, EngineState.OUTDATED, "installed 0.5.1; 0.6.0 is needed"),
        (
            {"installation": READY, "updateRequired": {"version": "", "userManaged": True}},
            EngineState.OUTDATED,
            "installed 0.5.1, managed by you; a newer one is needed",
        ),
        ({"installing": RUNS}, EngineState.INSTALLING, "installing 0.6.0, 37.5 %"),
        ({"installation": READY, "updating": RUNS}, EngineState.UPDATING, "updating 0.6.0, 37.5 %"),
        ({"installation": READY, "updating": RUNS | {"status": "COMPLETED"}}, EngineState.READY, "installed 0.5.1"),
        ({"installing": RUNS | {"status": "FAILED"}}, EngineState.MISSING, None),
    ],
)
def test_what_an_answer_says_is_one_state_and_one_line(answer: Any, state: EngineState, words: str | None) -> None:
    engine = Engine.from_wire(answer)
    assert engine.state is state
    assert words is None or engine.words == words


@pytest.mark.parametrize("nonsense", [[], "ready", 3, True])
def test_an_answer_of_another_kind_is_no_engine(nonsense: object) -> None:
    assert Engine.from_wire(nonsense).state is EngineState.UNKNOWN


@pytest.mark.parametrize("part", [None, 1, "0.5.1", [], {"version": None, "percentage": "NaN", "status": 7, "id": 3}])
def test_a_part_that_makes_no_sense_costs_at_most_itself(part: object) -> None:
    engine = Engine.from_wire({"installation": part, "installing": part, "updateRequired": part})
    assert engine.known
    assert isinstance(engine.words, str)


def test_a_deployment_keeps_what_the_wire_says() -> None:
    assert Deployment.from_wire(RUNS) == Deployment("one", "0.6.0", DownloadStatus.IN_PROGRESS, 37.5)
