"""The panel's tree of widgets against the emulator, in this process and without a kernel."""

from __future__ import annotations

import gc
import re
import threading
import time
from collections.abc import Iterator
from html import unescape
from typing import Any, NoReturn

import pytest
from ipywidgets.widgets import widget as ipywidgets_widget

from pieces_nb.client import ModelClient
from pieces_nb.download.state import Timing
from pieces_nb.emulator import Emulator
from pieces_nb.emulator.settings import Faults
from pieces_nb.errors import AmbiguousModel, ModelNotFound
from pieces_nb.history import HISTORY
from pieces_nb.model.rules import FLAGS
from pieces_nb.views.panel import Panel, events
from pieces_nb.views.panel import panel as panel_module
from pieces_nb.views.panel.state import Action
from tests.waiting import DEADLINE_S, until

WIDGET = "application/vnd.jupyter.widget-view+json"
MOST_WIDGETS = 100


def registered() -> set[str]:
    return set(ipywidgets_widget._instances)


def threads() -> set[str]:
    return {thread.name for thread in threading.enumerate() if thread.name.startswith("pieces-nb")}


def as_text(html: str) -> str:
    return " ".join(unescape(re.sub("<style>.*?</style>|<[^>]*>", " ", html, flags=re.DOTALL)).split())


class Opened:
    """A panel as somebody in front of it has it: words to read, controls to use."""

    def __init__(self, panel: Panel) -> None:
        self.panel = panel
        self.answered = 0.0  # when the last list that was taken in was asked for
        take_in = panel._take_in_list

        def noting(event: events.Listed) -> None:
            take_in(event)
            self.answered = event.asked_at

        setattr(panel, "_take_in_list", noting)  # noqa: B010 - mypy allows no other way
        self.root = panel.widget

    def all(self) -> list[Any]:
        def walk(widget: Any) -> Iterator[Any]:
            yield widget
            for child in getattr(widget, "children", ()):
                yield from walk(child)

        return list(walk(self.root))

    def words(self) -> str:
        """Everything that HTML widgets say, as text."""
        return " ".join(as_text(widget.value) for widget in self.all() if type(widget).__name__ == "HTML")

    def says(self, words: str) -> None:
        until(
            lambda: words in self.words(),
            lambda: f"it never says {words!r}, but: {self.words()}, after {self.panel.state.messages}",
        )

    def html(self, part: str) -> list[Any]:
        """Return the HTML widgets that hold that."""
        return [w for w in self.all() if type(w).__name__ == "HTML" and part in w.value]

    def buttons(self, words: str) -> list[Any]:
        """Return the buttons that begin so; a row's own ones begin with a new line: their verb is drawn."""
        return [w for w in self.all() if type(w).__name__ == "Button" and w.description.startswith(words)]

    def click(self, words: str) -> None:
        until(lambda: self.buttons(words), f"there is no button {words!r}")
        self.buttons(words)[0].click()

    def row(self, name: str) -> Any:
        """Return the row of the model whose name begins so: a box of HTML, the main button and ⋯."""
        found = [
            w for w in self.all() if "pnb-row" in w._dom_classes and w.children[1].description[1:].startswith(name)
        ]
        assert found, f"no row of {name}"
        return found[0]

    def verb(self, name: str) -> str:
        found = re.search(r"pnb-v-(\w+)", self.row(name).children[0].value)
        return found[1] if found else ""

    def main(self, name: str, verb: str) -> None:
        """Click a row's main button as soon as it says so."""
        until(lambda: self.verb(name) == verb, lambda: f"the button of {name} says {self.verb(name)}, not {verb}")
        model_id = self.row_id(name)
        until(lambda: self.panel._verbs.get(model_id) == verb, f"{name} is never shown so")
        self.row(name).children[1].click()

    def row_id(self, name: str) -> str:
        return next(model.id for model in self.panel.state.models if model.name.startswith(name))

    def more(self, name: str) -> None:
        self.row(name).children[2].click()

    def row_says(self, name: str, words: str) -> None:
        until(lambda: words in as_text(self.row(name).children[0].value), f"the row of {name} never says {words!r}")

    def field(self, name: str) -> Any:
        return next(w for w in self.all() if getattr(w, "description", None) == name)

    def open_form(self, name: str) -> None:
        self.more(name)
        self.click("Update…")
        until(lambda: self.buttons("Apply"), "the form is not open")


