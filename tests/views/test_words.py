"""What is said of a download: by notebooks, panels and terminals alike."""

from __future__ import annotations

import pytest

from pieces_nb.download import state as ds
from pieces_nb.model.models import DownloadStatus, Model
from pieces_nb.text import clock
from pieces_nb.views.words import (
    Condition,
    condition,
    figures_of,
    fitting_words,
    progress_words,
    record,
    status_word,
    total_percentage,
    total_words,
)
from tests.views.puppet import Puppet


def test_a_running_download_says_percentage_bytes_speed_and_time_left() -> None:
    download = Puppet().tell(ds.SocketOpened()).at(10, 20, 30)
    assert progress_words(download) == "30 % · 60.0 MB of 200 MB · 20.0 MB/s · 7.0 s left · downloading"
    assert record(download) == f"Phi-2: {progress_words(download)}"


def test_what_is_not_known_is_not_said() -> None:
    assert progress_words(Puppet()) == "starting"
    assert progress_words(Puppet(size=None).tell(ds.SocketOpened()).at(0)) == "0 % · downloading"


def test_a_stall_says_since_when_and_whether_the_socket_lives() -> None:
    download = Puppet().tell(ds.SocketOpened()).at(10, 20)
    download.tell(ds.TimePassed(), after_s=40)
    since = clock(ds.wall_time(download.state, 1003.0))
    assert progress_words(download) == (f"20 % · 40.0 MB of 200 MB · stalled since {since}, the connection is open")
    download.tell(ds.SocketLost("the connection broke"))
    assert progress_words(download).endswith(f"stalled since {since}, the connection is closed")


def test_a_reconnect_and_a_silence_say_why() -> None:
    download = Puppet().tell(ds.SocketOpened()).at(10).tell(ds.SocketLost("the connection\nbroke"))
    assert progress_words(download).endswith("reconnecting (the connection broke)")
    download.tell(ds.NoAnswer("Nothing answers at 127.0.0.1:9"))
    assert "· no answer since " in progress_words(download)
    assert progress_words(download).endswith("(Nothing answers at 127.0.0.1:9)")


def test_a_download_that_nobody_follows_says_so() -> None:
    download = Puppet().at(10)
    download.close()
    assert progress_words(download).endswith("no longer followed")


def test_one_that_waits_for_its_turn_says_so() -> None:
    download = Puppet(queued=True)
    assert (progress_words(download), fitting_words(download, 40)) == ("waiting for its turn",) * 2
    assert record(download) == "Phi-2: waiting for its turn"
    assert condition(download) is Condition.WAITING
    assert total_words([figures_of(download)]) == "0 of 1 ended · 0 B of 200 MB"
    download.tell(ds.TurnCame(), ds.StartAnswered(), ds.SocketOpened()).at(10)
    assert condition(download) is Condition.RUNNING
    assert "downloading" in progress_words(download)


def test_one_that_was_canceled_in_its_queue_says_that_it_never_began() -> None:
    download = Puppet(queued=True)
    download.cancel()
    assert record(download) == "Phi-2: canceled before it began"
    assert condition(download) is Condition.CANCELED


def test_one_that_was_closed_in_its_queue_is_no_longer_followed() -> None:
    download = Puppet(queued=True)
    download.close()
    assert record(download).endswith("no longer followed")
    assert condition(download) is Condition.LEFT


def test_words_fit_their_place_and_lose_first_what_matters_least() -> None:
    download = Puppet().tell(ds.SocketOpened()).at(10, 20, 30)
    stalled = Puppet().at(10).tell(ds.TimePassed(), after_s=60)
    for limit in range(1, 90):
        assert len(fitting_words(download, limit)) <= limit
        assert len(fitting_words(stalled, limit)) <= limit
    assert [fitting_words(download, limit) for limit in (49, 48, 24, 22)] == [
        "30 % · 60.0 MB of 200 MB · 20.0 MB/s · 7.0 s left",
        "30 % · 20.0 MB/s · 7.0 s left",
        "30 % · 7.0 s left",
        "30 % · 7.0 s left",
    ]
    assert fitting_words(download, 10) == "30 %"
    assert "stalled since" in fitting_words(stalled, 40)


def test_a_finished_download_is_one_line_with_size_duration_and_mean_speed() -> None:
    assert record(Puppet().at(50).complete()) == "Phi-2: done · 200 MB · 2.0 s · 100 MB/s"
    assert record(Puppet(size=None).at(50).complete()) == "Phi-2: done · 2.0 s"
    assert record(Puppet(there=True)) == "Phi-2: done, was already there · 200 MB"


def test_a_failed_and_a_canceled_download_say_why_and_when() -> None:
    assert record(Puppet().at(50).fail("410: gone")) == "Phi-2: failed (the model is gone: 410: gone) after 2.0 s"
    canceled = Puppet().at(50).tell(ds.SnapshotSeen(Model({"id": "m-1", "name": "Phi-2", "downloading": True}), 1001))
    canceled.tell(ds.CancelAsked()).tell(ds.CancelSent(), ds.CancelAnswered(), after_s=0.0).snapshot().finish()
    assert record(canceled) == "Phi-2: canceled after 4.0 s"


def test_several_are_summed_in_words() -> None:
    downloads = [Puppet().at(50).complete(), Puppet().at(50).fail("x"), Puppet().at(25)]
    assert (
        total_words([figures_of(one) for one in downloads])
        == "2 of 3 ended, 1 of them not completed · 350 MB of 600 MB"
    )
    unsized = [figures_of(one) for one in (Puppet().at(50), Puppet(size=None))]
    assert total_words(unsized) == "0 of 2 ended · 100 MB of 200 MB, without 1 of unknown size"
    assert total_percentage(unsized) is None
    assert total_percentage([figures_of(one) for one in downloads]) == pytest.approx(100 * 350 / 600)


def test_no_word_of_the_wire_is_left_on_the_screen() -> None:
    for status in DownloadStatus:
        assert status_word(status).islower()
        assert "-" not in status_word(status)


def test_a_condition_is_what_a_glance_must_tell() -> None:
    download = Puppet().at(10)
    assert condition(download) is Condition.RUNNING
    assert condition(download.tell(ds.TimePassed(), after_s=60)) is Condition.STALLED
    assert condition(download.tell(ds.NoAnswer("gone"))) is Condition.NO_ANSWER
    assert condition(Puppet().at(10).complete()) is Condition.DONE
    assert condition(Puppet().at(10).fail("x")) is Condition.FAILED
    left = Puppet().at(10)
    left.close()
    assert condition(left) is Condition.LEFT
