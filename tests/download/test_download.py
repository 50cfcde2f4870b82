"""The handle of a download: waiting, views, canceling, closing, forks. The server is a hostile one that behaves."""

from __future__ import annotations

import asyncio
import dataclasses
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any, NoReturn

import pytest

from pieces_nb.download import state as ds
from pieces_nb.download.calls import ModelCalls
from pieces_nb.download.download import Context, Download, Downloads, Lifecycle, StoppedAwaiting
from pieces_nb.download.follower import Follower
from pieces_nb.errors import (
    BadArguments,
    CancelNotConfirmed,
    DownloadCanceled,
    DownloadFailed,
    ModelStateError,
    PiecesError,
    StoppedWaiting,
    WaitTimeout,
)
from pieces_nb.model.models import Model
from pieces_nb.wire import endpoints
from pieces_nb.wire.http import Transport
from pieces_nb.wire.websocket import ProgressSocket
from tests.hostile.following import PATIENT
from tests.hostile.server import (
    COMPLETES,
    DEADLINE_S,
    ID,
    STARTS,
    HostileServer,
    Line,
    Request,
    answers_after,
    becomes,
    http,
    in_turn,
    model_of,
    progress,
    says,
    silence,
    text,
    until,
    websocket,
    when,
)
from tests.needs import forks
from tests.waiting import until as until_so

Start = Callable[..., Download]


@pytest.fixture
def server() -> Iterator[HostileServer]:
    server = HostileServer()
    server.answers["progress"] = websocket(*STARTS)
    yield server
    server.stop()


@pytest.fixture
def begin(server: HostileServer, rubbish: None) -> Iterator[Start]:
    """Begin downloads that are closed after the test; no thread of theirs is left then."""
    del rubbish
    made: list[Download] = []
    transports: list[Transport] = []

    def begin(model_id: str = ID, timing: ds.Timing = PATIENT, **options: Any) -> Download:
        transports.append(Transport(server.url, timeout_s=DEADLINE_S))
        context = Context(transports[-1], timing=timing)
        made.append(Download(endpoints.snapshot(transports[-1], model_id), context, **options))
        return made[-1].start()

    yield begin
    for download in made:
        download.close()
    for transport in transports:
        transport.close()
    server.stop()
    until_so(lambda: not ours(), lambda: f"left: {ours()}")


def ours() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("pieces-nb")]


def at_40(download: Download) -> Download:
    until_so(lambda: download.percentage == 40)
    return download


def completes(server: HostileServer) -> None:
    server.models[ID].update(downloading=False, downloaded=True)


# Life ----------------------------------------------------------------------------------------------------------------


def test_a_download_is_running_then_ended(server: HostileServer, begin: Start) -> None:
    download = at_40(begin())
    assert (download.lifecycle, download.closed, download.done) == (Lifecycle.RUNNING, False, False)
    completes(server)
    assert download.wait(DEADLINE_S).downloaded
    assert (download.lifecycle, download.closed, download.done) == (Lifecycle.ENDED, False, True)
    download.close()
    assert download.lifecycle is Lifecycle.ENDED


def test_a_closed_download_says_that_nobody_follows_it(begin: Start) -> None:
    download = at_40(begin())
    download.close()
    assert (download.lifecycle, download.closed) == (Lifecycle.CLOSED, True)
    with pytest.raises(PiecesError, match=r"nobody follows this download any more; `client.progress\(\)` finds it"):
        download.wait()
    with pytest.raises(PiecesError, match="nobody follows"):
        asyncio.run(awaited(download))


def test_its_threads_are_gone_a_second_after_the_end(server: HostileServer, begin: Start) -> None:
    download = at_40(begin())
    download.subscribe(lambda _one: None)
    completes(server)
    download.wait(DEADLINE_S)
    until_so(lambda: not ours(), lambda: f"left: {ours()}", within_s=1.0)


