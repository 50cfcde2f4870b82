"""Each fault happens where it is asked for, to whom it is asked for, and can be taken back."""

from __future__ import annotations

import pytest
import websocket

from pieces_nb.emulator import Faults, Switches
from tests.emulator.conftest import Started
from tests.emulator.support import ONE, SLOW, part_of
from tests.emulator.test_switches import Call
from tests.waiting import until


def test_stall_stops_the_bytes_and_clearing_it_lets_them_flow(started: Started) -> None:
    emulator, api = started(faults=Faults(stall_at=40))

    with api.listening("one") as listener:
        api.start("one")
        until(lambda: listener.frame().get("percentage") == 40)
        assert listener.hears_nothing(0.4)
        [part] = (emulator.home / "models").glob("*.part")
        assert part.stat().st_size == int(65_536 * 0.4)
        assert api.model("one")["downloading"] is True
        emulator.faults = Faults()
        assert listener.to_end()[-1]["status"] == "COMPLETED"


def test_a_stalled_download_can_be_canceled(started: Started) -> None:
    _, api = started(faults=Faults(stall_at=0))
    api.start("one")

    assert api.post("/model/one/download/cancel").json()["downloading"] is False


def test_fail_ends_at_its_percentage_and_removes_the_bytes(started: Started) -> None:
    emulator, api = started(faults=Faults(fail_at=75))

    with api.listening("one") as listener:
        api.start("one")
        last = listener.to_end()[-1]

    assert (last["status"], last["percentage"]) == ("FAILED", 75)
    model = api.model("one")
    assert (model["downloading"], model["downloaded"]) == (False, False)
    assert part_of(emulator) == 0


def test_drop_breaks_the_socket_without_a_close_frame_and_a_reconnect_works(started: Started) -> None:
    _, api = started(rate_bytes_per_s=SLOW, faults=Faults(drop_at=30))

    with api.listening("one") as listener:
        api.start("one")
        assert listener.close_code() is None
    with api.listening("one") as again:
        frames = again.to_end()

    assert frames[0]["status"] == "IN-PROGRESS"
    assert frames[0]["percentage"] >= 30
    assert frames[-1]["status"] == "COMPLETED"


def test_a_disk_that_fills_up_fails_in_the_systems_words(started: Started) -> None:
    switches = Switches(failed_frame_says_why=True, post_answers_after_end=True)
    emulator, api = started(faults=Faults(disk_full_at=60), switches=switches)

    with api.listening("one") as listener:
        answer = api.post("/model/one/download")
        last = listener.to_end()[-1]

    assert answer.status_code == 500
    assert answer.text == "The download of One (emulated) failed: No space left on device."
    assert (last["status"], last["message"]) == ("FAILED", "No space left on device.")
    assert part_of(emulator) == 0


@pytest.mark.parametrize("really", [True, False])
def test_a_disk_that_is_full_refuses_the_call(started: Started, really: bool) -> None:
    size = 10**17 if really else 1000
    _, api = started(models=[ONE | {"size": size}], faults=Faults(disk_full_at=None if really else 0))

    answer = api.post("/model/one/download")

    assert answer.status_code == 500
    assert "No space left on device" in answer.text
    assert api.model("one")["downloading"] is False


def test_a_download_call_is_refused_with_the_given_text(started: Started) -> None:
    _, api = started(faults=Faults(download_error="The engine behind is missing."))

    answer = api.post("/model/one/download")

    assert (answer.status_code, answer.text) == (500, "The engine behind is missing.")


def test_a_slow_load_keeps_the_others_working_and_a_second_one_joins_it(started: Started) -> None:
    emulator, api = started(faults=Faults(load_seconds=0.4))

    first, second = Call(api, "/model/there/load"), Call(api, "/model/there/load")
    assert api.model("there")["loaded"] is False
    assert first.answer is None
    emulator.faults = Faults()

    assert first.result().json()["loaded"] is True
    assert second.result().json()["loaded"] is True


def test_load_and_unload_are_refused_with_the_given_texts(started: Started) -> None:
    emulator, api = started(faults=Faults(load_error="Out of memory.", unload_error="It is busy."))

    load, unload = api.post("/model/there/load"), api.post("/model/there/unload")

    assert (load.status_code, load.text) == (500, "Out of memory.")
    assert (unload.status_code, unload.text) == (500, "It is busy.")
    assert api.model("there")["loaded"] is False
    emulator.faults = Faults()
    assert api.post("/model/there/load").json()["loaded"] is True
    emulator.faults = Faults(unload_error="It is busy.")
    assert api.post("/models/unload").status_code == 204
    assert api.model("there")["loaded"] is True


def test_an_ignored_cancel_answers_and_the_download_goes_on(started: Started) -> None:
    emulator, api = started(faults=Faults(stall_at=50, cancel_ignored=True))
    api.start("one")

    assert api.post("/model/one/download/cancel").json()["downloading"] is True
    emulator.faults = Faults()
    until(lambda: api.model("one")["downloaded"])


def test_a_progress_socket_can_be_refused_with_404_or_without_a_word(started: Started) -> None:
    emulator, api = started(faults=Faults(socket_refused="404"))

    with pytest.raises(websocket.WebSocketBadStatusException) as caught, api.listening("one"):
        pass
    assert caught.value.status_code == 404
    emulator.faults = Faults(socket_refused="close")
    with pytest.raises((websocket.WebSocketException, ConnectionError)), api.listening("one"):
        pass
    assert api.get("/models").status_code == 200


@pytest.mark.parametrize("key", ["one", "one:1b"])
def test_faults_may_be_for_one_model_by_id_or_unique_and_for_the_rest(started: Started, key: str) -> None:
    emulator, api = started(faults={key: Faults(download_error="Not this one.")})

    assert api.post("/model/one/download").text == "Not this one."
    api.download("two")
    emulator.faults = {key: Faults(), "*": Faults(download_error="Not the rest.")}
    assert api.post("/model/mine/download").text == "Not the rest."
    api.download("one")


def test_the_rate_can_change_while_bytes_flow_and_be_one_models_own(started: Started) -> None:
    emulator, api = started(rate_bytes_per_s=1, faults={"two": Faults(rate_bytes_per_s=1e9)})
    api.start("one")

    api.download("two")
    assert api.model("one")["downloading"] is True
    emulator.rate_bytes_per_s = None
    until(lambda: api.model("one")["downloaded"])
