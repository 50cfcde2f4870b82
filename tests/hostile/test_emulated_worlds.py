"""The client against the emulator in every pair of the ways in which a correct server may differ, and of its faults."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import pytest

from pieces_nb import ModelClient
from pieces_nb.download.download import Download
from pieces_nb.emulator import Emulator, Faults, Switches
from tests.hostile.following import PATIENT, Watched, follow
from tests.hostile.server import DEADLINE_S, ID
from tests.waiting import until

NAME = "Phi-2"
MODEL: dict[str, Any] = {"id": ID, "name": NAME, "unique": "phi:2.7b", "size": 200_000}
RATE_BYTES_PER_S = 1e6  # a download takes 0.2 s
QUICK = dataclasses.replace(
    PATIENT,
    start_grace_s=1.5,
    start_answer_s=0.1,
    settle_s=0.3,
    stall_after_s=0.2,
    silent_after_s=1.0,
    cancel_within_s=DEADLINE_S,
)

_FAULTS = {
    "no fault": Faults(),
    "404": Faults(socket_refused="404"),
    "close": Faults(socket_refused="close"),
    "drop": Faults(drop_at=30),
    "stall": Faults(stall_at=50),
}


class World(NamedTuple):
    """One way in which all of it may be: the server, what goes wrong, what is done."""

    fault: str
    before: str  # how an earlier download of the same model ended
    end: str  # how this one ends
    post: str  # when the call that starts it is answered
    idle: str
    second_post: str
    after_cancel: str
    percentages: str
    watched_twice: bool
    repeat_old_status: bool
    close_after_terminal: bool
    start_late: bool
    downloading_lags: bool
    reset_before_restart: bool
    resumes: bool
    frames_while_stalled: bool
    failed_frame_says_why: bool
    downloaded_lags: bool

    @property
    def switches(self) -> Switches:
        named = {field.name for field in dataclasses.fields(Switches)}
        return Switches(
            post_late_s=0.25 if self.post == "late" else 0.0,
            post_answers_at_start=self.post == "at the start",
            post_answers_after_end=self.post == "after the end",
            start_late_s=0.1 if self.start_late else 0.0,
            downloading_lag_s=0.1 if self.downloading_lags else 0.0,
            downloaded_lag_s=0.2 if self.downloaded_lags else 0.0,
            **{name: value for name, value in self._asdict().items() if name in named},
        )


_BOTH = (False, True)
_WORDS = {
    "fault": tuple(_FAULTS),
    "before": ("", "COMPLETED", "FAILED", "CANCELED"),
    "end": ("COMPLETED", "FAILED", "CANCELED"),
    "post": ("at once", "late", "at the start", "after the end"),
    "idle": ("nothing", "empty", "unknown"),
    "second_post": ("join", "fail", "block"),
    "after_cancel": ("canceled", "nothing", "reset"),
    "percentages": ("float", "int", "none"),
}
CHOICES: list[Sequence[Any]] = [_WORDS.get(name, _BOTH) for name in World._fields]


def pairwise(choices: Sequence[Sequence[Any]]) -> Iterator[tuple[Any, ...]]:
    """Yield few rows, one value of each choice, in which every two values of two choices meet. The same every time."""
    missing = dict.fromkeys(
        ((one, a), (two, b))
        for one, two in itertools.combinations(range(len(choices)), 2)
        for a in choices[one]
        for b in choices[two]
    )
    while missing:
        row = dict(next(iter(missing)))
        for place, values in enumerate(choices):
            if place not in row:
                row[place] = max(
                    values,
                    key=lambda value: sum(tuple(sorted(((place, value), other))) in missing for other in row.items()),
                )
        for pair in itertools.combinations(sorted(row.items()), 2):
            missing.pop(pair, None)
        yield tuple(row[place] for place in range(len(choices)))


WORLDS = [World(*row) for row in pairwise(CHOICES)]
# No world's download depends on these, …
_OF_OTHER_CALLS = {"engine", "load_works_on_s", "unload_works_on_s", "delete_cache_works_on_s"}
# … and with these not every end can be told: tests/download/worlds.py knows which.
_OF_FLAGS = {"downloading_missing", "downloaded_missing"}
_FEW = 5
_CASES = [
    pytest.param(
        world,
        id=f"{number}-{world.fault}-{world.before or 'first'}-{world.end}",
        marks=[pytest.mark.full] if number >= _FEW else [],
    )
    for number, world in enumerate(WORLDS)
]


def test_every_two_switches_meet_in_a_world() -> None:
    for one, two in itertools.combinations(range(len(CHOICES)), 2):
        met = {(world[one], world[two]) for world in WORLDS}
        assert met == set(itertools.product(CHOICES[one], CHOICES[two]))


def test_every_switch_is_in_the_worlds() -> None:
    default = Switches()
    for name in {field.name for field in dataclasses.fields(Switches)} - _OF_OTHER_CALLS - _OF_FLAGS:
        values = {getattr(world.switches, name) for world in WORLDS}
        assert values - {getattr(default, name)}, name


@pytest.fixture
def emulator(monkeypatch: pytest.MonkeyPatch) -> Iterator[Emulator]:
    monkeypatch.delenv("PIECES_OS_URL", raising=False)
    with Emulator(models=[MODEL], rate_bytes_per_s=RATE_BYTES_PER_S) as started:
        yield started


@pytest.mark.parametrize("world", _CASES)
def test_in_every_world_a_download_has_its_one_true_outcome(
    world: World, emulator: Emulator, clients: list[ModelClient]
) -> None:
    emulator.switches = world.switches
    clients += [ModelClient(emulator.url, timing=QUICK) for _ in range(2 if world.watched_twice else 1)]
    if world.before:
        _download(world, world.before, emulator, clients)
        if world.before == "COMPLETED":
            clients[0].delete_cache(ID)
            until(lambda: not clients[0].get(ID).downloading, lambda: "a flag that says `downloading` for ever")
    _download(world, world.end, emulator, clients)
    if world.end == "CANCELED":  # and the way is free for the next
        _download(world, "COMPLETED", emulator, clients[:1])


def _download(world: World, end: str, emulator: Emulator, clients: list[ModelClient]) -> None:
    fault = _FAULTS[world.fault]
    match end:
        case "FAILED":
            fault = dataclasses.replace(fault, stall_at=None, fail_at=60)
        case "CANCELED":
            fault = dataclasses.replace(fault, stall_at=50)
    emulator.faults = fault
    watched, *others = [follow(client) for client in clients]
    if end == "CANCELED":
        watched.wait_until(_runs)
        watched.download.cancel()
        assert watched.download.status == "CANCELED"
    elif fault.stall_at is not None:
        watched.wait_until(lambda download: download.state.stalled)
        emulator.faults = Faults()
    status, error = watched.end()
    assert status == end, error
    assert clients[0].get(ID).downloaded == (end == "COMPLETED")
    for other in others:
        _check_who_only_looks_on(world, end, other)


def _runs(download: Download) -> bool:
    return download.state.alive


def _check_who_only_looks_on(world: World, end: str, other: Watched) -> None:
    status, error = other.end()
    if world.second_post == "fail" and "is being downloaded already" in error:
        return  # the flag was late, so it posted too: refused in the server's words
    if end == "CANCELED":
        assert status in ("CANCELED", "FAILED")  # nobody need have told it why it ended
    else:
        assert status == end, error
