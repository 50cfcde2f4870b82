"""Correct servers, at random: what a server may leave open, a world each; and a simulation that follows one.

A `World` is a value: what the server does when, counted from the POST. `Simulation` plays it in virtual time and drives
the state machine as the thread of a download would. `tests.hostile.worlds` plays the same worlds over a wire.
"""

from __future__ import annotations

import heapq
import itertools
import random
from collections.abc import Callable
from typing import Any, NamedTuple

from hypothesis import strategies as st

from pieces_nb.download import state as ds
from pieces_nb.model.models import Model, ModelDownloadProgress

NEVER = 1e9
HISTORIES: dict[str, tuple[tuple[str, float | None], ...]] = {
    "none": (),
    "COMPLETED": (("COMPLETED", 100.0),),
    "FAILED": (("FAILED", None),),
    "CANCELED": (("CANCELED", None),),
    "INITIALIZED, CANCELED": (("INITIALIZED", 0.0), ("CANCELED", None)),
    "INITIALIZED, 60 %, FAILED": (("INITIALIZED", 0.0), ("IN-PROGRESS", 60.0), ("FAILED", 60.0)),
    "60 %": (("IN-PROGRESS", 60.0),),
    "UNKNOWN": (("UNKNOWN", None),),
}


class World(NamedTuple):
    """One correct server, and what happens there. Seconds."""

    begin_s: float = 0.0  # from the POST to the transfer
    answer: str = "at once"  # when the POST is answered: at once, late, at the begin, after the end, never
    answer_s: float = 0.0  # how late, if late
    lasts_s: float = 5.0
    outcome: str = "COMPLETED"
    says_end: bool = True  # whether a frame tells the end
    downloading: str = "told"  # told, missing, null
    downloaded: str = "told"
    begin_lag_s: float = 0.0  # how far `downloading` lags behind the begin
    end_lag_s: float = 0.0  # and behind the end
    downloaded_lag_s: float = 0.0
    history: str = "none"  # what is repeated on each connect while no frame of this download was sent
    repeats_s: float = 0.0  # how often it is repeated on an open socket; 0: on connect alone
    opens: str = "always"  # the socket: always, never, late
    closes_s: float = 0.0  # a socket is closed after so long; 0: it stays open
    closes_at_end: bool = False
    silent_from_s: float = NEVER  # from then on after the begin no frame is sent, but the last
    frame_every_s: float = 0.5
    percentages: str = "float"  # float, int, none
    restart_s: float = 0.0  # so long after the begin it starts again from nothing; 0: it does not
    restart_word: str = "RESET"
    freeze_at_s: float = NEVER  # the client stands still then
    freeze_s: float = 0.0
    cancel_at_s: float = NEVER  # the client cancels then
    cancel_takes: bool = True
    cancel_word: str = "CANCELED"  # what a frame then says; '' for none
    latency_s: float = 0.01
    hangs: int = 0  # every so many snapshots one is answered late; 0: none
    hangs_s: float = 6.0


