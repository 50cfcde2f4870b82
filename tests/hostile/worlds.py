"""The worlds of `tests.download.worlds` over a real wire, many at once: one server, a model for each world.

Time is scaled down: what takes four seconds there takes one here, for the server and for the client alike.
"""

from __future__ import annotations

import dataclasses
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from typing import Any, NamedTuple

from pieces_nb import ModelClient
from pieces_nb.client import Settings
from pieces_nb.download.download import Download
from pieces_nb.download.state import Timing
from pieces_nb.errors import PiecesError, WaitTimeout
from tests.download.worlds import NEVER, Server, World
from tests.hostile.server import CALLS, HostileServer, HungUp, Line, Request, frame, handshake, http, text

SCALE = 0.25
TIMEOUT_S = 10.0 * SCALE  # of every call of the client


def scaled_timing(scale: float = SCALE) -> Timing:
    default = Timing()
    return Timing(**{field.name: getattr(default, field.name) * scale for field in dataclasses.fields(Timing)})


class Played(NamedTuple):
    """How a world went."""

    world: World
    server: Server
    download: Download
    ended_at: float  # since the POST, in the world's seconds; NEVER if it did not end


class _Live:
    """One world's server and its clock, which starts with the POST."""

    def __init__(self, world: World) -> None:
        self.server = Server(world)
        self.posted_at: float | None = None
        self.lock = threading.Lock()  # guards both

    @property
    def at(self) -> float:
        """Seconds of the world since the POST; before it, -1."""
        return -1.0 if self.posted_at is None else (time.monotonic() - self.posted_at) / SCALE

    def snapshot(self, model_id: str) -> dict[str, Any]:
        with self.lock:
            return self.server.snapshot(self.at) | {"id": model_id}


class WorldServer:
    """A server on the loopback in which each model is a world of its own."""

    def __init__(self, worlds: Sequence[World]) -> None:
        self.live = {f"11111111-2222-4333-8444-{number:012d}": _Live(world) for number, world in enumerate(worlds)}
        self.http = HostileServer()
        self.http.models = {}
        self.http.answers.update(
            snapshot=self._snapshot, start=self._start, cancel=self._cancel, progress=self._progress
        )

    def _of(self, request: Request) -> tuple[str, _Live]:
        match = CALLS[request.call][1].fullmatch(request.target)
        assert match is not None
        return match.group(1), self.live[match.group(1)]

    def _snapshot(self, line: Line, request: Request) -> None:
        model_id, live = self._of(request)
        line.pause(live.server.world.latency_s * SCALE)
        line.send(http(live.snapshot(model_id)))

    def _start(self, line: Line, request: Request) -> None:
        model_id, live = self._of(request)
        with live.lock:
            assert live.posted_at is None, "posted twice"
            live.posted_at = time.monotonic()
            answers_at = live.server.answers_at()
        if answers_at == NEVER:
            line.hold()
        line.pause(max(0.0, answers_at - live.at) * SCALE)
        line.send(http(live.snapshot(model_id)))

    def _cancel(self, line: Line, request: Request) -> None:
        model_id, live = self._of(request)
        with live.lock:
            taken = live.server.cancel(live.at)
        line.send(http(live.snapshot(model_id)) if taken else text("nothing to cancel", "500 Internal Server Error"))

    def _progress(self, line: Line, request: Request) -> None:
        _, live = self._of(request)
        world, opened_at = live.server.world, live.at
        if not live.server.opens(opened_at):
            raise HungUp
        line.send(handshake(request))
        with live.lock:
            greeting = live.server.greeting(opened_at)
        for said in greeting:
            line.send(frame(said))
        told_at = opened_at
        repeat_at = opened_at + world.repeats_s if world.repeats_s else NEVER
        while not (world.closes_s and live.at - opened_at >= world.closes_s):
            at = live.at
            with live.lock:
                news = [(when, said) for when, said in live.server.frames() if told_at < when <= at]
                ends_at = live.server.ends_at
                if at >= repeat_at and at < live.server.begins_at:
                    news = [*news, *((at, said) for said in live.server.greeting(at))]
                    repeat_at += world.repeats_s
            for _, said in news:
                line.send(frame(said))
            if news and world.closes_at_end and at >= ends_at:
                break
            told_at = at
            line.pause(0.02)
        raise HungUp


def play(worlds: Sequence[World]) -> list[Played]:
    """Follow a download in each world, all at once, until each has ended or nothing will."""
    server = WorldServer(worlds)
    url, settings = server.http.url, Settings(timeout_s=TIMEOUT_S)
    played: list[Played] = []
    try:
        with ModelClient(url, settings=settings, timing=scaled_timing()) as client:
            threads = [
                threading.Thread(target=lambda one=one: played.append(_follow(client, *one)))
                for one in server.live.items()
            ]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
    finally:
        server.http.stop()
    assert len(played) == len(worlds)
    return played


def _follow(client: ModelClient, model_id: str, live: _Live) -> Played:
    world = live.server.world
    download = _download(client, model_id)
    canceling: threading.Timer | None = None
    if world.cancel_at_s < NEVER:
        canceling = threading.Timer(world.cancel_at_s * SCALE, _quietly_cancel, [download])
        canceling.start()
    ended_at = NEVER
    with suppress(PiecesError):
        longest_s = world.begin_s + world.lasts_s + (50.0 if live.server.tells else 25.0)
        try:
            download.wait(longest_s * SCALE)
            ended_at = live.at
        except WaitTimeout:
            pass
        except PiecesError:
            ended_at = live.at
    if canceling is not None:
        canceling.join()
    return Played(world, live.server, download, ended_at)


def _download(client: ModelClient, model_id: str) -> Download:
    """The first look, too, may take longer than the short timeout on a busy machine."""
    while True:
        with suppress(PiecesError):
            return client.download(model_id)


def _quietly_cancel(download: Download) -> None:
    with suppress(PiecesError):
        download.cancel()
