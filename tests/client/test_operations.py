"""Load, unload, delete, update, create: sent once, confirmed by snapshots, whenever and however the server answers."""

from __future__ import annotations

import _thread
import threading
from collections.abc import Callable
from typing import Any

import pytest

from pieces_nb import ModelClient, Settings
from pieces_nb.errors import (
    BadArguments,
    ModelNotFound,
    ModelStateError,
    PiecesServerError,
    PiecesUnreachable,
    ProtocolError,
    StoppedWaiting,
    WaitTimeout,
)
from tests.conftest import QUICK
from tests.hostile.server import (
    DEADLINE_S,
    ID,
    OTHER_ID,
    POLITE,
    Behaviour,
    HostileServer,
    Line,
    Request,
    answers_after,
    http,
    in_turn,
    late,
    model_of,
    reset,
    says,
    silence,
    text,
    when,
)
from tests.waiting import until

REFUSED = text("the engine is missing", "500 Internal Server Error")
YES = http(b"", "204 No Content")


def waited_for(event: threading.Event) -> None:
    assert event.wait(DEADLINE_S)


def then_works_on(server: HostileServer, looks: int, **fields: Any) -> Behaviour:
    """Answer at once; the model becomes so only after so many snapshots more."""

    def behave(line: Line, _request: Request) -> None:
        left = looks
        line.send(YES)

        def snapshot(line: Line, request: Request) -> None:
            nonlocal left
            left -= 1
            if left <= 0:
                server.models[ID].update(fields)
            POLITE["snapshot"](line, request)

        server.answers["snapshot"] = snapshot

    return behave


# Answered at once, worked on for long


@pytest.mark.parametrize(
    ("call", "before", "after", "verb"),
    [
        ("load", {"downloaded": True}, {"loaded": True}, ModelClient.load),
        ("unload", {"downloaded": True, "loaded": True}, {"loaded": False}, ModelClient.unload),
        ("delete cache", {"downloaded": True}, {"downloaded": False}, ModelClient.delete_cache),
    ],
)
def test_a_server_that_answers_at_once_and_works_on_is_waited_for(
    odd: HostileServer,
    odd_client: ModelClient,
    call: str,
    before: dict[str, Any],
    after: dict[str, Any],
    verb: Callable[..., Any],
) -> None:
    odd.models[ID].update(before)
    odd.answers[call] = then_works_on(odd, 20, **after)
    seen = verb(odd_client, ID)
    assert {name: seen.raw[name] for name in after} == after
    assert odd.count(call) == 1


def test_an_update_that_the_server_stores_a_while_later_is_waited_for(
    odd: HostileServer, odd_client: ModelClient
) -> None:
    odd.models[ID]["custom"] = True
    odd.answers["update"] = then_works_on(odd, 10, description="new")
    assert odd_client.update(ID, description="new").description == "new"


def test_a_deletion_is_confirmed_by_the_list(odd: HostileServer, odd_client: ModelClient) -> None:
    odd.models[ID]["custom"] = True
    looks = 0

    def listed(line: Line, request: Request) -> None:
        nonlocal looks
        looks += 1
        if looks == 5:
            odd.models.pop(ID)
        POLITE["list"](line, request)

    odd.answers |= {"list": listed, "delete": says(YES)}
    odd_client.delete(ID)
    assert (looks, odd.count("delete")) == (5, 1)


def test_a_deletion_that_is_none_is_told(odd: HostileServer) -> None:
    odd.models[ID]["custom"] = True
    odd.answers["delete"] = says(YES)
    with (
        ModelClient(odd.url, timing=QUICK.__class__(confirm_within_s=0.3, poll_soon_s=0.02)) as client,
        pytest.raises(ModelStateError, match=r"not deleted: it is still in the list, 0\.3 s later"),
    ):
        client.delete(ID)


# Answered late, or never


def test_a_load_that_is_answered_never_but_is_done_is_a_success_before_its_timeout(
    odd: HostileServer, odd_client: ModelClient
) -> None:
    def load(line: Line, request: Request) -> None:
        line.server.models[ID].update(loaded=True)
        silence(line, request)

    odd.models[ID]["downloaded"] = True
    odd.answers["load"] = load
    assert odd_client.load(ID).loaded


