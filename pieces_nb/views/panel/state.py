"""What the panel knows, as one frozen value, and what follows from it: which models show, what can be done and why not.

Pure: no widgets, threads, clock or calls; steps return a new state.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import NamedTuple

from pieces_nb.model import rules
from pieces_nb.model.models import Model, ModelState
from pieces_nb.text import format_bytes, format_duration, printable

MOST_OPTIONS = 100
_MOST_MESSAGES = 4
_NAME_LIMIT = 60


class Shows(StrEnum):
    """The filter by state. A loaded model is downloaded too."""

    ALL = "all"
    LOCAL = "local"
    DOWNLOADED = "downloaded"
    DOWNLOADING = "downloading"
    LOADED = "loaded"
    CUSTOM = "custom"
    CLOUD = "cloud"


class Action(StrEnum):
    """What the buttons do, in their words."""

    DOWNLOAD = "Download"
    CANCEL = "Cancel"
    LOAD = "Load"
    UNLOAD = "Unload"
    UPDATE = "Update"
    REFRESH = "Refresh"
    DELETE_CACHE = "Delete cache"
    DELETE = "Delete"


_UNDER_WAY = {
    Action.DOWNLOAD: "Starting the download of",
    Action.CANCEL: "Canceling the download of",
    Action.LOAD: "Loading",
    Action.UNLOAD: "Unloading",
    Action.UPDATE: "Updating",
    Action.DELETE_CACHE: "Deleting the files of",
    Action.DELETE: "Deleting",
}


class Call(NamedTuple):
    """A call under way for a model. One at a time for each model: a second click does nothing."""

    action: Action
    model_id: str
    title: str
    since: float  # of the caller's monotonic clock


class Question(NamedTuple):
    """What the panel asks before it does something."""

    action: Action
    model_id: str
    words: str
    yes: str


class Message(NamedTuple):
    """An outcome or an error; `at` is the time of day."""

    at: str
    words: str
    is_error: bool = False


@dataclass(frozen=True)
class PanelState:
    """Everything that shows, except the rows of running downloads, which write themselves."""

    server: str = ""  # in a few words; '' until something has answered
    asked: bool = False  # whether the first question has been answered, or failed
    trouble: str = ""  # why there is no answer now
    trouble_at: str = ""  # since when, as a time of day
    models: tuple[Model, ...] = ()
    free_memory_bytes: int | None = None
    pattern: str = ""
    shows: Shows = Shows.ALL
    chosen_id: str = ""
    followed: frozenset[str] = frozenset()  # ids of the models with a progress row
    calls: tuple[Call, ...] = ()
    question: Question | None = None
    editing_id: str = ""  # the model whose form is open
    messages: tuple[Message, ...] = ()  # the newest first
    closed: bool = False

    @property
    def connected(self) -> bool:
        return self.asked and not self.trouble

    @property
    def chosen(self) -> Model | None:
        return self.model(self.chosen_id)

    def model(self, model_id: str) -> Model | None:
        return next((model for model in self.models if model.id == model_id), None) if model_id else None

    def call_on(self, model_id: str) -> Call | None:
        return next((call for call in self.calls if call.model_id == model_id), None)

    @property
    def is_lively(self) -> bool:
        """Whether something goes on that may change by itself."""
        return bool(self.calls or self.followed) or any(model.downloading for model in self.models)


def title(model: Model) -> str:
    return printable(model.title, limit=_NAME_LIMIT)


# Steps ---------------------------------------------------------------------------------------------------------------


def read(
    state: PanelState, models: Sequence[Model], *, server: str, free_memory_bytes: int | None = None, at: str = ""
) -> PanelState:
    """Take in a list of all models: local ones first, each by name, so that nothing moves when a state changes."""
    ordered = tuple(sorted(models, key=lambda model: (model.cloud, model.title.casefold(), model.id)))
    back = bool(state.trouble)
    state = replace(
        state,
        server=server,
        asked=True,
        trouble="",
        trouble_at="",
        models=ordered,
        free_memory_bytes=free_memory_bytes,
    )
    if back:
        state = said(state, f"{server} answers again.", at=at)
    return _tidied(state)


def unanswered(state: PanelState, words: str, *, at: str = "") -> PanelState:
    """Take in that the list could not be read; what was known stays, as what was known."""
    return replace(
        state,
        asked=True,
        trouble=printable(words, limit=500) or "no answer",
        trouble_at=state.trouble_at if state.trouble else at,
        question=None,
    )


def replaced(state: PanelState, model: Model) -> PanelState:
    """Take in a newer snapshot of one model."""
    if state.model(model.id) is None:
        return state
    return _tidied(replace(state, models=tuple(model if old.id == model.id else old for old in state.models)))


def removed(state: PanelState, model_id: str) -> PanelState:
    return _tidied(replace(state, models=tuple(model for model in state.models if model.id != model_id)))


def _tidied(state: PanelState) -> PanelState:
    """Drop what refers to a model that is gone."""
    if state.chosen_id and state.chosen is None:
        state = replace(state, chosen_id="")
    if state.editing_id and state.editing_id != state.chosen_id:
        state = replace(state, editing_id="")
    if state.question is not None and why_not(state, state.question.action, state.question.model_id):
        state = replace(state, question=None)
    return state


def filtered(state: PanelState, *, pattern: str | None = None, shows: Shows | None = None) -> PanelState:
    """Filter; a chosen model that does not match any more is let go, a single one that does is chosen."""
    state = replace(
        state,
        pattern=state.pattern if pattern is None else pattern,
        shows=state.shows if shows is None else shows,
    )
    found = matching(state)
    if len(found) == 1:
        return chose(state, found[0].id)
    return state if any(model.id == state.chosen_id for model in found) else chose(state, "")


def chose(state: PanelState, model_id: str) -> PanelState:
    if model_id == state.chosen_id:
        return state
    return replace(state, chosen_id=model_id, question=None, editing_id="")


def said(state: PanelState, words: str, *, at: str = "", is_error: bool = False) -> PanelState:
    message = Message(at, printable(words, limit=500), is_error)
    return replace(state, messages=(message, *state.messages)[:_MOST_MESSAGES])


def began(state: PanelState, call: Call) -> PanelState:
    return replace(state, calls=(*state.calls, call), question=None)


def ended(state: PanelState, call: Call) -> PanelState:
    return replace(state, calls=tuple(other for other in state.calls if other != call))


# Which models show ---------------------------------------------------------------------------------------------------


def matching(state: PanelState) -> list[Model]:
    """Return the models that the filter lets through."""
    flags = () if state.shows is Shows.ALL else (str(state.shows),)
    return rules.Filter(state.pattern, frozenset(flags)).of(state.models)


def options(state: PanelState) -> list[tuple[str, str]]:
    """Return what the chooser offers, as (words, id); the chosen model stays though its state may have left the filter.

    At most `MOST_OPTIONS`: the rest is found by typing.
    """
    offered = matching(state)[:MOST_OPTIONS]
    chosen = state.chosen
    if chosen is not None and all(model.id != chosen.id for model in offered):
        offered = [chosen, *offered[: MOST_OPTIONS - 1]]
    return [(_option(model), model.id) for model in offered]


def _option(model: Model) -> str:
    size = f" · {format_bytes(model.size_bytes)}" if model.size_bytes is not None and not model.cloud else ""
    return f"{title(model)} · {model.state}{size}"


def count_words(state: PanelState) -> str:
    """Return how many models the chooser offers, of how many."""
    if not state.models:
        return ""
    found = len(matching(state))
    if found > MOST_OPTIONS:
        return f"The first {MOST_OPTIONS} of {found:,}: type a part of the name to see the others"
    if found == len(state.models):
        return "1 model" if found == 1 else f"{found} models"
    return f"{found} of {len(state.models):,} models"


def empty_words(state: PanelState) -> str:
    """Return what to do where there is nothing to see; '' where a model is chosen."""
    if state.chosen is not None:
        return ""
    if not state.asked:
        return "Asking the server for its models …"
    if not state.models:
        return _nobody_there(state) if state.trouble else _no_models()
    if matching(state):
        return "Choose a model in the list: its snapshot shows here, and the buttons act on it."
    return _nothing_matches(state)


def _nobody_there(_state: PanelState) -> str:
    return (
        "Not connected. Start Pieces OS where this kernel runs: the panel finds it by itself. "
        "Another address: `%pieces_model connect http://HOST:PORT`. "
        "To try things without Pieces OS: `%pieces_model connect emulator`. "
        "After connect, open the panel again."
    )


def _no_models() -> str:
    return (
        "The server has no models at all. It may still be fetching its list: wait a moment, then Refresh. "
        "`%pieces_model create NAME` makes a custom one."
    )


def _nothing_matches(state: PanelState) -> str:
    if state.pattern.strip():
        among = "" if state.shows is Shows.ALL else f" among the {state.shows} ones"
        wanted = printable(state.pattern, limit=40)
        return f"No model is called anything with “{wanted}”{among}. Clear the filter, or show all."
    match state.shows:
        case Shows.LOCAL:
            return "No local models: all of the server's run in the cloud, where there is nothing to download or load."
        case Shows.DOWNLOADED:
            return "Nothing is downloaded yet. Show local models, choose one, then Download."
        case Shows.DOWNLOADING:
            return "Nothing is downloading. Show local models, choose one, then Download."
        case Shows.LOADED:
            return "No model is in memory. Show downloaded ones, choose one, then Load."
        case Shows.CUSTOM:
            return "No custom models. `%pieces_model create NAME` makes one."
        case _:
            return f"No {state.shows} models. Show all to see what there is."


# What can be done ----------------------------------------------------------------------------------------------------


def why_not(state: PanelState, action: Action, model_id: str | None = None) -> str:
    """Return why an action on a model (the chosen one) cannot be done now; '' if it can."""
    if action is Action.REFRESH:
        return ""
    if not state.connected:
        return "there is no connection" if state.asked else "the server has not answered yet"
    model = state.chosen if model_id is None else state.model(model_id)
    if model is None:
        return "choose a model first" if state.models else "there are no models"
    call = state.call_on(model.id)
    if call is not None:
        return "a call for this model is under way"
    return _unfit(model, action, followed=model.id in state.followed)


def _unfit(model: Model, action: Action, *, followed: bool) -> str:
    """Return why the model is not in a state for it."""
    running = followed or model.downloading
    match action:
        case Action.CANCEL:
            return "" if running else "it is not downloading"
        case Action.UPDATE | Action.DELETE:
            return "" if model.custom else "it is no custom model"
        case Action.DELETE_CACHE:
            return "" if model.downloaded else "it has no downloaded files"
        case Action.UNLOAD:
            return "" if model.loaded else "it is not loaded"
        case Action.DOWNLOAD | Action.LOAD if model.cloud:
            return "it runs in the cloud"
        case Action.DOWNLOAD if model.downloaded:
            return "it is downloaded already"
        case Action.DOWNLOAD if running:
            return "it is downloading already"
        case Action.LOAD if model.loaded:
            return "it is loaded already"
        case Action.LOAD if running:
            return "its download has not ended"
        case Action.LOAD if not model.downloaded:
            return "download it first"
        case _:
            return ""


def reasons(state: PanelState) -> str:
    """Return in one line why the disabled buttons are; actions with the same reason together."""
    grouped: dict[str, list[str]] = {}
    for action in Action:
        reason = why_not(state, action)
        if reason:
            grouped.setdefault(reason, []).append(action)
    if len(grouped) == 1 and len(next(iter(grouped.values()))) == len(Action) - 1:
        return f"Not now: {next(iter(grouped))}"
    return " · ".join(f"{', '.join(actions)}: {reason}" for reason, actions in grouped.items())


def question_for(state: PanelState, action: Action, model: Model) -> Question | None:
    """Return what has to be confirmed before an action is done; None if nothing has."""
    size = f", {format_bytes(model.size_bytes)}" if model.size_bytes is not None else ""
    needed, free = model.ram_bytes, state.free_memory_bytes
    match action:
        case Action.DELETE:
            return Question(action, model.id, f"Delete the custom model {title(model)} for good?", "Delete for good")
        case Action.DELETE_CACHE:
            return Question(action, model.id, f"Delete the downloaded files of {title(model)}{size}?", "Delete files")
        case Action.LOAD if needed is not None and free is not None and needed > free:
            words = f"{title(model)} needs {format_bytes(needed)} of memory, {format_bytes(free)} are free."
            return Question(action, model.id, words, "Load anyway")
        case _:
            return None


# In words ------------------------------------------------------------------------------------------------------------


def memory_words(state: PanelState) -> str:
    """Return what is loaded and the memory it takes, without anything that changes by itself."""
    loaded = [model for model in state.models if model.loaded]
    if not loaded:
        return "In memory: no model" if state.models else ""
    shown = ", ".join(f"{title(model)}{_ram(model)}" for model in loaded[:3])
    more = f" and {len(loaded) - 3} more" if len(loaded) > 3 else ""
    return f"In memory: {shown}{more}{_sum(loaded)}"


def _ram(model: Model) -> str:
    return f" ({format_bytes(model.ram_bytes)})" if model.ram_bytes is not None else ""


def _sum(loaded: Sequence[Model]) -> str:
    return f" · {format_bytes(sum(model.ram_bytes or 0 for model in loaded))} in all" if len(loaded) > 1 else ""


def calls_words(state: PanelState, *, now: float) -> list[str]:
    """Return what is under way and, of what takes long, since when."""
    lines = []
    for call in state.calls:
        since_s = now - call.since
        took = f", for {format_duration(float(int(since_s)))}" if since_s >= 1 else ""
        lines.append(f"{_UNDER_WAY.get(call.action, call.action)} {call.title} …{took}")
    return lines


def counts_words(state: PanelState) -> str:
    """Return how many models are in which state."""
    counts = {kind: sum(model.state is kind for model in state.models) for kind in ModelState}
    each = ", ".join(f"{count} {kind}" for kind, count in counts.items() if count)
    total = "1 model" if len(state.models) == 1 else f"{len(state.models):,} models"
    return f"{total}: {each}" if each else "no models"


def summary(state: PanelState) -> list[str]:
    """Return the panel as lines of text: what a front end without widgets and a saved notebook show."""
    if not state.asked:
        return ["Control panel of pieces_nb, not connected yet"]
    if state.trouble and not state.models:
        return [f"Control panel of pieces_nb: {state.trouble}"]
    known = f", as last known; {state.trouble}" if state.trouble else ""
    lines = [f"Control panel of pieces_nb · {printable(state.server, limit=200)}", f"{counts_words(state)}{known}"]
    return [*lines, memory_words(state)] if state.models else [*lines, _no_models()]
