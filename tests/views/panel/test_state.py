"""The panel's state and rules, without widgets, threads or a server."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from pieces_nb.model.models import Model
from pieces_nb.views.panel import form, html
from pieces_nb.views.panel import panel as follower
from pieces_nb.views.panel import state as ps
from pieces_nb.views.panel.state import Action, Call, PanelState, Shows

HOSTILE = '<script>alert("x")</script> & $x^2$ \u202e 🚀 "quoted" \'single\''


def model(name: str = "Phi-2", **raw: Any) -> Model:
    return Model({"id": f"id-{name}", "name": name, "bytes": {"value": 26_000_000}, **raw})


def known(*models: Model, **changes: Any) -> PanelState:
    return replace(ps.read(PanelState(), models, server="Pieces OS 12.3.0 at http://127.0.0.1:39300"), **changes)


def chosen(model: Model, **changes: Any) -> PanelState:
    return replace(ps.chose(known(model), model.id), **changes)


# What can be done ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("flags", "possible"),
    [
        ({}, {Action.DOWNLOAD}),
        ({"downloading": True}, {Action.CANCEL}),
        ({"downloaded": True}, {Action.LOAD, Action.DELETE_CACHE}),
        ({"downloaded": True, "loaded": True}, {Action.UNLOAD, Action.DELETE_CACHE}),
        ({"cloud": True}, set()),
        ({"custom": True}, {Action.DOWNLOAD, Action.UPDATE, Action.DELETE}),
    ],
)
def test_each_button_can_be_clicked_in_the_states_where_it_can_work(
    flags: dict[str, Any], possible: set[Action]
) -> None:
    state = chosen(model(**flags))

    assert {action for action in Action if not ps.why_not(state, action)} == possible | {Action.REFRESH}


def test_a_disabled_button_says_why_and_equal_reasons_stand_together() -> None:
    assert ps.reasons(chosen(model(downloaded=True))) == (
        "Download: it is downloaded already · Cancel: it is not downloading · Unload: it is not loaded · "
        "Update, Delete: it is no custom model"
    )


def test_one_reason_for_all_is_said_once() -> None:
    assert ps.reasons(known(model())) == "Not now: choose a model first"
    assert ps.reasons(known()) == "Not now: there are no models"
    assert ps.reasons(ps.unanswered(chosen(model()), "refused")) == "Not now: there is no connection"


def test_a_call_under_way_disables_everything_else_on_that_model_but_not_on_another() -> None:
    phi, llama = model("Phi-2", downloaded=True), model("Llama")
    state = ps.began(ps.chose(known(phi, llama), phi.id), Call(Action.LOAD, phi.id, "Phi-2", 5.0))

    assert ps.why_not(state, Action.LOAD) == "a call for this model is under way"
    assert ps.why_not(state, Action.DOWNLOAD, llama.id) == ""


def test_a_followed_download_can_be_canceled_though_the_servers_flag_lags() -> None:
    state = chosen(model(), followed=frozenset({"id-Phi-2"}))

    assert ps.why_not(state, Action.CANCEL) == ""
    assert ps.why_not(state, Action.DOWNLOAD) == "it is downloading already"


def test_deleting_asks_first_and_names_the_model() -> None:
    phi = model(downloaded=True, custom=True)
    question = ps.question_for(known(phi), Action.DELETE, phi)
    cache = ps.question_for(known(phi), Action.DELETE_CACHE, phi)

    assert question is not None
    assert question.words == "Delete the custom model Phi-2 for good?"
    assert cache is not None
    assert cache.words == "Delete the downloaded files of Phi-2, 26.0 MB?"


def test_loading_more_than_fits_asks_first() -> None:
    large = model(downloaded=True, ram={"value": 8_000_000_000})
    question = ps.question_for(known(large, free_memory_bytes=5_000_000_000), Action.LOAD, large)

    assert question is not None
    assert question.words == "Phi-2 needs 8.0 GB of memory, 5.0 GB are free."
    assert ps.question_for(known(large, free_memory_bytes=9_000_000_000), Action.LOAD, large) is None
    assert ps.question_for(known(large), Action.LOAD, large) is None


def test_a_question_goes_when_the_answer_could_not_be_carried_out_any_more() -> None:
    phi = model(downloaded=True)
    state = replace(chosen(phi), question=ps.question_for(known(phi), Action.DELETE_CACHE, phi))

    assert ps.replaced(state, model(downloaded=False)).question is None
    assert ps.unanswered(state, "refused").question is None


# Which models show ---------------------------------------------------------------------------------------------------


def test_models_stand_by_name_with_the_cloud_last_whatever_their_state() -> None:
    state = known(model("b", loaded=True), model("C"), model("a", cloud=True))

    assert [name for name, _ in ps.options(state)] == [
        "b · loaded · 26.0 MB",
        "C · available · 26.0 MB",
        "a · cloud",
    ]


def test_a_thousand_models_offer_a_hundred_and_say_how_to_see_the_others() -> None:
    state = known(*(model(f"m{number:04}") for number in range(1000)))

    assert len(ps.options(state)) == ps.MOST_OPTIONS
    assert ps.count_words(state) == "The first 100 of 1,000: type a part of the name to see the others"
    assert ps.count_words(ps.filtered(state, pattern="m099")) == "10 of 1,000 models"


def test_the_only_match_is_chosen() -> None:
    assert ps.filtered(known(model("Phi-2"), model("Llama")), pattern="phi").chosen_id == "id-Phi-2"


def test_a_chosen_model_is_let_go_when_a_new_filter_leaves_it_out() -> None:
    state = ps.chose(known(model("a1"), model("b1"), model("b2")), "id-a1")

    assert ps.filtered(state, pattern="b").chosen_id == ""


def test_a_chosen_model_stays_offered_when_its_state_leaves_the_filter() -> None:
    state = ps.filtered(known(model("a", downloading=True), model("b", downloading=True)), shows=Shows.DOWNLOADING)
    state = ps.replaced(ps.chose(state, "id-a"), model("a", downloaded=True))

    assert state.chosen_id == "id-a"
    assert [model_id for _, model_id in ps.options(state)] == ["id-a", "id-b"]


def test_what_refers_to_a_model_goes_with_it() -> None:
    phi = model(custom=True)
    state = ps.removed(chosen(phi, editing_id=phi.id), phi.id)

    assert (state.chosen_id, state.editing_id) == ("", "")


# Words ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("state", "lesson"),
    [
        (PanelState(), "Asking the server"),
        (ps.unanswered(PanelState(), "Nothing answers."), "Start Pieces OS"),
        (known(), "The server has no models at all"),
        (known(model(), model("b")), "Choose a model in the list"),
        (ps.filtered(known(model("c", cloud=True)), shows=Shows.LOCAL), "No local models"),
        (ps.filtered(known(model(), model("b")), pattern="zzz"), "No model is called anything with “zzz”"),
        (ps.filtered(known(model(), model("b")), shows=Shows.LOADED), "No model is in memory"),
        (ps.filtered(known(model(), model("b")), shows=Shows.DOWNLOADED), "Nothing is downloaded yet"),
        (ps.filtered(known(model(), model("b")), shows=Shows.DOWNLOADING), "Nothing is downloading"),
        (ps.filtered(known(model(), model("b")), shows=Shows.CUSTOM), "No custom models"),
        (ps.filtered(known(model(), model("b")), shows=Shows.CLOUD), "No cloud models"),
    ],
)
def test_an_empty_place_teaches(state: PanelState, lesson: str) -> None:
    assert lesson in ps.empty_words(state)


def test_a_chosen_model_is_no_empty_place() -> None:
    assert ps.empty_words(chosen(model())) == ""


def test_what_is_loaded_shows_with_the_memory_it_takes() -> None:
    loaded = [model(name, loaded=True, ram={"value": 1_000_000_000}) for name in ("a", "b")]

    assert ps.memory_words(known(*loaded)) == "In memory: a (1.0 GB), b (1.0 GB) · 2.0 GB in all"
    assert ps.memory_words(known(model())) == "In memory: no model"


def test_a_running_load_says_for_how_long() -> None:
    state = ps.began(known(model(downloaded=True)), Call(Action.LOAD, "id-Phi-2", "Phi-2", 100.0))

    assert ps.calls_words(state, now=100.4) == ["Loading Phi-2 …"]
    assert ps.calls_words(state, now=172.9) == ["Loading Phi-2 …, for 1 min 12 s"]


def test_an_outage_keeps_what_was_known_and_since_when_and_its_end_is_said() -> None:
    state = ps.unanswered(known(model()), "refused", at="14:02")
    state = ps.unanswered(state, "refused", at="14:03")

    assert (state.trouble_at, len(state.models)) == ("14:02", 1)
    back = ps.read(state, state.models, server="Pieces OS", at="14:05")
    assert back.connected
    assert back.messages[0].words == "Pieces OS answers again."


def test_the_newest_messages_stay_and_the_newest_is_first() -> None:
    state = known()
    for number in range(9):
        state = ps.said(state, f"message {number}")

    assert [message.words for message in state.messages] == [f"message {number}" for number in (8, 7, 6, 5)]


def test_the_summary_says_server_counts_and_memory_and_nothing_that_changes_by_itself() -> None:
    state = known(model(), model("c", cloud=True), free_memory_bytes=123)

    assert ps.summary(state) == [
        "Control panel of pieces_nb · Pieces OS 12.3.0 at http://127.0.0.1:39300",
        "2 models: 1 cloud, 1 available",
        "In memory: no model",
    ]


# HTML ----------------------------------------------------------------------------------------------------------------


def test_names_from_a_server_are_text_everywhere() -> None:
    evil = model(HOSTILE, custom=True, loaded=True, description=HOSTILE, evil={HOSTILE: HOSTILE})
    state = ps.unanswered(ps.said(chosen(evil, server=HOSTILE), HOSTILE, is_error=True), HOSTILE)
    state = ps.began(state, Call(Action.LOAD, evil.id, ps.title(evil), 0.0))
    reading = form.read({"name": ""}, {"name": HOSTILE})

    for shown in (
        html.connection(state),
        html.connection(chosen(evil, server=HOSTILE)),
        html.snapshot(state),
        html.memory(state),
        html.messages(state),
        html.calls(state, now=9.0),
        html.question(HOSTILE),
        html.changes(reading),
        html.summary(ps.summary(state)),
    ):
        assert "<script" not in shown
        assert "\u202e" not in shown
        assert "mathjax_ignore" in shown


def test_a_name_of_three_hundred_characters_is_cut_in_the_chooser_and_whole_in_the_snapshot() -> None:
    long = model("n" * 300)

    assert len(ps.options(known(long))[0][0]) < 100
    assert "n" * 300 in html.snapshot(chosen(long))


# The form ------------------------------------------------------------------------------------------------------------


def test_fields_left_alone_are_not_written() -> None:
    before = form.texts(model(custom=True, parameters=1.24, maxTokens={"total": 8192}))

    assert form.read(before, before) == form.Reading({}, (), ())


def test_a_changed_box_is_a_typed_change_with_its_old_value() -> None:
    before = form.texts(model(custom=True, description="old", maxTokens={"total": 8192}))
    reading = form.read(before, {**before, "description": "null", "maxTokens.total": "4096", "provider": "meta"})

    assert reading.values == {"description": "null", "provider": "META", "maxTokens.total": 4096}
    assert form.Change("maxTokens.total", "8192", "4096") in reading.changes


def test_an_emptied_box_clears_an_optional_field_and_not_another() -> None:
    before = form.texts(model(custom=True, description="old"))
    reading = form.read(before, {**before, "description": "", "name": " "})

    assert reading.values == {"description": None}
    assert len(reading.errors) == 1


def test_what_does_not_fit_its_field_is_said_in_words() -> None:
    before = form.texts(model(custom=True))
    reading = form.read(before, {**before, "parameters": "many", "cpu": "perhaps"})

    assert reading.values == {}
    assert "parameters takes a number from 0 up" in reading.errors[0]


# How often it asks ---------------------------------------------------------------------------------------------------


def test_it_asks_often_while_in_use_or_while_something_goes_on_and_seldom_otherwise() -> None:
    quiet, lively = known(model()), known(model(downloading=True))

    assert follower.poll_interval_s(quiet, quiet_s=0.0, hidden=False) <= 5
    assert follower.poll_interval_s(lively, quiet_s=9999.0, hidden=False) <= 5
    assert 15 <= follower.poll_interval_s(quiet, quiet_s=9999.0, hidden=False) <= 30
    assert 15 <= follower.poll_interval_s(lively, quiet_s=0.0, hidden=True) <= 30
