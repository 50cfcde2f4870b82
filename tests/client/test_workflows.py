"""What fits, what is to be done: pure on models, with the machine's figures put in."""

from __future__ import annotations

from typing import Any

import pytest

from pieces_nb import workflows
from pieces_nb.errors import ModelStateError
from pieces_nb.machine import Machine
from pieces_nb.model.models import Model

SMALL_DISK, SMALL_MEMORY = "the disk may be too small", "too large for what is free"


def model(name: str, *, size: int | None = None, ram: int | None = None, **flags: Any) -> Model:
    sizes = {"bytes": {"value": size}, "ram": {"value": ram}}
    return Model({"id": name, "name": name, **sizes, **flags})


MACHINE = Machine(8_000_000_000, 4_000_000_000, 200_000_000_000, 100_000_000_000)
ELSEWHERE = Machine()


@pytest.mark.parametrize(
    ("one", "verdicts"),
    [
        (model("m", size=5, ram=5), ["to do", "to do"]),
        (model("m", size=5, ram=5, downloading=True), ["under way", "to do"]),
        (model("m", size=5, ram=5, downloaded=True), ["done", "to do"]),
        (model("m", size=5, ram=5, downloaded=True, loaded=True), ["done", "done"]),
        (model("m", size=10**12, ram=10**10), [f"to do; {SMALL_DISK}", SMALL_MEMORY]),
        (model("m"), ["to do", "to do; whether it fits is not known"]),
    ],
)
def test_a_plan_says_what_is_to_do_and_whether_it_fits(one: Model, verdicts: list[str]) -> None:
    steps = workflows.plan(one, load=True, machine=MACHINE)
    assert [step.step for step in steps] == ["download", "load"]
    assert [step.verdict for step in steps] == verdicts
    assert [step.verdict for step in workflows.plan(one, load=False, machine=MACHINE)] == verdicts[:1]


def test_a_plan_for_a_server_elsewhere_does_not_judge_by_this_machine() -> None:
    steps = workflows.plan(model("m", size=10**12, ram=10**12), load=True, machine=ELSEWHERE)
    assert [step.verdict for step in steps] == ["to do", "to do; whether it fits is not known"]
    assert [step.available_bytes for step in steps] == [None, None]


def test_memory_is_checked_only_where_it_is_known() -> None:
    with pytest.raises(ModelStateError, match=r"m needs 5\.0 GB of memory, 4\.0 GB are free"):
        workflows.check_memory(model("m", ram=5_000_000_000), MACHINE)
    workflows.check_memory(model("m", ram=4_000_000_000), MACHINE)
    workflows.check_memory(model("m"), MACHINE)
    workflows.check_memory(model("m", ram=10**12), ELSEWHERE)


def test_more_memory_than_the_machine_has_is_not_blamed_on_what_is_loaded() -> None:
    with pytest.raises(ModelStateError, match=r"m needs 9\.0 GB of memory, this machine has 8\.0 GB in all") as caught:
        workflows.check_memory(model("m", ram=9_000_000_000), MACHINE)
    assert "Unload" not in str(caught.value)


def test_a_download_is_not_begun_for_a_model_that_could_never_be_loaded() -> None:
    with pytest.raises(ModelStateError, match=r"m needs 8\.1 GB of memory, this machine has 8\.0 GB in all"):
        workflows.check_could_ever_fit(model("m", ram=8_100_000_000), MACHINE)
    workflows.check_could_ever_fit(model("m", ram=8_000_000_000), MACHINE)
    workflows.check_could_ever_fit(model("m"), MACHINE)
    workflows.check_could_ever_fit(model("m", ram=10**12), ELSEWHERE)
