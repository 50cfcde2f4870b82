"""The record of what was done here."""

from __future__ import annotations

import threading
from datetime import UTC, datetime

import pytest

from pieces_nb import history
from pieces_nb.errors import ModelStateError, StoppedWaiting
from pieces_nb.history import Entry, History


def test_what_went_well_is_recorded_as_done() -> None:
    record = History()
    before = datetime.now(UTC)
    with record.recording("load", "Phi-2"):
        assert record.entries() == []
    (entry,) = record.entries()
    assert (entry.verb, entry.model, entry.outcome, entry.error) == ("load", "Phi-2", "done", "")
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
        record.add(Entry(datetime.now(UTC), "load", str(number), "done", 0.0))
    assert [entry.model for entry in record.entries()] == ["2", "3", "4"]


def test_entries_given_out_do_not_change_and_change_nothing() -> None:
    record = History()
    given = record.entries()
    record.add(Entry(datetime.now(UTC), "load", "a", "done", 0.0))
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
