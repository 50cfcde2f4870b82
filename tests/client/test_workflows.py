"""What fits, what is used, what is to be done: pure on models, with the machine's figures put in."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from pieces_nb import workflows
from pieces_nb.errors import BadArguments, ModelStateError
from pieces_nb.model.models import Model

SMALL_DISK, SMALL_MEMORY = "the disk may be too small", "too large for what is free; --force tries"
HERE, ELSEWHERE = "http://127.0.0.1:39300", "http://10.0.0.7:39300"


def model(name: str, *, size: int | None = None, ram: int | None = None, **flags: Any) -> Model:
    sizes = {"bytes": {"value": size}, "ram": {"value": ram}}
    return Model({"id": name, "name": name, **sizes, **flags})


@pytest.fixture(autouse=True)
def _a_machine_of_8_gb(monkeypatch: pytest.MonkeyPatch) -> None:
    memory = SimpleNamespace(total=8_000_000_000, available=4_000_000_000)
    monkeypatch.setattr("psutil.virtual_memory", lambda: memory)
    monkeypatch.setattr("psutil.disk_usage", lambda _: SimpleNamespace(free=100_000_000_000))


def test_what_fits_is_local_and_known_to_be_small_enough_and_the_rest_is_told() -> None:
    models = [
        model("small", ram=3_000_000_000),
        model("exact", ram=8_000_000_000),
        model("large", ram=8_000_000_001),
        model("unknown"),
        model("cloud", cloud=True),
    ]
    fitting, note = workflows.that_fit(models, url=HERE)
    assert [one.name for one in fitting] == ["small", "exact"]
    assert note == (
        "this machine has 8.0 GB of memory · too large: large (8.0 GB) · 1 left out whose need of memory is not known"
    )


def test_many_that_are_too_large_are_counted() -> None:
    _, note = workflows.that_fit([model(f"m{number}", ram=10**12) for number in range(7)], url=HERE)
    assert "m4 (1.0 TB) and 2 more" in note


def test_what_fits_elsewhere_is_not_known() -> None:
    with pytest.raises(BadArguments, match="--fits needs the server on this machine"):
        workflows.that_fit([], url=ELSEWHERE)


def test_usage_is_memory_first_and_the_biggest_first() -> None:
    models = [
        model("a", size=1, ram=10, downloaded=True, loaded=True),
        model("b", size=5, ram=None, downloaded=True, loaded=True),
        model("c", size=3, ram=30, downloaded=True, loaded=True),
        model("d", size=9, downloading=True),
    ]
    shares, note = workflows.usage(models, url=HERE)
    assert [(share.name, share.resource, share.size_bytes) for share in shares] == [
        ("c", "memory", 30),
        ("a", "memory", 10),
        ("b", "memory", None),
        ("b", "disk", 5),
        ("c", "disk", 3),
        ("a", "disk", 1),
    ]
    assert note == "memory: 40 B in models, 4.0 GB free · disk: 9 B in models, 100 GB free"


def test_usage_of_a_server_elsewhere_does_not_tell_this_machines_free_space() -> None:
    shares, note = workflows.usage([], url=ELSEWHERE)
    assert (shares, note) == ([], "memory: 0 B in models · disk: 0 B in models")


def test_a_home_that_cannot_be_measured_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_: str) -> None:
        raise OSError("no such volume")

    monkeypatch.setattr("psutil.disk_usage", fail)
    assert workflows.free_disk_bytes(HERE) is None


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
    steps = workflows.plan(one, load=True, url=HERE)
    assert [step.step for step in steps] == ["download", "load"]
    assert [step.verdict for step in steps] == verdicts
    assert [step.verdict for step in workflows.plan(one, load=False, url=HERE)] == verdicts[:1]


def test_a_plan_for_a_server_elsewhere_does_not_judge_by_this_machine() -> None:
    steps = workflows.plan(model("m", size=10**12, ram=10**12), load=True, url=ELSEWHERE)
    assert [step.verdict for step in steps] == ["to do", "to do; whether it fits is not known"]
    assert [step.available_bytes for step in steps] == [None, None]


def test_memory_is_checked_only_where_it_is_known() -> None:
    with pytest.raises(ModelStateError, match=r"m needs 5\.0 GB of memory, 4\.0 GB are free"):
        workflows.check_memory(model("m", ram=5_000_000_000), url=HERE)
    workflows.check_memory(model("m", ram=4_000_000_000), url=HERE)
    workflows.check_memory(model("m"), url=HERE)
    workflows.check_memory(model("m", ram=10**12), url=ELSEWHERE)


def test_a_download_is_not_begun_for_a_model_that_could_never_be_loaded() -> None:
    with pytest.raises(ModelStateError, match=r"m needs 8\.1 GB of memory, this machine has 8\.0 GB in all"):
        workflows.check_could_ever_fit(model("m", ram=8_100_000_000), url=HERE)
    workflows.check_could_ever_fit(model("m", ram=8_000_000_000), url=HERE)
    workflows.check_could_ever_fit(model("m"), url=HERE)
    workflows.check_could_ever_fit(model("m", ram=10**12), url=ELSEWHERE)