def test_a_load_whose_connection_breaks_but_is_done_is_a_success(odd: HostileServer, odd_client: ModelClient) -> None:
    def load(line: Line, request: Request) -> None:
        line.server.models[ID].update(loaded=True)
        reset(line, request)

    odd.models[ID]["downloaded"] = True
    odd.answers["load"] = load
    assert odd_client.load(ID).loaded


def test_a_load_whose_connection_breaks_and_that_is_not_done_says_so_soon(
    odd: HostileServer, odd_client: ModelClient
) -> None:
    odd.models[ID]["downloaded"] = True
    odd.answers["load"] = reset
    odd_client.settings.load_timeout_s = 120.0
    with pytest.raises(PiecesUnreachable, match=r"broke"):
        odd_client.load(ID)
    assert odd.count("load") == 1
    assert odd_client.history.entries()[-1].seconds < 60


def test_a_load_that_does_not_come_in_time_says_what_was_seen(odd: HostileServer) -> None:
    odd.models[ID]["downloaded"] = True
    odd.answers["load"] = silence
    with (
        ModelClient(odd.url, settings=Settings(load_timeout_s=0.4), timing=QUICK) as client,
        pytest.raises(WaitTimeout, match=r"not loaded within 0\.4 s; the server may .*Last seen: downloaded\."),
    ):
        client.load(ID)


def test_a_refused_load_says_the_servers_words(odd: HostileServer, odd_client: ModelClient) -> None:
    odd.models[ID]["downloaded"] = True
    odd.answers["load"] = late(0.3, says(REFUSED))
    with pytest.raises(PiecesServerError, match="the engine is missing"):
        odd_client.load(ID)


def test_snapshots_that_fail_meanwhile_do_no_harm(odd: HostileServer, odd_client: ModelClient) -> None:
    odd.models[ID]["downloaded"] = True
    odd.answers["snapshot"] = in_turn(POLITE["snapshot"], says(REFUSED), reset, says(http(b"?")), POLITE["snapshot"])
    assert odd_client.load(ID).loaded


def test_an_interrupt_is_heard_while_the_server_is_silent(odd: HostileServer, odd_client: ModelClient) -> None:
    odd.models[ID]["downloaded"] = True

    def load(line: Line, request: Request) -> None:
        _thread.interrupt_main()
        silence(line, request)

    odd.answers["load"] = load
    with pytest.raises(StoppedWaiting, match="Phi-2: nobody waits any more for it to be loaded"):
        odd_client.load(ID)
    assert odd_client.history.entries()[-1].outcome == "StoppedWaiting"


# Missing flags


@pytest.mark.parametrize(
    ("call", "flag", "before", "verb"),
    [
        ("load", "loaded", {"downloaded": True}, ModelClient.load),
        ("load", "downloaded", {}, ModelClient.load),
        ("unload", "loaded", {"downloaded": True}, ModelClient.unload),
        ("delete cache", "downloaded", {}, ModelClient.delete_cache),
    ],
)
def test_a_flag_that_the_server_does_not_send_stops_nothing(
    odd: HostileServer, odd_client: ModelClient, call: str, flag: str, before: dict[str, Any], verb: Callable[..., Any]
) -> None:
    odd.models[ID].update(before)
    del odd.models[ID][flag]
    odd.answers[call] = answers_after(lambda model: model.update(loaded=True) if flag == "downloaded" else None)
    verb(odd_client, ID)
    assert odd.count(call) == 1


# All of them


def test_unload_all_is_no_failure_when_a_model_vanishes(odd: HostileServer, odd_client: ModelClient) -> None:
    odd.models[ID].update(downloaded=True, loaded=True)
    odd.models[OTHER_ID] = model_of(OTHER_ID, "Other", downloaded=True, loaded=True)

    def unload(line: Line, _request: Request) -> None:
        odd.models.pop(OTHER_ID)
        odd.models[ID]["loaded"] = False
        line.send(YES)

    odd.answers["unload all"] = unload
    assert [model.id for model in odd_client.unload_all()] == [ID]


