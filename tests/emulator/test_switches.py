"""Each switch makes another server of it that keeps to the wire."""

from __future__ import annotations

import threading
import time
from dataclasses import replace

import pytest
import requests

from pieces_nb.emulator import Faults, Switches
from tests.emulator.conftest import Started
from tests.emulator.support import SLOW, THERE, Api
from tests.waiting import until

NO_OLD = Switches(repeat_old_status=False)


class Call(threading.Thread):
    """A POST in a thread of its own."""

    def __init__(self, api: Api, path: str) -> None:
        super().__init__(daemon=True)
        self.address = api.url + path
        self.answer: requests.Response | None = None
        self.start()

    def run(self) -> None:
        with requests.Session() as session:
            session.trust_env = False
            self.answer = session.post(self.address, timeout=20)

    def result(self) -> requests.Response:
        self.join(20)
        assert self.answer is not None
        return self.answer


@pytest.mark.parametrize(("end", "status"), [("complete", "COMPLETED"), ("fail", "FAILED"), ("cancel", "CANCELED")])
def test_a_new_socket_hears_the_old_end(started: Started, end: str, status: str) -> None:
    emulator, api = started(rate_bytes_per_s=None if end != "cancel" else 1)
    emulator.faults = Faults(fail_at=50) if end == "fail" else Faults()
    with api.listening("one") as listener:
        api.start("one")
        if end == "cancel":
            api.post("/model/one/download/cancel")
        listener.to_end()

    with api.listening("one") as late:
        assert late.frame()["status"] == status
        assert late.hears_nothing(0.1)


def test_without_repeat_old_status_a_new_socket_hears_nothing_of_an_old_end(started: Started) -> None:
    _, api = started(switches=NO_OLD)
    api.download("one")

    with api.listening("one") as late:
        assert late.hears_nothing()


def test_a_new_socket_hears_where_a_running_download_is(started: Started) -> None:
    _, api = started(faults=Faults(stall_at=50))
    api.start("one")

    with api.listening("one") as listener:
        assert listener.frame()["status"] in ("INITIALIZED", "IN-PROGRESS")


@pytest.mark.parametrize("live", [True, False])
def test_close_after_terminal_closes_live_and_repeated_ends(started: Started, live: bool) -> None:
    _, api = started(switches=Switches(close_after_terminal=True))
    if not live:
        api.download("one")

    with api.listening("one") as listener:
        api.start("one")
        assert listener.to_end()[-1]["status"] == "COMPLETED"
        assert listener.close_code() == 1000


def test_the_socket_stays_open_after_an_end_by_default(started: Started) -> None:
    _, api = started()

    with api.listening("one") as listener:
        api.start("one")
        listener.to_end()
        assert listener.hears_nothing()


@pytest.mark.parametrize("idle", ["nothing", "empty", "unknown"])
def test_what_a_socket_of_an_idle_model_hears(started: Started, idle: str) -> None:
    emulator, api = started()
    emulator.switches = replace(emulator.switches, idle=idle)  # type: ignore[arg-type]  # One of the three words.

    with api.listening("one") as listener:
        if idle != "nothing":
            assert listener.frame() == ({} if idle == "empty" else {"status": "UNKNOWN"})
        assert listener.hears_nothing(0.1)


def test_post_late_answers_late_while_the_transfer_runs(started: Started) -> None:
    _, api = started(switches=Switches(post_late_s=0.4))

    with api.listening("one") as listener:
        call = Call(api, "/model/one/download")
        listener.to_end()
        assert call.answer is None
        assert call.result().json()["downloaded"] is True


@pytest.mark.parametrize("end", ["complete", "fail", "cancel"])
def test_post_answers_after_end_with_the_end(started: Started, end: str) -> None:
    faults = Faults(fail_at=50) if end == "fail" else Faults()
    rate = SLOW if end == "complete" else SLOW / 20
    emulator, api = started(rate_bytes_per_s=rate, faults=faults, switches=Switches(post_answers_after_end=True))

    with api.listening("one") as listener:
        call = Call(api, "/model/one/download")
        listener.until_status("IN-PROGRESS")
        assert call.answer is None
        if end == "cancel":
            api.post("/model/one/download/cancel")
        emulator.rate_bytes_per_s = None
        answer = call.result()

    if end == "complete":
        assert answer.json()["downloaded"] is True
    else:
        assert answer.status_code == 500
        assert ("was lost" if end == "fail" else "was canceled") in answer.text