# What each field may be; values that stand twice are twice as likely. For the times in SPANS any up to that much, too.
CHOICES: dict[str, tuple[Any, ...]] = {
    "begin_s": (0.0, 0.5, 3.0, 8.0, 12.0),
    "answer": ("at once", "late", "at the begin", "after the end", "never"),
    "answer_s": (0.5, 3.0, 12.0, 30.0),
    "lasts_s": (0.3, 1.0, 5.0, 20.0),
    "outcome": ("COMPLETED", "COMPLETED", "FAILED", "CANCELED"),
    "says_end": (True, False),
    "downloading": ("told", "told", "missing", "null"),
    "downloaded": ("told", "told", "told", "missing"),
    "begin_lag_s": (0.0, 1.0, 8.0),
    "end_lag_s": (0.0, 1.0, 3.0),
    "downloaded_lag_s": (0.0, 3.0),
    "history": tuple(sorted(HISTORIES)),
    "repeats_s": (0.0, 0.0, 1.0),
    "opens": ("always", "always", "never", "late"),
    "closes_s": (0.0, 0.0, 0.2, 2.0, 7.0),
    "closes_at_end": (True, False),
    "silent_from_s": (NEVER, NEVER, 0.0, 2.0),
    "frame_every_s": (0.1, 0.5, 1.0, 4.0),
    "percentages": ("float", "int", "none"),
    "restart_s": (0.0, 0.0, 2.0),
    "restart_word": ("RESET", "INITIALIZED"),
    "freeze_at_s": (NEVER, NEVER, 1.0, 9.0, 15.0),
    "freeze_s": (8.0, 60.0),
    "cancel_at_s": (NEVER, NEVER, 0.5, 3.0, 6.0),
    "cancel_takes": (True, True, False),
    "cancel_word": ("CANCELED", "", "UNKNOWN", "RESET"),
    "latency_s": (0.001, 0.01, 0.2),
    "hangs": (0, 0, 3),
    "hangs_s": (6.0,),
}
SPANS = {
    "begin_s": 12.0,  # a begin is not put off for two graces
    "answer_s": 30.0,
    "lasts_s": 40.0,
    "begin_lag_s": 8.0,  # a flag lags less than the grace
    "end_lag_s": 6.0,
    "downloaded_lag_s": 8.0,
}


def any_world() -> st.SearchStrategy[World]:
    """Worlds for hypothesis, which shrinks them."""
    return st.builds(World, **{name: _any_value(name) for name in CHOICES})


def _any_value(name: str) -> st.SearchStrategy[Any]:
    values = st.sampled_from(CHOICES[name])
    if name not in SPANS:
        return values
    return st.one_of(values, st.floats(0, SPANS[name]).map(lambda value: round(value, 2)))


def random_world(source: random.Random) -> World:
    """One of the same worlds; the same seed gives the same."""
    return World(**{name: _random_value(name, source) for name in CHOICES})


def _random_value(name: str, source: random.Random) -> Any:
    if name in SPANS and source.random() < 0.4:
        return round(source.uniform(0, SPANS[name]), 2)
    return source.choice(CHOICES[name])