# update, create


@pytest.fixture
def stores(odd: HostileServer) -> list[dict[str, Any]]:
    """A custom model, a server that stores whole bodies, and what it was sent."""
    import json

    sent: list[dict[str, Any]] = []
    odd.models[ID].update(custom=True, description="old", provider="META")

    def update(line: Line, request: Request) -> None:
        sent.append(json.loads(request.body))
        odd.models[ID].update(sent[-1])
        line.send(http(odd.models[ID]))

    odd.answers["update"] = update
    return sent


def test_an_update_keeps_what_another_writer_has_changed_meanwhile(
    odd: HostileServer, odd_client: ModelClient, stores: list[dict[str, Any]]
) -> None:
    before = odd_client.get(ID)
    odd.models[ID]["description"] = "theirs"
    after = odd_client.update_checked(before, {"provider": "GOOGLE"})
    assert (after.description, after.provider) == ("theirs", "GOOGLE")
    assert stores[0]["description"] == "theirs"


def test_an_update_sends_no_flag_that_is_old_by_then(
    odd: HostileServer, odd_client: ModelClient, stores: list[dict[str, Any]]
) -> None:
    before = odd_client.get(ID)
    odd.models[ID].update(downloaded=True, loaded=True)
    odd_client.update_checked(before, {"provider": "GOOGLE"})
    assert stores[0]["downloaded"] is True
    assert not {"loaded", "downloading"} & stores[0].keys()
    assert odd.models[ID]["loaded"] is True


def test_an_update_without_a_change_sends_nothing(
    odd: HostileServer, odd_client: ModelClient, stores: list[dict[str, Any]]
) -> None:
    assert odd_client.update(ID, description="old", quantization=None).description == "old"
    assert (stores, odd.count("update")) == ([], 0)


@pytest.mark.parametrize("number", ["NaN", "1e999", "-Infinity"])
def test_a_number_that_json_cannot_hold_is_one_clear_line(
    odd: HostileServer, odd_client: ModelClient, stores: list[dict[str, Any]], number: str
) -> None:
    import json

    odd.models[ID]["score"] = {"deep": ["x"]}
    body = json.dumps(odd.models[ID]).replace('"x"', number).encode()
    odd.answers["snapshot"] = says(http(body))
    with pytest.raises(ProtocolError, match=r"Phi-2 cannot be sent back: its score\.deep\.0 is nothing that JSON"):
        odd_client.update(ID, description="new")
    assert stores == []


def test_a_create_whose_answer_never_comes_is_found_in_the_list(odd: HostileServer, odd_client: ModelClient) -> None:
    def create(line: Line, request: Request) -> None:
        odd.models[OTHER_ID] = model_of(OTHER_ID, "mine", custom=True)
        silence(line, request)

    odd.answers["create"] = create
    assert odd_client.create("mine").id == OTHER_ID


def test_a_create_of_a_name_that_exists_already_is_said(odd: HostileServer, odd_client: ModelClient) -> None:
    def create(line: Line, _request: Request) -> None:
        odd.models[OTHER_ID] = model_of(OTHER_ID, "Phi-2", custom=True)
        line.send(http(odd.models[OTHER_ID]))

    told: list[str] = []
    odd.answers["create"] = create
    assert odd_client.create_checked("Phi-2", {}, tell=told.append).id == OTHER_ID
    assert told == [f"There was a model named Phi-2 already ({ID}); the new one is {OTHER_ID}."]


# Blocks that have a model in memory


def test_a_block_does_not_unload_what_another_client_loaded_when_ours_was_refused(
    odd: HostileServer, odd_client: ModelClient
) -> None:
    odd.models[ID]["downloaded"] = True

    def load(line: Line, _request: Request) -> None:
        odd.models[ID]["loaded"] = True
        line.send(REFUSED)

    odd.answers["load"] = load
    with pytest.raises(PiecesServerError), odd_client.loaded(ID):
        pytest.fail("the block was entered")
    assert odd.count("unload") == 0