def test_post_answers_when_the_transfer_starts(started: Started) -> None:
    switches = Switches(start_late_s=0.5, post_answers_at_start=True)
    _, api = started(rate_bytes_per_s=SLOW / 20, faults=Faults(fail_at=0.001), switches=switches)

    with api.listening("one") as listener:
        call, second = Call(api, "/model/one/download"), Call(api, "/model/one/download")
        assert listener.hears_nothing(0.2)
        assert (call.answer, second.answer) == (None, None)
        assert listener.frame()["status"] == "INITIALIZED"
        assert (call.result().status_code, second.result().status_code) == (200, 200)


def test_a_download_canceled_before_its_transfer_starts_answers_that(started: Started) -> None:
    _, api = started(switches=Switches(start_late_s=60, post_answers_at_start=True))
    call = Call(api, "/model/one/download")
    until(lambda: api.post("/model/one/download/cancel").status_code == 200)

    answer = call.result()

    assert (answer.status_code, answer.text) == (500, "The download of One (emulated) was canceled.")


def test_snapshots_without_downloading_have_no_such_field_anywhere(started: Started) -> None:
    _, api = started(faults=Faults(stall_at=50), switches=Switches(downloading_missing=True))

    answers = [api.start("one"), api.model("one"), *api.get("/models").json()["iterable"]]
    answers += [api.post("/model/one/download/cancel").json(), api.post("/model/there/load").json()]

    assert all("downloading" not in model and "downloaded" in model for model in answers)


def test_snapshots_without_downloaded_have_no_such_field_anywhere(started: Started) -> None:
    _, api = started(switches=Switches(downloaded_missing=True))
    with api.listening("one") as listener:
        answers = [api.start("one")]
        listener.to_end()

    answers += [api.model("one"), *api.get("/models").json()["iterable"], api.post("/model/one/load").json()]

    assert all("downloaded" not in model and "downloading" in model for model in answers)
    assert answers[-1]["loaded"] is True


def test_downloaded_lags_behind_the_end_and_what_was_there_does_not(started: Started) -> None:
    _, api = started(switches=Switches(downloaded_lag_s=0.5))

    with api.listening("one") as listener:
        api.start("one")
        listener.to_end()
        ended = time.monotonic()
    model = api.model("one")

    assert (model["downloaded"], model["downloading"]) == (False, False)
    assert api.model("there")["downloaded"] is True
    until(lambda: api.model("one")["downloaded"])
    assert time.monotonic() - ended > 0.4


def test_load_answers_at_once_and_works_on(started: Started) -> None:
    emulator, api = started(switches=Switches(load_works_on_s=0.5))

    answer = api.post("/model/there/load")
    answered = time.monotonic()

    assert (answer.status_code, answer.json()["loaded"]) == (200, False)
    assert api.model("there")["loaded"] is False
    until(lambda: api.model("there")["loaded"])
    assert time.monotonic() - answered > 0.4
    assert api.post("/model/one/load").status_code == 500  # What is known at once is said at once.
    emulator.faults = Faults(load_error="Out of memory.")
    assert api.post("/model/there/load").text == "Out of memory."


def test_a_load_that_fails_while_it_works_on_is_not_heard_of(started: Started) -> None:
    faults = Faults(load_error="Out of memory.", load_seconds=0.01)
    _, api = started(faults=faults, switches=Switches(load_works_on_s=0.01))

    assert api.post("/model/there/load").status_code == 200
    assert api.post("/model/there/unload").json()["loaded"] is False  # It comes after the load.
    assert api.model("there")["loaded"] is False


@pytest.mark.parametrize("path", ["/model/there/unload", "/models/unload"])
def test_unload_answers_at_once_and_works_on(started: Started, path: str) -> None:
    _, api = started(switches=Switches(unload_works_on_s=0.5))
    api.post("/model/there/load")

    assert api.post(path).status_code in (200, 204)

    assert api.model("there")["loaded"] is True
    until(lambda: not api.model("there")["loaded"])


def test_delete_cache_answers_at_once_and_works_on(started: Started) -> None:
    emulator, api = started(models=[THERE], switches=Switches(delete_cache_works_on_s=0.5))
    api.post("/model/there/load")

    answer = api.post("/models/there/delete/cache", json={})

    assert answer.json() == {"model": {"id": "there"}}
    model = api.model("there")
    assert (model["downloaded"], model["loaded"]) == (True, True)
    until(lambda: not api.model("there")["downloaded"])
    assert api.model("there")["loaded"] is False
    assert list((emulator.home / "models").iterdir()) == []


def test_what_works_on_when_the_server_closes_ends_quietly(started: Started) -> None:
    emulator, api = started(switches=Switches(load_works_on_s=60))
    api.post("/model/there/load")

    emulator.close()

    assert not emulator.running