def test_a_thread_that_fails_to_start_leaves_an_ended_download(
    server: HostileServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    transport = Transport(server.url, timeout_s=1.0)
    download = Download(Model(model_of()), Context(transport))
    ended: list[Download] = []
    download.at_end(ended.append)

    def refuse(_thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", refuse)
    with pytest.raises(RuntimeError, match="can't start new thread"):
        download.start()
    assert ended == [download]
    assert (download.lifecycle, str(download.status)) == (Lifecycle.ENDED, "FAILED")
    assert server.count("start") == 0
    transport.close()


def test_a_call_whose_thread_fails_to_start_is_an_answer_that_did_not_come(
    server: HostileServer, begin: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    download = at_40(begin())
    start = threading.Thread.start

    def refuse(thread: threading.Thread) -> None:
        if "snapshot" in thread.name:
            raise RuntimeError("can't start new thread")
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", refuse)
    until_so(lambda: download.state.silent_since is not None)
    monkeypatch.undo()
    completes(server)
    assert download.wait(DEADLINE_S).downloaded


def test_a_crash_of_ours_says_so(begin: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    download = at_40(begin())

    def broken(_follower: Follower) -> None:
        raise KeyError("x")

    monkeypatch.setattr(Follower, "_step", broken)
    with pytest.raises(DownloadFailed, match=r"pieces_nb itself failed: KeyError\('x'\)"):
        download.wait(DEADLINE_S)


def breaks(_self: object, *_arguments: object) -> NoReturn:
    raise KeyError("x")


def test_a_start_that_breaks_in_us_is_a_failure_that_says_so(begin: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ModelCalls, "start", breaks)
    with pytest.raises(DownloadFailed, match=r"the download failed: pieces_nb itself failed: KeyError\('x'\)\. "):
        begin().wait(DEADLINE_S)


def test_a_cancel_that_breaks_in_us_says_so_and_the_download_goes_on(
    begin: Start, server: HostileServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    download = at_40(begin())
    monkeypatch.setattr(ModelCalls, "cancel", breaks)
    with pytest.raises(PiecesError, match="pieces_nb itself failed"):
        download.cancel()
    completes(server)
    assert download.wait(DEADLINE_S).downloaded


@pytest.mark.parametrize(("owner", "name"), [(ProgressSocket, "open"), (ModelCalls, "snapshot")])
def test_a_question_that_breaks_in_us_is_asked_again(
    owner: type,
    name: str,
    begin: Start,
    server: HostileServer,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(owner, name, breaks)
    download = begin()
    until_so(lambda: "a call of a download broke" in caplog.text)
    monkeypatch.undo()
    completes(server)
    assert download.wait(DEADLINE_S).downloaded


def test_a_freeze_of_this_process_is_none_of_the_waits(begin: Start) -> None:
    download = at_40(begin())
    jump_s = 1000.0
    clock = download._context.clock
    object.__setattr__(download._context, "clock", lambda: clock() + jump_s)
    until_so(lambda: download.state.frozen_s > 0)
    assert not download.done
    assert download.state.frozen_s == pytest.approx(jump_s, abs=5)
    assert download.duration_s > 0.9 * jump_s


def test_many_at_once_that_let_their_news_lie_do_not_take_it_for_a_freeze(begin: Start) -> None:
    download = begin()
    for _ in range(200):
        download._context.budget.join()
    assert download._context.budget.rest_s > 1.5
    at_40(download)
    until_so(lambda: download.duration_s > 4)
    assert download.state.frozen_s < 1


def test_one_hung_snapshot_holds_up_no_other(server: HostileServer, begin: Start) -> None:
    polite = server.answers["snapshot"]
    download = at_40(begin())
    server.answers["snapshot"] = in_turn(silence, polite)
    server.wait_for("snapshot", server.count("snapshot") + 3)
    completes(server)
    assert download.wait(DEADLINE_S / 2).downloaded


def test_snapshots_that_all_hang_are_few(server: HostileServer, begin: Start) -> None:
    download = at_40(begin())
    server.answers["snapshot"] = silence
    before = server.count("snapshot")
    until_so(lambda: server.count("snapshot") >= before + 4)
    later_s = download.duration_s + 1.0  # twenty times as long as it takes to ask anew
    until_so(lambda: download.duration_s > later_s)
    assert server.count("snapshot") <= before + 5


def test_moved_bytes_are_of_the_attempt_that_ended(server: HostileServer, begin: Start) -> None:
    """Joined at 60 %, RESET, completed: all of it was moved."""
    server.models[ID].update(downloading=True)
    again = threading.Event()
    server.answers["progress"] = websocket(
        progress("IN-PROGRESS", 60), until(again), progress("RESET"), progress("IN-PROGRESS", 10), *COMPLETES
    )
    download = begin(joined=True)
    until_so(lambda: download.percentage == 60)
    again.set()
    download.wait(DEADLINE_S)
    assert download.moved_bytes == 1_000_000


def test_a_history_of_speeds_comes_with_it(begin: Start) -> None:
    download = at_40(begin())
    until_so(lambda: len(download.state.samples) >= 1)
    assert len(download.speed_history(points=7)) <= 7


# Views ---------------------------------------------------------------------------------------------------------------


def waits(download: Download) -> None:
    download.wait(DEADLINE_S)


def cancels(download: Download) -> None:
    if not download.done:
        download.cancel()


def exits(_download: Download) -> None:
    sys.exit(3)


def raises(_download: Download) -> None:
    raise ValueError("broken")


def closes(download: Download) -> None:
    download.close()


@pytest.mark.parametrize("view", [waits, exits, raises])
def test_a_view_that_waits_raises_or_exits_harms_no_waiter_and_no_other_view(
    view: Callable[[Download], None], server: HostileServer, begin: Start
) -> None:
    download = begin()
    seen: list[bool] = []
    download.subscribe(view)
    download.subscribe(lambda one: seen.append(one.done))
    until_so(lambda: seen)
    completes(server)
    assert download.wait(DEADLINE_S / 2).downloaded
    until_so(lambda: seen[-1])
    assert seen.count(True) == 1


def test_a_view_that_blocks_delays_only_itself(server: HostileServer, begin: Start) -> None:
    go_on = threading.Event()
    entered = threading.Event()
    blocked: list[bool] = []

    def blocks(one: Download) -> None:
        entered.set()
        go_on.wait(DEADLINE_S)
        blocked.append(one.done)

    download = begin()
    seen: list[bool] = []
    download.subscribe(blocks)
    download.subscribe(lambda one: seen.append(one.done))
    entered.wait(DEADLINE_S)
    completes(server)
    assert download.wait(DEADLINE_S / 2).downloaded
    assert seen[-1]
    go_on.set()
    until_so(lambda: blocked and blocked[-1])


def test_a_view_that_cancels_has_its_end_last(begin: Start) -> None:
    download = begin()
    ends: list[bool] = []

    def view(one: Download) -> None:
        cancels(one)
        ends.append(one.done)

    download.subscribe(view)
    with pytest.raises(DownloadCanceled):
        download.wait(DEADLINE_S)
    until_so(lambda: ends and ends[-1])


def test_a_view_that_closes_its_download_ends_the_following(begin: Start) -> None:
    download = begin()
    download.subscribe(closes)
    with pytest.raises(PiecesError, match="nobody follows"):
        download.wait(DEADLINE_S)


def test_a_view_that_comes_after_the_end_is_told_at_once(server: HostileServer, begin: Start) -> None:
    download = begin()
    completes(server)
    download.wait(DEADLINE_S)
    seen: list[bool] = []
    download.subscribe(lambda one: seen.append(one.done))()
    assert seen == [True]


def test_a_view_that_has_left_is_told_nothing(server: HostileServer, begin: Start) -> None:
    download = at_40(begin())
    seen: list[bool] = []
    other: list[bool] = []
    leave = download.subscribe(lambda one: seen.append(one.done))
    download.subscribe(lambda one: other.append(one.done))
    leave()
    leave()
    completes(server)
    download.wait(DEADLINE_S)
    until_so(lambda: other and other[-1])
    assert True not in seen


def test_the_clients_own_books_are_done_before_anybody_who_waits_goes_on(server: HostileServer, begin: Start) -> None:
    download = begin()
    ended: list[bool] = []
    download.at_end(lambda one: ended.append(one.done))
    completes(server)
    download.wait(DEADLINE_S)
    assert ended == [True]
    download.at_end(lambda one: ended.append(one.done))
    assert ended == [True, True]


# Waiting -------------------------------------------------------------------------------------------------------------


async def awaited(download: Download | Downloads) -> Any:
    return await download


@pytest.mark.parametrize("timeout", ["x", b"1", [1], True, 1j])
def test_a_timeout_of_a_wrong_type_is_said_in_one_line(timeout: Any, begin: Start) -> None:
    download = begin()
    for one in (download, Downloads([download])):
        with pytest.raises(TypeError, match=r"^timeout is a number of seconds, not .*\.$"):
            one.wait(timeout)


@pytest.mark.parametrize("timeout", [-1, -0.001, float("nan")])
def test_a_timeout_that_is_no_time_is_said_in_one_line(timeout: float, begin: Start) -> None:
    download = begin()
    for one in (download, Downloads([download])):
        with pytest.raises(BadArguments, match=r"^timeout is a number of seconds from 0 up, not .*\.$"):
            one.wait(timeout)


def test_a_wait_without_an_end_may_be_infinite(server: HostileServer, begin: Start) -> None:
    download = begin()
    completes(server)
    assert download.wait(float("inf")).downloaded


def main_thread_waits() -> bool:
    """Whether the main thread is in the `wait` of a download."""
    frame = sys._current_frames().get(threading.main_thread().ident or 0)
    while frame is not None:
        if frame.f_code is Download.wait.__code__:
            return True
        frame = frame.f_back
    return False


def interrupted(wait: Callable[[], object], *, when_so: Callable[[], object]) -> BaseException:
    """Wait with a real SIGINT in the middle; return what is raised."""

    def press() -> None:
        until_so(when_so)
        os.kill(os.getpid(), signal.SIGINT)

    pressing = threading.Thread(target=press)
    pressing.start()
    previous = signal.signal(signal.SIGINT, signal.default_int_handler)  # it may be ignored where tests run unseen
    try:
        wait()
    except BaseException as exc:  # noqa: BLE001 - that is what is looked at
        return exc
    finally:
        pressing.join()
        signal.signal(signal.SIGINT, previous)
    raise AssertionError("nothing was raised")


def two(server: HostileServer, begin: Start) -> Downloads:
    other = "22222222-2222-4333-8444-555555555555"
    server.models[other] = model_of(other, "Gemma 2")
    return Downloads([at_40(begin()), at_40(begin(other))])


def test_an_interrupt_of_several_names_all_of_them(server: HostileServer, begin: Start) -> None:
    downloads = two(server, begin)
    raised = interrupted(lambda: downloads.wait(DEADLINE_S), when_so=main_thread_waits)
    assert type(raised) is StoppedWaiting
    assert str(raised) == (
        "Phi-2: IN-PROGRESS at 40 %, Gemma 2: IN-PROGRESS at 40 %; the downloads go on. "
        "`client.cancel('Phi-2')`, `client.cancel('Gemma 2')` stop them."
    )


def test_a_timeout_of_several_names_those_that_run(server: HostileServer, begin: Start) -> None:
    with pytest.raises(WaitTimeout, match=r"Phi-2: IN-PROGRESS at 40 %, Gemma 2: IN-PROGRESS at 40 % after 0.01 s"):
        two(server, begin).wait(0.01)


class Loop:
    """A loop that, like a kernel's, cancels the task of the cell when the signal comes."""

    def __init__(self, waited: Download | Downloads) -> None:
        self.waited = waited
        self.awaits = threading.Event()

    async def cell(self) -> None:
        task = asyncio.ensure_future(awaited(self.waited))
        loop = asyncio.get_running_loop()
        previous = signal.signal(signal.SIGINT, lambda *_: loop.call_soon_threadsafe(task.cancel))
        loop.call_later(0.1, self.awaits.set)
        try:
            await task
        finally:
            signal.signal(signal.SIGINT, previous)


def test_an_interrupt_of_an_await_is_a_canceled_error_of_one_line(begin: Start) -> None:
    download = at_40(begin())
    loop = Loop(download)
    handler = signal.getsignal(signal.SIGINT)
    raised = interrupted(lambda: asyncio.run(loop.cell()), when_so=loop.awaits.is_set)
    assert isinstance(raised, StoppedAwaiting)
    assert isinstance(raised, asyncio.CancelledError)
    assert raised._render_traceback_() == [f"\x1b[31mStoppedAwaiting\x1b[0m: {raised}"]
    assert "the download goes on" in str(raised)
    assert not download.done
    assert signal.getsignal(signal.SIGINT) == handler


def test_an_interrupt_of_an_await_of_several_names_all(server: HostileServer, begin: Start) -> None:
    downloads = two(server, begin)
    loop = Loop(downloads)
    raised = interrupted(lambda: asyncio.run(loop.cell()), when_so=loop.awaits.is_set)
    assert isinstance(raised, StoppedAwaiting)
    assert "Phi-2" in str(raised)
    assert "Gemma 2" in str(raised)


def test_a_task_that_others_cancel_is_canceled_plainly(begin: Start) -> None:
    download = at_40(begin())

    async def canceled() -> None:
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(awaited(download), 0.05)
        begun = asyncio.Event()

        async def waiting() -> None:
            begun.set()
            await awaited(download)

        task = asyncio.ensure_future(waiting())
        await asyncio.wait_for(begun.wait(), DEADLINE_S)
        task.cancel()
        with pytest.raises(asyncio.CancelledError) as caught:
            await task
        assert type(caught.value) is asyncio.CancelledError

    asyncio.run(canceled())
    assert not download.done


def test_an_await_gives_the_model(server: HostileServer, begin: Start) -> None:
    async def typed(download: Download) -> Model:
        return await download

    download = begin()
    completes(server)
    assert asyncio.run(typed(download)).downloaded


# Canceling -----------------------------------------------------------------------------------------------------------

BRIEF = dataclasses.replace(PATIENT, cancel_within_s=0.4)


def test_two_cancels_at_once_are_one(server: HostileServer, begin: Start) -> None:
    go = threading.Event()
    server.answers["cancel"] = when(go, answers_after(lambda model: model.update(downloading=False)))
    download = at_40(begin())
    threads = [threading.Thread(target=download.cancel) for _ in range(3)]
    for thread in threads:
        thread.start()
    server.wait_for("cancel")
    go.set()
    for thread in threads:
        thread.join(DEADLINE_S)
    assert str(download.status) == "CANCELED"
    assert server.count("cancel") == 1


def test_a_cancel_while_the_post_is_in_flight_confirms_nothing_and_is_sent_again(
    server: HostileServer, begin: Start
) -> None:
    """The download begins later: then it is canceled."""
    go = threading.Event()
    server.answers["start"] = when(go, answers_after(lambda model: model.update(downloading=True)))
    server.answers["cancel"] = answers_after(lambda model: model.update(downloading=False))
    server.answers["progress"] = websocket(progress("INITIALIZED"), progress("CANCELED"))
    download = begin(timing=dataclasses.replace(BRIEF, start_answer_s=0.05))
    with pytest.raises(CancelNotConfirmed, match=r"the server has not begun. The cancel is sent again when it does"):
        download.cancel()
    assert not download.done
    go.set()
    with pytest.raises(DownloadCanceled):
        download.wait(DEADLINE_S)
    assert server.count("cancel") == 2


def test_a_close_during_a_cancel_says_something_true(server: HostileServer, begin: Start) -> None:
    server.answers["cancel"] = silence
    download = at_40(begin())
    raised: list[BaseException] = []

    def cancel() -> None:
        try:
            download.cancel()
        except PiecesError as exc:
            raised.append(exc)

    canceling = threading.Thread(target=cancel)
    canceling.start()
    server.wait_for("cancel")
    download.close()
    canceling.join(DEADLINE_S)
    assert isinstance(raised[0], CancelNotConfirmed)
    assert "asked to cancel, then closed before that was confirmed" in str(raised[0])


def test_a_cancel_after_close_asks_the_server(server: HostileServer, begin: Start) -> None:
    download = at_40(begin())
    download.close()
    download.cancel()
    assert not server.models[ID]["downloading"]
    with pytest.raises(ModelStateError, match="is not downloading; it is available"):
        download.cancel()


def test_a_cancel_after_close_asks_where_the_server_is_now(server: HostileServer, begin: Start) -> None:
    """It was followed to another port, and there is nobody at the first any more."""
    download = at_40(begin())
    download._context = dataclasses.replace(download._context, transport=Transport("http://127.0.0.1:9"))
    download.close()
    download.cancel()
    assert not server.models[ID]["downloading"]


def test_an_interrupt_of_a_cancel_is_one_line(server: HostileServer, begin: Start) -> None:
    server.answers["cancel"] = silence
    download = at_40(begin())
    raised = interrupted(download.cancel, when_so=lambda: server.count("cancel") == 1)
    assert type(raised) is StoppedWaiting
    assert str(raised) == "Phi-2: nobody waits any more for the cancel; the server may go on with it."


def test_an_interrupt_of_several_cancels_is_one_line(server: HostileServer, begin: Start) -> None:
    server.answers["cancel"] = silence
    downloads = two(server, begin)
    raised = interrupted(downloads.cancel, when_so=lambda: server.count("cancel") == 2)
    assert type(raised) is StoppedWaiting
    assert str(raised) == "Nobody waits any more for the cancels; the server may go on with them."


def test_an_ignored_cancel_does_not_turn_a_later_failure_into_canceled(server: HostileServer, begin: Start) -> None:
    fail = threading.Event()
    server.answers["cancel"] = says(http(model_of()))
    server.answers["progress"] = websocket(*STARTS, until(fail), becomes(downloading=False), progress("FAILED"))
    download = at_40(begin(timing=BRIEF))
    with pytest.raises(CancelNotConfirmed):
        download.cancel()
    fail.set()
    with pytest.raises(DownloadFailed):
        download.wait(DEADLINE_S)


def test_the_next_cancel_after_one_that_was_not_confirmed_is_sent_again(server: HostileServer, begin: Start) -> None:
    server.answers["cancel"] = says(http(model_of()))
    download = at_40(begin(timing=BRIEF))
    for sent in (1, 2, 3, 4):
        with pytest.raises(CancelNotConfirmed):
            download.cancel()
        until_so(lambda sent=sent: server.count("cancel") == sent, lambda: f"sent: {server.count('cancel')}")  # type: ignore[misc]  # bound


def test_the_next_cancel_is_sent_again_while_the_answer_to_the_last_hangs(server: HostileServer, begin: Start) -> None:
    server.answers["cancel"] = in_turn(silence, answers_after(lambda model: model.update(downloading=False)))
    download = at_40(begin(timing=BRIEF))
    with pytest.raises(CancelNotConfirmed):
        download.cancel()
    with suppress(CancelNotConfirmed):  # 0.4 s may be short
        download.cancel()
    until_so(lambda: server.count("cancel") == 2)


def test_several_are_canceled_all_at_once_and_what_failed_is_told(server: HostileServer, begin: Start) -> None:
    downloads = two(server, begin)
    both = threading.Barrier(2, timeout=DEADLINE_S)

    def cancel(line: Line, request: Request) -> None:
        both.wait()
        if ID in request.target:
            line.send(text("it cannot be stopped now", "500 Internal Server Error"))
        else:
            answers_after(lambda model: model.update(downloading=False))(line, request)

    server.answers["cancel"] = cancel
    with pytest.raises(CancelNotConfirmed, match="Phi-2: the server refused to cancel: it cannot be stopped now"):
        downloads.cancel()
    assert [str(one.status) for one in downloads] == ["IN-PROGRESS", "CANCELED"]


# Forks ---------------------------------------------------------------------------------------------------------------


@forks
@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork")
def test_a_forked_child_follows_nothing_and_says_so(server: HostileServer, begin: Start) -> None:
    download = at_40(begin())
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:  # pragma: no cover - in the child
        words = "nothing was raised"
        try:
            download.close()
            download.wait()
        except PiecesError as exc:
            words = f"{download.lifecycle}: {exc}"
        finally:
            os.write(writing, words.encode())
            os._exit(0)
    os.close(writing)
    with os.fdopen(reading) as pipe:
        words = pipe.read()
    os.waitpid(child, 0)
    assert words.startswith(
        f"closed: Phi-2: process {os.getpid()} follows this download; this one, forked from it, does"
    )
    assert download.lifecycle is Lifecycle.RUNNING
    completes(server)
    assert download.wait(DEADLINE_S).downloaded
