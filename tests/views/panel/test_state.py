"""The panel's state and rules, without widgets, threads or a server."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from pieces_nb.history import Entry, History
from pieces_nb.machine import Machine
from pieces_nb.model.models import Model
from pieces_nb.views.panel import doing, form, html, style
from pieces_nb.views.panel import panel as follower
from pieces_nb.views.panel import state as ps
from pieces_nb.views.panel.state import Action, Call, PanelState, Progress, Server

HOSTILE = '<script>alert("x")</script></style> & $x^2$ \u202e 🚀 "quoted" \'single\''
SERVER = Server("Pieces OS", "12.3.0", "http://127.0.0.1:39300")


def model(name: str = "Phi-2", **raw: Any) -> Model:
    return Model({"id": f"id-{name}", "name": name, "bytes": {"value": 26_000_000}, **raw})


def known(*models: Model, **changes: Any) -> PanelState:
    return replace(ps.read(PanelState(), models, server=SERVER, at="14:02:31"), **changes)


def many(count: int) -> PanelState:
    return known(*(model(f"m{number:04}") for number in range(count)))


def calling(state: PanelState, action: Action, of: Model) -> PanelState:
    return ps.began(state, Call(action, of.id, ps.title(of), 0.0, "14:03:00"))


def names(state: PanelState) -> list[str]:
    return [model.name for model in ps.shown(state)]


# What can be done ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("flags", "main", "others"),
    [
        ({}, Action.DOWNLOAD, set()),
        ({"downloading": True}, Action.CANCEL, set()),
        ({"downloaded": True}, Action.LOAD, {Action.DELETE_CACHE}),
        ({"downloaded": True, "loaded": True}, Action.UNLOAD, {Action.DELETE_CACHE}),
        ({"cloud": True}, None, set()),
        ({"custom": True}, Action.DOWNLOAD, {Action.UPDATE, Action.DELETE}),
    ],
)
def test_the_main_button_is_the_thing_to_do_next_and_the_cards_do_the_rest(
    flags: dict[str, Any], main: Action | None, others: set[Action]
) -> None:
    phi = model(**flags)
    state = known(phi)

    assert ps.main_action(state, phi) is main
    assert {action for action in Action if not ps.why_not(state, action, phi.id)} == others | (
        {main} if main else set()
    )


def test_a_call_under_way_stops_everything_else_on_that_model_but_not_on_another() -> None:
    phi, llama = model("Phi-2", downloaded=True), model("Llama")
    state = calling(known(phi, llama), Action.LOAD, phi)

    assert ps.why_not(state, Action.LOAD, phi.id) == "a call for it is under way"
    assert ps.why_not(state, Action.DOWNLOAD, llama.id) == ""


def test_without_a_connection_nothing_can_be_done() -> None:
    phi = model()

    assert ps.why_not(ps.unanswered(known(phi), "refused"), Action.DOWNLOAD, phi.id) == "there is no connection"


def test_a_followed_download_can_be_canceled_though_the_servers_flag_lags() -> None:
    phi = model()
    state = ps.progressing(known(phi), {phi.id: Progress(None, "starting")})

    assert ps.main_action(state, phi) is Action.CANCEL


def test_deleting_asks_first_names_the_model_and_says_that_a_loaded_one_leaves_memory() -> None:
    phi = model(downloaded=True, custom=True)
    loaded = model(downloaded=True, custom=True, loaded=True)
    asked = [
        ps.question_for(known(one), action, one)
        for action in (Action.DELETE, Action.DELETE_CACHE)
        for one in (phi, loaded)
    ]

    assert [question.words for question in asked if question] == [
        "Delete the custom model Phi-2 for good?",
        "Delete the custom model Phi-2 for good? It is loaded and leaves memory.",
        "Delete the downloaded files of Phi-2 (26.0 MB)?",
        "Delete the downloaded files of Phi-2 (26.0 MB)? It is loaded and leaves memory.",
    ]


def test_loading_more_than_fits_asks_first() -> None:
    large = model(downloaded=True, ram={"value": 8_000_000_000})

    def asked(free: int | None) -> ps.Question | None:
        return ps.question_for(known(large, machine=Machine(free_memory_bytes=free)), Action.LOAD, large)

    question = asked(5_000_000_000)
    assert question is not None
    assert question.words == "Phi-2 needs 8.0 GB, 3.0 GB more than is free. Load it all the same?"
    assert asked(9_000_000_000) is None
    assert asked(None) is None


def test_a_question_goes_when_the_answer_could_not_be_carried_out_any_more() -> None:
    phi = model(downloaded=True)
    state = replace(known(phi), question=ps.question_for(known(phi), Action.DELETE_CACHE, phi))

    assert ps.replaced(state, model(downloaded=False)).question is None
    assert ps.unanswered(state, "refused").question is None


# Which models show ---------------------------------------------------------------------------------------------------


def test_models_stand_by_name_whatever_their_state_and_the_clouds_are_a_toggle_away() -> None:
    state = known(model("b", loaded=True), model("C"), model("a", cloud=True))

    assert names(state) == ["b", "C"]
    assert names(ps.toggled(state, "local")) == ["b", "C", "a"]
    assert names(ps.toggled(state, "cloud")) == ["a"]


def test_ten_models_stand_on_a_page_and_pages_are_turned_within_their_number() -> None:
    state = many(25)

    assert (len(ps.shown(state)), ps.pages(state)) == (10, 3)
    assert names(ps.turned(state, 9)) == [f"m{number:04}" for number in range(20, 25)]
    assert ps.turned(state, -1) is state
    assert ps.count_words(ps.turned(state, 1)) == "11–20 of 25 local models"


def test_a_filter_begins_on_its_first_page() -> None:
    state = ps.filtered(ps.turned(many(1000), 50), "m099")

    assert (state.page, len(ps.shown(state))) == (0, 10)


def test_each_toggle_counts_its_models_whatever_is_filtered() -> None:
    state = known(model("a", downloaded=True, loaded=True), model("b", custom=True), model("c", cloud=True))

    assert ps.filtered(state, "zzz").counts == {
        "local": 2,
        "cloud": 1,
        "downloaded": 1,
        "downloading": 0,
        "loaded": 1,
        "custom": 1,
        "fits": 0,
    }


def test_what_was_clicked_stays_where_it_is_though_it_leaves_the_filter() -> None:
    loaded = [model(name, downloaded=True, loaded=True) for name in "abc"]
    state = ps.toggled(known(*loaded), "loaded")
    state = ps.replaced(calling(state, Action.UNLOAD, loaded[1]), model("b", downloaded=True))

    assert names(state) == ["a", "b", "c"]
    assert names(ps.filtered(state, "")) == ["a", "c"]


def test_a_deleted_model_leaves_its_row_until_the_list_is_narrowed() -> None:
    gone = model("b", custom=True)
    state = ps.removed(known(model("a"), gone), gone.id)
    state = ps.read(state, [model("a")], server=SERVER)

    assert names(state) == ["a", "b"]
    assert ps.standing(state, gone).word == "deleted"
    assert ps.main_action(state, gone) is None
    assert state.counts["local"] == 1
    assert names(ps.filtered(state, "")) == ["a"]


def test_a_deleted_model_is_not_counted_though_its_row_stays() -> None:
    gone = model("m0003", custom=True, loaded=True)
    ten_more = [model(f"m{number:04}") for number in range(11)]
    state = ps.removed(known(gone, *(one for one in ten_more if one.id != gone.id)), gone.id)

    assert ps.count_words(state) == "10 local models"
    assert ps.summary(state)[1:] == ["10 models: 10 available", "In memory: no model"]


def test_a_page_with_a_deleted_model_counts_the_others() -> None:
    state = many(25)
    state = ps.removed(state, state.models[3].id)

    assert ps.count_words(state) == "1–9 of 24 local models"
    assert ps.count_words(replace(state, page=1)) == "10–19 of 24 local models"
    assert ps.count_words(replace(state, page=2)) == "20–24 of 24 local models"
    assert ps.count_words(replace(state, page=2, gone=frozenset(one.id for one in state.models[20:]))) == (
        "20 local models"
    )


def test_the_only_model_deleted_leaves_a_server_without_models() -> None:
    gone = model("m", custom=True)
    state = ps.removed(known(gone, flags=frozenset()), gone.id)

    assert "The server has no models at all" in ps.count_words(state)
    assert ps.summary(state)[1] == "no models"


def test_a_list_that_comes_before_the_deletes_own_answer_leaves_the_row() -> None:
    gone = model("b", custom=True)
    state = calling(known(model("a"), gone), Action.DELETE, gone)
    call = state.calls[0]
    state = ps.read(state, [model("a")], server=SERVER)
    assert names(state) == ["a", "b"]

    state = ps.removed(ps.ended(state, call), gone.id)
    assert ps.standing(state, gone).word == "deleted"


def test_the_card_of_a_model_that_others_deleted_is_closed() -> None:
    phi = model(custom=True)
    state = ps.read(replace(known(phi), card_id=phi.id, editing=True), [model("b")], server=SERVER)

    assert (state.card_id, state.editing) == ("", False)


def test_a_model_asked_for_is_sought_on_its_page() -> None:
    state = many(25)
    wanted = state.models[17]

    assert wanted in ps.shown(ps.sought(state, wanted))


# Words ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("state", "lesson"),
    [
        (PanelState(), "Asking the server"),
        (ps.unanswered(PanelState(), "Nothing answers."), "Start Pieces OS"),
        (known(), "The server has no models at all"),
        (known(model("c", cloud=True)), "No local models"),
        (ps.filtered(known(model()), "zzz"), "No model has “zzz” in its name among the local ones"),
        (ps.toggled(known(model()), "loaded"), "No model is in memory"),
        (ps.toggled(known(model()), "downloaded"), "Nothing is downloaded yet"),
        (ps.toggled(known(model()), "downloading"), "Nothing is downloading"),
        (ps.toggled(known(model()), "custom"), "No custom models"),
        (ps.toggled(known(model()), "cloud"), "No models in the cloud"),
    ],
)
def test_an_empty_place_teaches(state: PanelState, lesson: str) -> None:
    assert lesson in ps.count_words(state)


@pytest.mark.parametrize(
    ("flags", "models", "told"),
    [
        ("custom downloaded", [model("a", downloaded=True), model("b", custom=True)], "downloaded and custom"),
        ("custom loaded", [model("a", downloaded=True, loaded=True), model("b", custom=True)], "loaded and custom"),
        ("local custom", [model("a"), model("b", cloud=True, custom=True)], "local and custom"),
        (
            "local custom fits",
            [model("a", custom=True), model("b", ram={"value": 1})],
            "local, custom and known to fit into memory",
        ),
    ],
)
def test_toggles_that_only_together_leave_no_model_are_told_together(
    flags: str, models: list[Model], told: str
) -> None:
    state = known(*models, flags=frozenset(flags.split()), machine=Machine(16_000_000_000))

    assert ps.count_words(state) == f"No model is {told}. Switch one of these off."


def test_of_several_toggles_the_one_that_alone_leaves_no_model_is_told() -> None:
    state = known(model("a", custom=True), flags=frozenset({"local", "custom", "loaded"}))

    assert ps.count_words(state).startswith("No model is in memory.")


def test_a_running_load_says_since_when_whoever_began_it() -> None:
    phi = model(downloaded=True)
    history = History()
    operation = history.begin("load", "Phi-2", model_id=phi.id)

    assert ps.standing(calling(known(phi), Action.LOAD, phi), phi) == ("loading …", "moving", "14:03:00")
    assert ps.standing(ps.operating(known(phi), [operation]), phi, clock="14:04") == ("loading …", "moving", "14:04")


def test_one_that_waits_for_its_turn_says_so_and_is_not_in_trouble() -> None:
    phi = model()
    state = ps.progressing(known(phi), {phi.id: Progress(None, "waiting for its turn", waits=True)})
    assert ps.standing(state, phi) == ("waiting", "available", "")


def test_a_stalled_download_says_so_and_is_coloured() -> None:
    phi = model(downloading=True)
    state = ps.progressing(known(phi), {phi.id: Progress(12.0, "12 % · stalled since 14:02", "stalled")})

    assert ps.standing(state, phi) == ("stalled", "trouble", "")


def test_an_outage_keeps_what_was_known_and_its_end_says_from_when_to_when_and_what_it_cost() -> None:
    phi = model(downloading=True)
    state = ps.unanswered(known(phi), "refused", at="14:02:00")
    state = ps.unanswered(state, "refused", at="14:03:00")
    back = ps.read(state, [model()], server=SERVER, at="14:05:00")

    assert (state.trouble_at, len(state.models)) == ("14:02:00", 1)
    assert back.connected
    assert back.messages[0].words == (
        "The server went away at 14:02:00 and was back at 14:05:00; the download of Phi-2 did not survive it."
    )


def test_the_newest_messages_stay_and_the_newest_is_first() -> None:
    state = known()
    for number in range(20):
        state = ps.said(state, f"message {number}")

    assert [message.words for message in state.messages] == [f"message {number}" for number in range(19, 11, -1)]


def test_memory_and_disk_are_shared_by_models_others_and_what_is_free() -> None:
    machine = Machine(16_000_000_000, 6_000_000_000, 200_000_000_000, 50_000_000_000)
    loaded = model(downloaded=True, loaded=True, ram={"value": 3_000_000_000})
    memory, disk = ps.shares(known(loaded, model("b"), machine=machine))

    assert (memory.models_bytes, memory.other_bytes, memory.models) == (3_000_000_000, 7_000_000_000, 1)
    assert (disk.models_bytes, disk.models) == (26_000_000, 1)


def test_of_a_server_on_another_machine_no_memory_is_told() -> None:
    assert ps.shares(known(model())) == []


def test_the_summary_says_server_counts_and_memory_and_with_all_of_it_the_pages_models() -> None:
    state = known(model(), model("c", cloud=True))

    assert ps.summary(state) == [
        "Models of Pieces OS 12.3.0",
        "2 models: 1 cloud, 1 available",
        "In memory: no model",
    ]
    assert ps.summary(state, whole=True)[3:] == ["Phi-2: available, 26.0 MB"]


@pytest.mark.parametrize(
    ("seconds", "words"), [(0.0312, "31 ms"), (0.0, "1 ms"), (6.04, "6.0 s"), (72.0, "1 min 12 s")]
)
def test_a_load_is_never_said_to_have_taken_no_time(seconds: float, words: str) -> None:
    assert doing.took_words(seconds) == words


def test_what_a_cell_has_done_is_said_and_what_it_failed_in() -> None:
    history = History()
    operation = history.begin("load", "Phi-2", model_id="x")
    done = Entry(operation.started, "load", "Phi-2", "done", 6.0)

    assert doing.outcome_words(operation, done) == "Phi-2: loaded in 6.0 s, by a cell"
    assert doing.outcome_words(operation, done._replace(error="No room.")) == "Phi-2: load in a cell failed. No room."
    assert doing.outcome_words(operation._replace(verb="download"), done) == ""


# HTML ----------------------------------------------------------------------------------------------------------------


def test_names_from_a_server_are_text_everywhere() -> None:
    evil = model(HOSTILE, custom=True, loaded=True, description=HOSTILE, evil={HOSTILE: HOSTILE}, quantization=HOSTILE)
    server = Server(HOSTILE, HOSTILE, HOSTILE)
    state = ps.unanswered(ps.said(known(evil, server=server), HOSTILE, is_error=True), HOSTILE)
    going = ps.progressing(known(evil), {evil.id: Progress(1.0, HOSTILE, HOSTILE)})
    before = form.texts(evil)
    reading = form.read(before, {**before, "description": f"{HOSTILE}!", "parameters": HOSTILE})

    for shown in (
        html.connection(state),
        html.connection(known(evil, server=server)),
        html.ink(state, "scope"),
        html.row(calling(known(evil), Action.LOAD, evil), evil),
        html.row(going, evil),
        html.card(evil),
        html.foot(ps.filtered(known(evil), f"{HOSTILE} zzz")),
        html.log(state),
        html.question(HOSTILE),
        html.reading(reading, "scope"),
    ):
        assert "<script" not in shown
        assert shown.count("</style>") <= 1
        assert "\u202e" not in shown
        assert "mathjax_ignore" in shown


def test_a_text_in_the_style_sheet_can_end_neither_the_string_nor_the_element() -> None:
    quoted = style.quoted('a"b\\c</style>\nd é')

    assert not set(quoted[1:-1]) & set('"<>\n')
    assert quoted == '"a\\22 b\\5c c\\3c \\2f style\\3e \\a d é"'


def test_a_name_of_three_hundred_characters_is_whole_in_its_row_and_its_title() -> None:
    long = model("n" * 300)

    assert html.row(known(long), long).count("n" * 300) == 2


def test_a_card_says_what_matters_first_and_folds_the_raw_fields() -> None:
    shown = html.card(
        model(
            parameters=1.3, quantization="q4", maxTokens={"total": 8192}, capabilities={"images": True, "videos": False}
        )
    )

    assert "1.3 billion" in shown
    assert "8,192 tokens" in shown
    assert "images</span>" in shown
    assert "videos</span>" not in shown
    assert "<details><summary>all 8 fields</summary>" in shown


def test_a_text_in_place_of_a_flag_is_text_in_the_style_sheet() -> None:
    evil = model(loaded=HOSTILE)

    assert html.ink(known(evil, card_id=evil.id), "scope").count("</style>") == 1


def test_what_a_button_says_is_drawn_from_its_row() -> None:
    phi = model(downloaded=True)

    assert "pnb-v-load" in html.row(known(phi), phi)
    assert "pnb-v-busy" in html.row(calling(known(phi), Action.LOAD, phi), phi)
    assert set(style.VERBS) == {"busy", *(Action.DOWNLOAD, Action.CANCEL, Action.LOAD, Action.UNLOAD)}


# The form ------------------------------------------------------------------------------------------------------------


def test_fields_left_alone_are_not_written() -> None:
    before = form.texts(model(custom=True, parameters=1.24, maxTokens={"total": 8192}))

    assert form.read(before, before) == form.Reading({}, (), {})


def test_a_changed_box_is_a_typed_change_with_its_old_value() -> None:
    before = form.texts(model(custom=True, description="old", maxTokens={"total": 8192}))
    reading = form.read(before, {**before, "description": "null", "maxTokens.total": "4096", "provider": "meta"})

    assert reading.values == {"description": "null", "provider": "META", "maxTokens.total": 4096}
    assert form.Change("maxTokens.total", "8192", "4096") in reading.changes


def test_blanks_around_a_value_are_no_part_of_it() -> None:
    before = form.texts(model(custom=True))
    reading = form.read(before, {**before, "name": "  Phi-2  ", "unique": " phi:2 ", "provider": " meta "})

    assert reading.values == {"unique": "phi:2", "provider": "META"}


def test_an_emptied_box_clears_an_optional_field_and_not_another() -> None:
    before = form.texts(model(custom=True, description="old"))
    reading = form.read(before, {**before, "description": "", "name": " "})

    assert reading.values == {"description": None}
    assert set(reading.errors) == {"name"}


def test_what_does_not_fit_its_field_is_said_beside_it_in_words() -> None:
    before = form.texts(model(custom=True))
    reading = form.read(before, {**before, "parameters": "many"})
    shown = html.reading(reading, "scope")

    assert reading.values == {}
    assert "parameters takes a number from 0 up" in reading.errors["parameters"]
    assert ".scope .pnb-field-parameters::after { content: " in shown
    assert "Fix the marked fields first" in shown


def test_fields_with_choices_offer_them_and_the_value_that_they_have() -> None:
    assert form.choices("cpu", "") == ("", "true", "false")
    assert form.choices("cloud", "false") == ("true", "false")
    assert form.choices("type", "NEWEST") == ("UNKNOWN", "BALANCED", "SPEED", "ACCURACY", "NEWEST")
    assert "CODE_CONVERSATION" in form.choices("usage", "OCR")
    assert form.choices("name", "x") == ()


# How often it asks ---------------------------------------------------------------------------------------------------


def test_it_asks_often_while_in_use_or_while_something_goes_on_and_seldom_otherwise() -> None:
    quiet, lively = known(model()), known(model(downloading=True))

    assert follower.poll_interval_s(quiet, quiet_s=0.0, hidden=False) <= 5
    assert follower.poll_interval_s(lively, quiet_s=9999.0, hidden=False) <= 5
    assert 15 <= follower.poll_interval_s(quiet, quiet_s=9999.0, hidden=False) <= 30
    assert 15 <= follower.poll_interval_s(lively, quiet_s=0.0, hidden=True) <= 30