class Server:
    """What is true in a world at a moment, and what the server says of it. Times are since the POST."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.begins_at = world.begin_s
        self.ends_at = world.begin_s + world.lasts_s
        self.outcome = world.outcome
        self.end_word = world.outcome if world.says_end else ""
        self._frames: list[tuple[float, dict[str, Any]]] | None = None

    def answers_at(self) -> float:
        world = self.world
        late = {"at once": 0.0, "late": world.answer_s, "at the begin": self.begins_at, "never": NEVER}
        return late.get(world.answer, self.ends_at)

    def cancel(self, at: float) -> bool:
        """Take a cancel; whether there was something to cancel."""
        if not self.begins_at <= at < self.ends_at:
            return False
        if self.world.cancel_takes:
            self.ends_at, self.outcome, self.end_word = at, "CANCELED", self.world.cancel_word
            self._frames = None
        return True

    def snapshot(self, at: float) -> dict[str, Any]:
        world = self.world
        running = self.begins_at + world.begin_lag_s <= at < self.ends_at + world.end_lag_s
        there = self.outcome == "COMPLETED" and at >= self.ends_at + world.downloaded_lag_s
        flags = {"downloading": (world.downloading, running), "downloaded": (world.downloaded, there)}
        told = {name: None if how == "null" else value for name, (how, value) in flags.items() if how != "missing"}
        return {"id": "m-1", "name": "Phi-2", "bytes": {"value": 1_000_000}, **told}

    def frames(self) -> list[tuple[float, dict[str, Any]]]:
        """What the server says of this download, and when, as things stand."""
        if self._frames is None:
            self._frames = self._told()
        return self._frames

    def _told(self) -> list[tuple[float, dict[str, Any]]]:
        world, began = self.world, self.begins_at
        said = [(began, _frame("INITIALIZED", 0.0, world))]
        at = began + world.frame_every_s
        while at < self.ends_at:
            if world.restart_s and began == self.begins_at and at - self.begins_at >= world.restart_s:
                began = at
                said.append((at, _frame(world.restart_word, 0.0, world)))
            elif at - self.begins_at < world.silent_from_s:
                share = (at - began) / max(0.1, self.begins_at + world.lasts_s - began)
                said.append((at, _frame("IN-PROGRESS", min(99.0, 100 * share), world)))
            at += world.frame_every_s
        if self.end_word:
            said.append((self.ends_at, _frame(self.end_word, 100.0 if self.outcome == "COMPLETED" else None, world)))
        return said

    def greeting(self, at: float) -> list[dict[str, Any]]:
        """What a new socket hears at once: where this download stands, or what there was before it."""
        said = [frame for when, frame in self.frames() if when <= at]
        if said:
            return said[-1:]
        return [_frame(word, percentage, self.world) for word, percentage in HISTORIES[self.world.history]]

    def opens(self, at: float) -> bool:
        return self.world.opens == "always" or (self.world.opens == "late" and at >= self.begins_at + 1.0)

    @property
    def shows(self) -> bool:
        """Whether it shows within two graces that it began: in the flags, or on a socket that stays."""
        world = self.world
        flag_shows = world.downloading == "told" and world.begin_lag_s < world.lasts_s + world.end_lag_s
        socket_shows = world.opens == "always" and not world.closes_s and world.silent_from_s == NEVER
        there_at = world.begin_s + world.lasts_s + world.downloaded_lag_s
        return (flag_shows and world.begin_s + world.begin_lag_s < 19) or socket_shows or there_at < 19

    @property
    def tells(self) -> bool:
        """Whether flags tell all there is to know, so that an end and its word must come."""
        return self.world.downloading == "told" and self.world.downloaded == "told"


def _frame(word: str, percentage: float | None, world: World) -> dict[str, Any]:
    if world.percentages == "none" or percentage is None:
        return {"status": word}
    return {"status": word, "percentage": int(percentage) if world.percentages == "int" else percentage}


class Followed(NamedTuple):
    """How it went."""

    state: ds.DownloadState
    ended_at: float  # on the server's clock; NEVER if it did not
    server: Server
    seen: tuple[tuple[float, ds.DownloadState], ...]


class Simulation:
    """Plays a world in virtual time. The server's clock runs on; the client's stands still while it is frozen."""

    def __init__(self, world: World, *, timing: ds.Timing | None = None, until_s: float = 130.0) -> None:
        self.world = world
        self.timing = timing or ds.Timing()
        self.server = Server(world)
        self.until_s = until_s
        self.at = 0.0
        self.frozen_s = 0.0
        self.state = ds.start(Model(self.server.snapshot(-1.0)), now=0.0, timing=self.timing)
        self.seen: list[tuple[float, ds.DownloadState]] = []
        self._queue: list[tuple[float, int, Callable[[], None]]] = []
        self._order = itertools.count()
        self._asked: list[float] = []
        self._questions = 0
        self._connection = 0  # the open or opening one; each has a number, 0 is none
        self._numbers = itertools.count(1)

    @property
    def now(self) -> float:
        return self.at - self.frozen_s

    def run(self) -> Followed:
        world = self.world
        answers_at = min(self.server.answers_at(), 10.0)  # the client's own timeout
        in_time = self.server.answers_at() <= 10.0
        self._later(answers_at, lambda: self._hear(ds.StartAnswered() if in_time else ds.StartUnanswered()))
        if world.cancel_at_s < NEVER:
            self._later(world.cancel_at_s, lambda: self._hear(ds.CancelAsked()))
        if world.freeze_at_s < NEVER:
            self._later(world.freeze_at_s, self._freeze)
        self._step()
        while self._queue and self.at < self.until_s and not self.state.done:
            at, _, act = heapq.heappop(self._queue)
            self.at = max(self.at, at)
            act()
        ended_at = self.at if self.state.done else NEVER
        return Followed(self.state, ended_at, self.server, tuple(self.seen))

    def _later(self, at: float, act: Callable[[], None]) -> None:
        heapq.heappush(self._queue, (at, next(self._order), act))

    def _hear(self, event: ds.Event) -> None:
        before, self.state = self.state, ds.advance(self.state, event, now=self.now)
        if self.state is not before:
            self.seen.append((self.at, self.state))

    def _freeze(self) -> None:
        """What the server says meanwhile waits, and is heard afterwards."""
        self.at += self.world.freeze_s
        self.frozen_s += self.world.freeze_s
        self._hear(ds.Thawed(self.world.freeze_s))

    def _step(self) -> None:
        """What the thread does at least five times a second."""
        self._hear(ds.TimePassed())
        now = self.now
        if now >= self.state.ask_at and self._may_ask(now):
            self._ask(now)
        if ds.cancel_is_due(self.state, now=now):
            self._hear(ds.CancelSent())
            self._later(self.at + self.world.latency_s, self._cancel)
        connect_at = self.state.connect_at
        if connect_at is not None and now >= connect_at and not self._connection:
            self._connection = next(self._numbers)
            self._later(self.at + self.world.latency_s, self._connect)
        self._later(self.at + 0.2, self._step)

    def _may_ask(self, now: float) -> bool:
        return not self._asked or (len(self._asked) < 4 and now - self._asked[-1] >= self.timing.poll_closed_s)

    def _ask(self, asked_at: float) -> None:
        """A snapshot; one that hangs was true when it was asked for, and may be old when it comes."""
        self._asked.append(asked_at)
        self._questions += 1
        hangs = self.world.hangs and self._questions % self.world.hangs == 0
        raw = self.server.snapshot(self.at + self.world.latency_s / 2)

        def come() -> None:
            self._asked.remove(asked_at)
            self._hear(ds.SnapshotSeen(Model(raw), asked_at))

        self._later(self.at + (self.world.hangs_s if hangs else self.world.latency_s), come)

    def _cancel(self) -> None:
        taken = self.server.cancel(self.at)
        answer = ds.CancelAnswered() if taken else ds.CancelRefused("nothing to cancel")
        self._later(self.at + self.world.latency_s, lambda: self._hear(answer))
        if self._connection and self.server.ends_at == self.at and self.server.end_word:
            self._send(self.server.frames()[-1][1], self._connection)

    def _connect(self) -> None:
        number, world = self._connection, self.world
        if not self.server.opens(self.at):
            self._lose(number)
            return
        self._hear(ds.SocketOpened())
        for frame in self.server.greeting(self.at):
            self._send(frame, number)
        for when, frame in self.server.frames():
            if when > self.at:
                self._later(when, lambda when=when, frame=frame: self._send_if_still_so(when, frame, number))  # type: ignore[misc]  # bound
        if world.repeats_s and self.at < self.server.begins_at:
            self._later(self.at + world.repeats_s, lambda: self._repeat(number))
        if world.closes_s:
            self._later(self.at + world.closes_s, lambda: self._lose(number))

    def _repeat(self, number: int) -> None:
        if self.at < self.server.begins_at and number == self._connection:
            for frame in self.server.greeting(self.at):
                self._send(frame, number)
            self._later(self.at + self.world.repeats_s, lambda: self._repeat(number))

    def _send_if_still_so(self, when: float, frame: dict[str, Any], number: int) -> None:
        if when < self.server.ends_at or (when, frame) == self.server.frames()[-1]:
            self._send(frame, number)
            if self.world.closes_at_end and when >= self.server.ends_at:
                self._lose(number)

    def _send(self, frame: dict[str, Any], number: int) -> None:
        if number == self._connection:
            self._hear(ds.FrameHeard(ModelDownloadProgress.from_wire(frame)))

    def _lose(self, number: int) -> None:
        if number == self._connection:
            self._connection = 0
            self._hear(ds.SocketLost("closed", jitter=0.5))