@pytest.fixture
def emulator() -> Iterator[Emulator]:
    with Emulator(rate_bytes_per_s=None) as emulator:
        yield emulator


@pytest.fixture
def client(emulator: Emulator) -> Iterator[ModelClient]:
    with ModelClient(emulator.url) as client:
        yield client


@pytest.fixture
def opened(client: ModelClient) -> Opened:
    return Opened(client.panel())


class Sent:
    """The messages that widgets send to front ends."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.messages: list[Any] = []
        monkeypatch.setattr(ipywidgets_widget.Widget, "_send", lambda _self, msg, **_: self.messages.append(msg))


def ask_again(opened: Opened) -> None:
    """Have it ask the server, and wait until an answer that was asked for after this is shown."""
    now = time.monotonic()
    opened.click("Refresh")
    until(lambda: opened.answered >= now and opened.panel._shown is opened.panel.state, "no answer is ever shown")


# Doing ---------------------------------------------------------------------------------------------------------------


def test_one_button_downloads_loads_and_unloads_and_the_card_deletes_the_files(
    opened: Opened, client: ModelClient
) -> None:
    opened.main("Phi-2", "download")
    opened.says("Phi-2 (emulated): done")
    opened.main("Phi-2", "load")
    opened.says("Phi-2 (emulated): loaded in")
    opened.row_says("Phi-2", "holds 26.0 MB")
    opened.main("Phi-2", "unload")
    opened.says("Phi-2 (emulated): unloaded")
    opened.more("Phi-2")
    opened.click("Delete files…")
    opened.says("Delete the downloaded files of Phi-2 (emulated) (26.0 MB)?")
    opened.click("Delete the files")
    opened.says("Phi-2 (emulated): the downloaded files are deleted")

    assert client.get("phi-2").state == "available"


def test_a_running_download_is_in_its_row_and_needs_no_further_widget(opened: Opened, emulator: Emulator) -> None:
    emulator.rate_bytes_per_s = 2e6
    before = len(opened.all())
    for name in ("Phi-2", "Mistral 7B"):
        opened.main(name, "download")
    opened.row_says("Phi-2", "of 26.0 MB")
    opened.row_says("Mistral 7B", "of 66.2 MB")
    while_running = len(opened.all())
    emulator.rate_bytes_per_s = None
    opened.says("Mistral 7B (emulated): done")

    assert while_running == before
    assert "<progress" not in opened.row("Mistral 7B").children[0].value


def test_the_fold_of_a_card_stays_open_while_its_model_is_downloaded_and_tells_the_flags_as_they_are(
    opened: Opened,
) -> None:
    opened.more("Phi-2")
    until(lambda: opened.html("<details>"), "there is no fold")
    rewritten: list[Any] = []
    opened.html("<details>")[0].observe(rewritten.append, "value")
    assert opened.html('.pnb-now-downloaded::after { content: "false"; }')

    opened.main("Phi-2", "download")
    opened.says("Phi-2 (emulated): done")
    until(lambda: opened.html('.pnb-now-downloaded::after { content: "true"; }'), "the flag is never told")

    assert not rewritten


def test_words_are_peoples_words(opened: Opened, emulator: Emulator) -> None:
    emulator.rate_bytes_per_s = 2e6
    opened.main("Phi-2", "download")
    opened.row_says("Phi-2", "%")
    opened.row_says("Phi-2", "downloading")
    opened.main("Phi-2", "cancel")
    opened.says("Phi-2 (emulated): canceled")

    assert not re.search("IN-PROGRESS|CANCELED|COMPLETED|INITIALIZED", opened.words())


def test_a_click_shows_in_its_row_at_once(opened: Opened, emulator: Emulator, monkeypatch: pytest.MonkeyPatch) -> None:
    answered = threading.Event()
    download = ModelClient.download

    def slow(client: ModelClient, model: Any) -> Any:
        answered.wait(DEADLINE_S)
        return download(client, model)

    monkeypatch.setattr(ModelClient, "download", slow)
    emulator.rate_bytes_per_s = 1e6
    opened.main("Phi-2", "download")
    opened.row_says("Phi-2", "starting … since")
    assert opened.verb("Phi-2") == "busy"
    answered.set()
    opened.row_says("Phi-2", "downloading")


def test_a_cancel_that_fails_says_why_and_can_be_clicked_again(emulator: Emulator) -> None:
    emulator.rate_bytes_per_s = 1e6
    with ModelClient(emulator.url, timing=Timing(cancel_within_s=1.0)) as client:
        opened = Opened(client.panel())
        opened.main("Phi-2", "download")
        opened.row_says("Phi-2", "%")
        emulator.faults = Faults(cancel_ignored=True)
        opened.main("Phi-2", "cancel")
        opened.says("Phi-2 (emulated): cancel failed.")
        emulator.faults = Faults()

        def canceled() -> bool:
            # The download sends another cancel once the first one's time is over, a moment after that has failed here.
            if opened.verb("Phi-2") == "cancel":
                opened.row("Phi-2").children[1].click()
            return "Phi-2 (emulated): canceled" in opened.words()

        until(canceled, "no further click cancels it")


def test_a_double_click_does_a_thing_once(opened: Opened, client: ModelClient) -> None:
    opened.main("Phi-2", "download")
    opened.row("Phi-2").children[1].click()
    opened.says("Phi-2 (emulated): done")

    assert [entry.verb for entry in client.history.entries() if entry.model.startswith("Phi-2")][-1:] == ["download"]
    assert not client.get("phi-2").loaded


def test_a_click_on_what_the_button_no_longer_says_does_nothing(opened: Opened, client: ModelClient) -> None:
    client.download("phi-2").wait(DEADLINE_S)
    ask_again(opened)
    opened.panel._verbs[opened.row_id("Phi-2")] = Action.CANCEL  # as it was shown until just now
    opened.panel._click_main(opened.row_id("Phi-2"))

    assert not opened.panel.state.calls
    assert not client.get("phi-2").loaded


def test_an_error_shows_in_the_servers_words(opened: Opened, emulator: Emulator) -> None:
    emulator.faults = Faults(download_error="No <b>room</b> & $left$")
    opened.main("Phi-2", "download")
    opened.says("No <b>room</b> & $left$")

    assert not any("<b>room" in str(getattr(widget, "value", "")) for widget in opened.all())


def breaks(*_arguments: object, **_options: object) -> NoReturn:
    raise RuntimeError("of its own")


def test_what_breaks_in_us_is_said_and_the_panel_lives_on(opened: Opened, client: ModelClient) -> None:
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(client, "models", breaks)
        ask_again(opened)
        opened.says("pieces_nb itself failed: RuntimeError('of its own')")
    ask_again(opened)
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(client, "download", breaks)
        opened.main("Phi-2", "download")
        opened.says("download failed, pieces_nb itself did: RuntimeError('of its own')")
    opened.main("Phi-2", "download")
    opened.main("Phi-2", "load")


def test_a_running_load_says_since_when_and_other_models_can_be_used_meanwhile(
    opened: Opened, emulator: Emulator, client: ModelClient
) -> None:
    client.download("phi-2").wait(DEADLINE_S)
    emulator.faults = Faults(load_seconds=2.0)
    opened.main("Phi-2", "load")
    opened.row_says("Phi-2", "loading … since")
    opened.main("Mistral 7B", "download")
    opened.says("Mistral 7B (emulated): done")
    opened.says("Phi-2 (emulated): loaded in 2")


def test_loading_what_another_has_loaded_meanwhile_is_not_said_to_have_taken_no_time(
    opened: Opened, client: ModelClient, emulator: Emulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    client.download("phi-2").wait(DEADLINE_S)
    ask_again(opened)
    monkeypatch.setattr(panel_module, "POLL_S", 60.0)
    monkeypatch.setattr(panel_module, "POLL_SHOWN_S", 60.0)
    with ModelClient(emulator.url) as other:
        stop = opened.panel._stop_watching
        stop()  # as if another program did
        other.load("phi-2")
    opened.main("Phi-2", "load")
    opened.says("Phi-2 (emulated): was loaded already")


def test_loading_more_than_is_free_asks_first(opened: Opened, client: ModelClient, monkeypatch: Any) -> None:
    client.download("phi-2").wait(DEADLINE_S)
    from pieces_nb.machine import Machine
    from pieces_nb.views.panel import asking

    monkeypatch.setattr(asking, "machine_of", lambda _url: Machine(16_000_000, 10_000_000, 10**9, 10**8))
    ask_again(opened)
    opened.says("10.0 MB free of 16.0 MB")
    opened.main("Phi-2", "load")
    opened.says("needs 26.0 MB, 16.0 MB more than is free. Load it all the same?")
    opened.click("Load anyway")
    opened.says("Phi-2 (emulated): loaded in")


def test_a_custom_model_is_updated_in_a_form_that_shows_old_and_new(opened: Opened, client: ModelClient) -> None:
    opened.open_form("My Fine-Tune")
    opened.says("Nothing is changed yet.")
    opened.field("maxTokens.total").value = "many"
    opened.says("Fix the marked fields first.")
    opened.click("Apply")
    opened.field("maxTokens.total").value = " 4096 "
    opened.field("capabilities.images").value = "true"
    opened.says("8192 → 4096")
    opened.click("Apply")
    opened.says("My Fine-Tune (emulated): updated, read back: maxTokens.total 8192 → 4096")
    until(lambda: not opened.buttons("Apply"), "the form stays open")
    after = client.get("my fine-tune (emulated)").raw

    assert after["maxTokens"]["total"] == 4096
    assert after["capabilities"]["images"] is True


def test_unsaved_changes_outlive_polls_filters_pages_and_other_cards(opened: Opened) -> None:
    opened.open_form("My Fine-Tune")
    opened.field("description").value = "mine"
    opened.row_says("My Fine-Tune", "unsaved changes")
    ask_again(opened)
    opened.field("Filter").value = "llama"
    until(lambda: not opened.buttons("Apply"), "the form is in sight though its model is not")
    opened.field("Filter").value = ""
    until(lambda: opened.buttons("Apply"), "the form is gone")
    assert opened.field("description").value == "mine"

    opened.more("Phi-2")
    until(lambda: not opened.buttons("Apply"), "the form is still there")
    opened.row_says("My Fine-Tune", "unsaved changes")
    opened.open_form("My Fine-Tune")
    assert opened.field("description").value == "mine"

    opened.click("Undo")
    opened.says("Nothing is changed yet.")
    until(lambda: "unsaved" not in opened.words(), "the changes are still kept")


def test_fields_with_choices_are_toggles_and_nothing_takes_arrow_keys(opened: Opened) -> None:
    opened.open_form("My Fine-Tune")
    kinds = {type(widget).__name__ for widget in opened.all()}

    assert kinds == {"Box", "HTML", "Button", "Text", "Textarea", "ToggleButtons"}
    assert [label.split("\n")[0] for label in opened.field("cpu")._options_labels] == ["not set", "true", "false"]


def test_a_custom_model_is_deleted_only_after_a_question_and_its_row_stays_a_while(
    opened: Opened, client: ModelClient
) -> None:
    opened.more("My Fine-Tune")
    opened.click("Delete…")
    opened.says("Delete the custom model My Fine-Tune (emulated) for good?")
    opened.click("Keep")
    until(lambda: not opened.buttons("Keep"), "the question is still there")
    assert len(client.models()) == 13
    opened.click("Delete…")
    opened.click("Delete for good")
    opened.says("My Fine-Tune (emulated): deleted for good")
    opened.row_says("My Fine-Tune", "deleted")

    assert len(client.models()) == 12


def test_the_filter_and_the_toggles_narrow_the_table(opened: Opened) -> None:
    opened.field("Filter").value = "8b llama"
    opened.says("1 local model")
    opened.field("Filter").value = ""
    opened.click("cloud")
    opened.says("4 cloud models")
    opened.click("loaded")
    opened.says("No model is in memory")


# Following -----------------------------------------------------------------------------------------------------------


def test_it_shows_what_another_program_does(
    opened: Opened, emulator: Emulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(panel_module, "POLL_S", 0.2)
    monkeypatch.setattr(panel_module, "POLL_SHOWN_S", 0.2)
    opened.panel._stop_watching()  # as if another program did all of it
    with ModelClient(emulator.url) as other:
        emulator.rate_bytes_per_s = 5e6
        other.download("phi-2")
        opened.row_says("Phi-2", "downloading")
        opened.says("Phi-2 (emulated): done")
        other.load("phi-2")
        opened.row_says("Phi-2", "loaded")
        other.delete("My Fine-Tune (emulated)")
        opened.says("8 local models")


def test_a_download_that_a_cell_began_shows_without_asking_the_server(
    opened: Opened, client: ModelClient, emulator: Emulator
) -> None:
    emulator.rate_bytes_per_s = 2e6
    client.download("phi-2")
    opened.row_says("Phi-2", "%")


def test_a_load_that_a_cell_does_shows_while_it_runs_and_what_came_of_it(opened: Opened, client: ModelClient) -> None:
    phi = client.get("phi-2")
    with HISTORY.recording("load", phi.title, model_id=phi.id):
        opened.row_says("Phi-2", "loading … since")
    opened.says("by a cell")
    opened.row_says("Phi-2", "available")


def test_opened_anew_it_finds_the_downloads_that_run(opened: Opened, emulator: Emulator) -> None:
    emulator.rate_bytes_per_s = 1e6
    opened.main("Phi-2", "download")
    opened.row_says("Phi-2", "%")
    opened.panel.close()
    with ModelClient(emulator.url) as after_restart:
        again = Opened(after_restart.panel())
        again.row_says("Phi-2", "%")
        assert again.verb("Phi-2") == "cancel"


def test_two_panels_on_one_model_agree(opened: Opened, client: ModelClient, emulator: Emulator) -> None:
    emulator.rate_bytes_per_s = 1e6
    other = Opened(client.panel("phi-2"))
    opened.main("Phi-2", "download")
    other.row_says("Phi-2", "%")
    other.main("Phi-2", "cancel")
    opened.says("Phi-2 (emulated): canceled")
    other.says("Phi-2 (emulated): canceled")


def test_a_server_that_goes_and_comes_back_is_said_and_found_again(tmp_path: Any, monkeypatch: Any) -> None:
    monkeypatch.setattr(panel_module, "POLL_SHOWN_S", 0.2)
    emulator = Emulator(home=tmp_path).start()
    with ModelClient(emulator.url) as client:
        opened = Opened(client.panel("phi-2"))
        emulator.close()
        opened.says("No answer since")
        opened.row("Phi-2").children[1].click()
        opened.says("Phi-2 (emulated): not now, there is no connection.")
        with Emulator(home=tmp_path, port=emulator.port):
            opened.says("and was back at")
            until(lambda: opened.panel.state.connected, "it is never connected again")


def test_without_a_server_it_opens_and_teaches() -> None:
    with ModelClient("http://127.0.0.1:9") as client:
        panel = client.panel("phi-2")
        Opened(panel).says("Start Pieces OS where this kernel runs")
        assert repr(panel).startswith("Models, not connected: Nothing answers at 127.0.0.1:9")


# Opening and closing -------------------------------------------------------------------------------------------------


def test_a_model_that_is_not_there_is_an_error_at_once(client: ModelClient) -> None:
    with pytest.raises(ModelNotFound):
        client.panel("no such model")
    with pytest.raises(AmbiguousModel):
        client.panel("llama")


def test_a_model_that_is_asked_for_has_its_card_open(client: ModelClient) -> None:
    Opened(client.panel("gpt-4o")).says("Provider")


def test_closing_leaves_no_thread_and_no_widget_behind(client: ModelClient, emulator: Emulator) -> None:
    emulator.rate_bytes_per_s = 1e6
    gc.collect()
    widgets_before, threads_before = registered(), threads()
    opened = Opened(client.panel("my-fine-tune"))
    opened.click("Update…")
    until(lambda: opened.buttons("Apply"), "the form is not open")
    opened.click("Delete…")
    until(lambda: opened.buttons("Keep"), "the question is not asked")
    opened.main("Phi-2", "download")
    opened.row_says("Phi-2", "%")
    client.close()

    assert opened.panel.closed
    assert registered() == widgets_before
    until(lambda: threads() == threads_before, lambda: f"threads are left: {threads() - threads_before}")


def test_no_longer_shown_anywhere_it_asks_seldom_and_shown_again_often(opened: Opened) -> None:
    def interval_s() -> float:
        return opened.panel._next_poll_at() - opened.panel._polled_at

    assert interval_s() == panel_module.POLL_SHOWN_S  # not every front end says how often it shows something
    opened.root._view_count = 1
    opened.root._view_count = 0
    until(lambda: interval_s() == panel_module.POLL_HIDDEN_S, "it never slows down")
    opened.root._view_count = 1
    until(lambda: interval_s() == panel_module.POLL_SHOWN_S, "it is never quick again")


def test_closed_it_is_still_text_that_says_how_to_have_it_live(client: ModelClient) -> None:
    panel = client.panel()
    lines = repr(panel).splitlines()
    panel.close()
    panel.close()
    bundle = panel._repr_mimebundle_()

    assert lines == [
        "Models of Pieces OS emulator 12.3.0-emulator",
        "13 models: 4 cloud, 9 available",
        "In memory: no model",
    ]
    assert set(bundle) == {"text/plain", "text/html"}
    assert re.search(
        rf"As of \d\d:\d\d on [\d-]+, {client.url}\. `%pieces_model panel` shows it live", bundle["text/plain"]
    )
    assert "Phi-2 (emulated): available, 26.0 MB" in bundle["text/html"]


def test_it_offers_the_widget_with_text_and_html_beside_it(client: ModelClient) -> None:
    panel = client.panel()
    bundle = panel._repr_mimebundle_()

    assert bundle["text/plain"].startswith(repr(panel))
    assert "13 models: 4 cloud, 9 available" in bundle["text/html"]
    assert bundle[WIDGET]["model_id"] == panel.widget.model_id


def test_a_panel_that_nobody_shows_asks_nothing(client: ModelClient) -> None:
    before = set(threading.enumerate())  # a question of the last test's panel may still be under way
    client.panel()

    assert not {thread for thread in set(threading.enumerate()) - before if thread.name.startswith("pieces-nb-panel")}


# What it costs -------------------------------------------------------------------------------------------------------


def test_a_thousand_models_take_no_more_widgets_than_thirteen_the_form_counted(opened: Opened) -> None:
    catalogue = [{"name": f"Model {number:04}", "size": 10, "custom": True} for number in range(1000)]
    with Emulator(models=catalogue) as large, ModelClient(large.url) as client:
        before = registered()
        began = time.perf_counter()
        many = Opened(client.panel())
        took_s = time.perf_counter() - began

        assert len(many.all()) == len(opened.all()) + 4  # a tenth row
        many.open_form("Model 0003")
        assert len(registered() - before) <= MOST_WIDGETS  # Layout and Style models counted too
        assert took_s < 3  # the design's figure is measured elsewhere; this only catches a blunder


def test_a_list_that_stays_the_same_sends_only_when_it_was_asked_for(
    opened: Opened, monkeypatch: pytest.MonkeyPatch
) -> None:
    ask_again(opened)
    sent = Sent(monkeypatch)
    ask_again(opened)

    assert len(sent.messages) <= 1


def test_one_change_of_one_model_sends_two_messages(
    opened: Opened, emulator: Emulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened.panel._stop_watching()  # as if another program did it
    monkeypatch.setattr(panel_module, "POLL_SHOWN_S", 60.0)
    with ModelClient(emulator.url) as other:
        other.download("phi-2").wait(DEADLINE_S)
        ask_again(opened)
        for change in (other.load, other.unload, other.delete_cache):
            change("Phi-2 (emulated)")
            sent = Sent(monkeypatch)
            ask_again(opened)
            assert len(sent.messages) <= 2, sent.messages


def test_opening_it_again_is_cheap(opened: Opened) -> None:
    before = registered()

    assert opened.panel.widget is opened.root
    opened.panel._repr_mimebundle_()
    assert registered() == before


# Reading -------------------------------------------------------------------------------------------------------------


def test_every_control_says_what_it_does_to_which_model(opened: Opened) -> None:
    opened.open_form("My Fine-Tune")
    opened.click("Delete…")
    until(lambda: opened.buttons("Keep"), "the question is not asked")
    words = [w.description for w in opened.all() if type(w).__name__ in ("Button", "Text", "Textarea", "ToggleButtons")]

    assert all(words)
    of_a_model = [text for text in words if re.match("\n|⋯|Update|Close|Delete|Keep|Apply|Undo", text)]
    assert len(of_a_model) == 2 * 9 + 7
    assert all("(emulated)" in text for text in of_a_model)
    assert {flag for flag in FLAGS if flag in words} == set(FLAGS)


def test_hostile_names_are_text_in_every_control() -> None:
    evil = "<script>alert('x')</script> $x^2$ \u202e" + "n" * 300 + ' 🚀 "quoted"'
    catalogue = [{"name": evil, "unique": evil, "custom": True, "size": 20_000_000}]
    with Emulator(models=catalogue, rate_bytes_per_s=1e6) as emulator, ModelClient(emulator.url) as client:
        opened = Opened(client.panel())
        opened.open_form("<script>")
        opened.main("<script>", "download")
        opened.row_says("<script>", "%")
        opened.click("Delete…")
        until(lambda: opened.buttons("Keep"), "the question is not asked")

        for widget in opened.all():
            if type(widget).__name__ == "HTML":
                assert "<script" not in widget.value
                assert "\u202e" not in widget.value