def test_an_interrupt_during_the_load_of_a_block_does_not_leave_the_model_in_memory(
    odd: HostileServer, odd_client: ModelClient
) -> None:
    odd.models[ID]["downloaded"] = True
    go_on, unloaded = threading.Event(), threading.Event()

    def load(line: Line, request: Request) -> None:
        _thread.interrupt_main()
        when(go_on, answers_after(lambda model: model.update(loaded=True)))(line, request)

    def unload(model: dict[str, Any]) -> None:
        model.update(loaded=False)
        unloaded.set()

    odd.answers |= {"load": load, "unload": answers_after(unload)}
    with pytest.raises(StoppedWaiting), odd_client.loaded(ID):
        pytest.fail("the block was entered")
    assert odd.count("unload") == 0
    go_on.set()
    waited_for(unloaded)


def test_an_interrupted_load_that_the_server_refuses_afterwards_unloads_nothing(
    odd: HostileServer, odd_client: ModelClient
) -> None:
    odd.models[ID]["downloaded"] = True
    go_on = threading.Event()

    def refuse(line: Line, _request: Request) -> None:
        odd.models[ID]["loaded"] = True  # another client's doing
        seen = odd.count("snapshot")
        until(lambda: odd.count("snapshot") > seen)  # which is looked at before the refusal comes
        line.send(REFUSED)

    def load(line: Line, request: Request) -> None:
        _thread.interrupt_main()
        when(go_on, refuse)(line, request)

    odd.answers["load"] = load
    others = set(threading.enumerate())
    with pytest.raises(StoppedWaiting), odd_client.loaded(ID):
        pytest.fail("the block was entered")
    (giving_back,) = [one for one in set(threading.enumerate()) - others if one.name == "pieces-nb-give-back"]
    go_on.set()
    giving_back.join(DEADLINE_S)
    assert not giving_back.is_alive()
    assert (odd.models[ID]["loaded"], odd.count("unload")) == (True, 0)


def test_a_load_that_waits_when_its_client_is_closed_says_so_at_once(
    odd: HostileServer, odd_client: ModelClient
) -> None:
    odd.models[ID]["downloaded"] = True
    odd.answers["load"] = silence
    odd_client.settings.load_timeout_s = 120.0
    raised: list[Exception] = []

    def load() -> None:
        try:
            odd_client.load(ID)
        except PiecesUnreachable as exc:
            raised.append(exc)

    thread = threading.Thread(target=load)
    thread.start()
    odd.wait_for("load")
    odd_client.close()
    thread.join(DEADLINE_S)
    assert [str(one).partition(";")[0] for one in raised] == ["This client is closed"]


def test_of_two_threads_with_a_model_the_last_to_leave_unloads_it(odd: HostileServer, odd_client: ModelClient) -> None:
    odd.models[ID]["downloaded"] = True
    inside, leave = threading.Event(), threading.Event()
    seen: list[bool] = []

    def second() -> None:
        with odd_client.loaded(ID):
            inside.set()
            waited_for(leave)
            seen.append(odd_client.get(ID).loaded)

    thread = threading.Thread(target=second)
    with odd_client.loaded(ID):
        thread.start()
        waited_for(inside)
    assert odd.count("unload") == 0
    leave.set()
    thread.join(DEADLINE_S)
    assert seen == [True]
    assert (odd.count("load"), odd.count("unload")) == (1, 1)


def test_a_model_that_was_deleted_meanwhile_is_not_found(odd: HostileServer, odd_client: ModelClient) -> None:
    before = odd_client.get(ID)
    odd.models.pop(ID)
    with pytest.raises(ModelNotFound):
        odd_client.load(before)


def test_a_name_that_is_no_name_is_refused_before_anything_is_asked(
    odd: HostileServer, odd_client: ModelClient
) -> None:
    with pytest.raises(BadArguments):
        odd_client.create_checked("  ", {})
    assert odd.log == []
