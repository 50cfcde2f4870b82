"""The record of what was done here."""

from __future__ import annotations

import threading
from datetime import UTC, datetime

import pytest

from pieces_nb import history
from pieces_nb.errors import ModelStateError, StoppedWaiting
from pieces_nb.history import Entry, History, Operation


def test_what_went_well_is_recorded_as_done() -> None:
    record = History()
    before = datetime.now(UTC)
    with record.recording("load", "Phi-2"):
        (running,) = record.entries()
        assert (running.verb, running.model, running.outcome) == ("load", "Phi-2", "running")
    (entry,) = record.entries()
    assert (entry.verb, entry.model, entry.outcome, entry.error) == ("load", "Phi-2", "done", "")
    assert record.running() == []
    assert before <= entry.started <= datetime.now(UTC)
    assert entry.seconds >= 0
    assert entry.bytes is None


def test_a_failure_is_recorded_with_its_words_and_raised() -> None:
    record = History()
    with pytest.raises(ModelStateError), record.recording("load", "Phi-2"):
        raise ModelStateError("not\ndownloaded")
    (entry,) = record.entries()
    assert (entry.outcome, entry.error) == ("ModelStateError", "not downloaded")


def test_an_interrupt_is_recorded_too() -> None:
    record = History()
    with pytest.raises(StoppedWaiting), record.recording("load", "Phi-2"):
        raise StoppedWaiting("■")
    assert [entry.outcome for entry in record.entries()] == ["StoppedWaiting"]


def test_a_servers_essay_does_not_fill_the_table() -> None:
    record = History()
    with pytest.raises(ModelStateError), record.recording("load", "Phi-2"):
        raise ModelStateError("x" * 10_000)
    assert len(record.entries()[0].error) == 300


def test_the_oldest_go_when_there_are_very_many(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(history, "_MOST", 3)
    record = History()
    for number in range(5):
        with record.recording("load", str(number)):
            pass
    assert [entry.model for entry in record.entries()] == ["2", "3", "4"]


def test_entries_given_out_do_not_change_and_change_nothing() -> None:
    record = History()
    given = record.entries()
    with record.recording("load", "a"):
        pass
    assert given == []
    record.entries().clear()
    assert len(record.entries()) == 1


def test_threads_lose_no_entry() -> None:
    record = History()

    def work() -> None:
        for _ in range(200):
            with record.recording("load", "a"):
                record.entries()

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert len(record.entries()) == 800


def test_a_watcher_hears_of_the_beginning_and_of_the_end_until_it_stops() -> None:
    record = History()
    heard: list[str] = []
    stop = record.watch(
        lambda operation, entry: heard.append(f"{operation.verb} {entry.outcome if entry else 'begins'}")
    )
    with record.recording("load", "Phi-2"):
        assert heard == ["load begins"]
    stop()
    with record.recording("unload", "Phi-2"):
        pass
    assert heard == ["load begins", "load done"]


def test_a_watcher_that_breaks_harms_nobody() -> None:
    record = History()

    def breaks(_operation: Operation, _entry: Entry | None) -> None:
        raise RuntimeError("a view that breaks")

    record.watch(breaks)
    with record.recording("load", "Phi-2"):
        pass
    assert [entry.outcome for entry in record.entries()] == ["done"]
