"""Rows of tables: pure on models, with the machine's figures put in."""

from __future__ import annotations

from typing import Any

from pieces_nb import rows
from pieces_nb.machine import Machine
from pieces_nb.model.models import Model
from pieces_nb.rows import Bar

MACHINE = Machine(8_000_000_000, 4_000_000_000, 200_000_000_000, 100_000_000_000)
ELSEWHERE = Machine()


def model(name: str, *, size: int | None = None, ram: int | None = None, **flags: Any) -> Model:
    sizes = {"bytes": {"value": size}, "ram": {"value": ram}}
    return Model({"id": name, "name": name, **sizes, **flags})


def test_usage_is_memory_first_and_the_biggest_first() -> None:
    models = [
        model("a", size=1, ram=10, downloaded=True, loaded=True),
        model("b", size=5, ram=None, downloaded=True, loaded=True),
        model("c", size=3, ram=30, downloaded=True, loaded=True),
        model("d", size=9, downloading=True),
    ]
    found = rows.usage(models, MACHINE, server="here")
    assert [(name, resource, size and round(size * 1e9)) for name, resource, size, _ in found.body] == [
        ("c", "memory", 30),
        ("a", "memory", 10),
        ("b", "memory", None),
        ("b", "disk", 5),
        ("c", "disk", 3),
        ("a", "disk", 1),
    ]
    assert [(bar.resource, bar.models) for bar in found.bars] == [("memory", 40), ("disk", 9)]
    assert found.caption == ("here",)  # the bars have words of their own


def test_usage_of_a_server_elsewhere_does_not_tell_this_machines_free_space() -> None:
    found = rows.usage([], ELSEWHERE, server="here")
    assert (found.body, found.caption) == ([], ("here",))
    assert [bar.words for bar in found.bars] == ["memory: 0 B in models", "disk: 0 B in models"]


def test_a_bar_parts_the_machine_into_models_other_use_and_what_is_free() -> None:
    loaded = model("a", size=30_000_000_000, ram=3_000_000_000, downloaded=True, loaded=True)
    memory, disk = rows.usage([loaded], MACHINE, server="here").bars
    assert memory == Bar("memory", 3_000_000_000, 1_000_000_000, 4_000_000_000)
    assert disk == Bar("disk", 30_000_000_000, 70_000_000_000, 100_000_000_000)
    assert memory.words == "memory: 3.0 GB in models, 1.0 GB other, 4.0 GB free"


def test_models_that_are_said_to_take_more_than_is_used_leave_nothing_for_others() -> None:
    (memory, _) = rows.usage([model("a", ram=10**12, loaded=True)], MACHINE, server="here").bars
    assert memory.other == 0