def test_start_late_shows_the_old_status_until_the_transfer_starts(started: Started) -> None:
    _, api = started(faults=Faults(fail_at=10), switches=Switches(start_late_s=0.3))
    with api.listening("one") as listener:
        assert api.start("one")["downloading"] is False
        listener.to_end()

    assert api.start("one")["downloading"] is False
    with api.listening("one") as late:
        assert late.frame()["status"] == "FAILED"
        assert late.frame()["status"] == "INITIALIZED"
        assert late.to_end()[-1]["status"] == "FAILED"


def test_downloading_lags_behind_the_truth(started: Started) -> None:
    _, api = started(rate_bytes_per_s=SLOW, switches=Switches(downloading_lag_s=0.3))

    with api.listening("one") as listener:
        assert api.start("one")["downloading"] is False
        listener.to_end()

    assert api.model("one")["downloaded"] is True
    until(lambda: api.model("one")["downloading"])
    until(lambda: not api.model("one")["downloading"])


def test_a_second_download_call_joins_fails_or_blocks(started: Started) -> None:
    emulator, api = started(faults=Faults(stall_at=50))
    api.start("one")

    assert api.start("one")["downloading"] is True
    emulator.switches = Switches(second_post="fail")
    answer = api.post("/model/one/download")
    assert (answer.status_code, answer.text) == (500, "One (emulated) is being downloaded already.")
    emulator.switches = Switches(second_post="block")
    call = Call(api, "/model/one/download")
    assert api.model("one")["downloading"] is True
    assert call.answer is None
    emulator.faults = Faults()
    assert call.result().json()["downloaded"] is True


@pytest.mark.parametrize("after", ["canceled", "nothing", "reset"])
def test_what_a_socket_hears_of_a_cancel(started: Started, after: str) -> None:
    switches = Switches(after_cancel=after)  # type: ignore[arg-type]  # One of the three words.
    _, api = started(faults=Faults(stall_at=50), switches=switches)

    with api.listening("one") as listener:
        api.start("one")
        until(lambda: listener.frame().get("percentage") == 50)
        api.post("/model/one/download/cancel")
        if after != "nothing":
            assert listener.frame()["status"] == after.upper()
        assert listener.hears_nothing(0.2)
    assert api.model("one")["downloading"] is False


def test_reset_before_restart_says_reset_only_after_an_earlier_end(started: Started) -> None:
    _, api = started(faults=Faults(fail_at=50), switches=Switches(reset_before_restart=True))

    with api.listening("one") as listener:
        api.start("one")
        assert listener.to_end()[0]["status"] == "INITIALIZED"
        api.start("one")
        assert [frame["status"] for frame in listener.to_end()[:2]] == ["RESET", "INITIALIZED"]


@pytest.mark.parametrize("resumes", [True, False])
def test_a_download_after_a_failed_one_resumes_or_starts_from_nothing(started: Started, resumes: bool) -> None:
    emulator, api = started(faults=Faults(fail_at=50), switches=Switches(resumes=resumes))

    with api.listening("one") as listener:
        api.start("one")
        listener.to_end()
        emulator.faults = Faults()
        api.start("one")
        frames = listener.to_end()

    assert frames[1]["percentage"] == (50 if resumes else 0)
    assert frames[-1]["status"] == "COMPLETED"


@pytest.mark.parametrize(("kind", "wanted"), [("float", float), ("int", int), ("none", type(None))])
def test_percentages_are_floats_or_whole_or_missing(started: Started, kind: str, wanted: type) -> None:
    switches = Switches(percentages=kind)  # type: ignore[arg-type]  # One of the three words.
    _, api = started(rate_bytes_per_s=SLOW, switches=switches)

    with api.listening("one") as listener:
        api.start("one")
        frames = listener.to_end()

    assert {type(frame.get("percentage")) for frame in frames} == {wanted}


@pytest.mark.parametrize("repeats", [True, False])
def test_a_stalled_transfer_repeats_its_frame_or_is_silent(started: Started, repeats: bool) -> None:
    _, api = started(faults=Faults(stall_at=50), switches=Switches(frames_while_stalled=repeats))

    with api.listening("one") as listener:
        api.start("one")
        until(lambda: listener.frame().get("percentage") == 50)
        if repeats:
            assert [listener.frame()["percentage"] for _ in range(3)] == [50, 50, 50]
        else:
            assert listener.hears_nothing()


@pytest.mark.parametrize("says", [True, False])
def test_a_failed_frame_says_why_only_if_told_to(started: Started, says: bool) -> None:
    _, api = started(faults=Faults(fail_at=50, fail_text="Gone."), switches=Switches(failed_frame_says_why=says))

    with api.listening("one") as listener:
        api.start("one")
        assert listener.to_end()[-1].get("message") == ("Gone." if says else None)
