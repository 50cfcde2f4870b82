"""What the panel knows, as one frozen value, and what follows from it: which models show, what can be done and why not.

Pure: no widgets, threads, clock or calls; steps return a new state.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from functools import cached_property, lru_cache
from typing import NamedTuple

from pieces_nb.history import Operation
from pieces_nb.machine import Machine
from pieces_nb.model import rules
from pieces_nb.model.models import Model, ModelState
from pieces_nb.text import format_bytes, printable

PAGE = 10  # models on one page
_MOST_MESSAGES = 8
_NAME_LIMIT = 60
_NO_MACHINE = Machine()


class Action(StrEnum):
    """What can be done to one model: the verbs of `rules`."""

    DOWNLOAD = "download"
    CANCEL = "cancel"
    LOAD = "load"
    UNLOAD = "unload"
    UPDATE = "update"
    DELETE_CACHE = "delete-cache"
    DELETE = "delete"


# The first that can be done is a row's main button.
_NEXT = (Action.CANCEL, Action.UNLOAD, Action.LOAD, Action.DOWNLOAD)

_UNDER_WAY = {
    Action.DOWNLOAD: "starting",
    Action.CANCEL: "canceling",
    Action.LOAD: "loading",
    Action.UNLOAD: "unloading",
    Action.UPDATE: "updating",
    Action.DELETE_CACHE: "deleting files",
    Action.DELETE: "deleting",
}


class Server(NamedTuple):
    """Who answers: a kind, a version, an address."""

    kind: str
    version: str
    url: str

    @property
    def name(self) -> str:
        return printable(f"{self.kind} {self.version}", limit=60)


class Call(NamedTuple):
    """A call of ours under way for a model. One at a time for each model: a second click does nothing."""

    action: Action
    model_id: str
    title: str
    since: float  # of the caller's monotonic clock
    at: str = ""  # the same as a time of day


class Progress(NamedTuple):
    """How far a download is, ready to be shown."""

    percentage: float | None
    words: str
    trouble: str = ""  # `stalled`, `no answer` or '': what the row is called instead of downloading
    trail: str = ""  # the speed of the last minute, as SVG
    waits: bool = False  # for its turn


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
    """Everything that shows."""

    server: Server | None = None  # None until something has answered
    asked: bool = False  # whether the first question has been answered, or failed
    asked_at: str = ""  # when the last answer was asked for, as a time of day
    trouble: str = ""  # why there is no answer now
    trouble_at: str = ""  # since when, as a time of day
    models: tuple[Model, ...] = ()
    gone: frozenset[str] = frozenset()  # ids of models deleted here, shown until the list is narrowed or turned
    machine: Machine = _NO_MACHINE
    pattern: str = ""
    flags: frozenset[str] = frozenset({"local"})
    kept: frozenset[str] = frozenset()  # ids that stay though they left the filter: nothing moves under the pointer
    page: int = 0
    card_id: str = ""  # the model whose card is open
    editing: bool = False  # whether the form is open in it
    drafts: frozenset[str] = frozenset()  # ids of models with unsaved changes
    progress: Mapping[str, Progress] = field(default_factory=dict)  # the downloads that are followed, by model id
    calls: tuple[Call, ...] = ()
    operations: tuple[Operation, ...] = ()  # what cells of this kernel do
    question: Question | None = None
    messages: tuple[Message, ...] = ()  # the newest first

    @property
    def connected(self) -> bool:
        return self.asked and not self.trouble

    def model(self, model_id: str) -> Model | None:
        return next((model for model in self.models if model.id == model_id), None) if model_id else None

    @cached_property
    def there(self) -> tuple[Model, ...]:
        """All models but those that were deleted here."""
        return without_gone(self, self.models)

    @cached_property
    def matching(self) -> tuple[Model, ...]:
        """The models that the filter lets through, and those that stay though it no longer does."""
        # Once for each state: a thousand models take some milliseconds.
        wanted = rules.Filter(self.pattern, self.flags, self.machine.total_memory_bytes)
        return tuple(model for model in self.models if model.id in self.kept or wanted.matches(model))

    @property
    def counts(self) -> Mapping[str, int]:
        """How many models there are under each flag."""
        return _counts(_Same(self.models), self.gone, self.machine.total_memory_bytes)

    def call_on(self, model_id: str) -> Call | None:
        return next((call for call in self.calls if call.model_id == model_id), None)

    def operation_on(self, model: Model) -> Operation | None:
        return next((found for found in self.operations if found.model_id == model.id), None)

    @cached_property
    def is_lively(self) -> bool:
        """Whether something goes on that may change by itself."""
        return bool(self.calls or self.progress or self.operations) or any(model.downloading for model in self.models)


def without_gone(state: PanelState, models: Iterable[Model]) -> tuple[Model, ...]:
    return tuple(model for model in models if model.id not in state.gone)


def title(model: Model) -> str:
    return printable(model.title, limit=_NAME_LIMIT)


# What was heard ------------------------------------------------------------------------------------------------------


def read(
    state: PanelState, models: Iterable[Model], *, server: Server, machine: Machine = _NO_MACHINE, at: str = ""
) -> PanelState:
    """Take in a list of all models: local ones first, each by name, so that nothing moves when a state changes."""
    listed = list(models)
    known = {model.id for model in listed}
    # The list may come before the answer to a delete of ours.
    deleting = {call.model_id for call in state.calls if call.action is Action.DELETE}
    ghosts = [model for model in state.models if model.id in state.gone | deleting and model.id not in known]
    ordered = tuple(sorted([*listed, *ghosts], key=lambda model: (model.cloud, model.title.casefold(), model.id)))
    after = replace(
        state,
        server=server,
        asked=True,
        asked_at=at,
        trouble="",
        trouble_at="",
        models=state.models if ordered == state.models else ordered,
        gone=state.gone & {model.id for model in ghosts},
        machine=machine,
    )
    if state.trouble and state.server is not None:
        after = said(after, _outage_words(state, after, at=at), at=at)
    return _tidied(after)


def _outage_words(before: PanelState, after: PanelState, *, at: str) -> str:
    """Return what an outage was, and which downloads it has cost."""
    lost = [
        title(model)
        for model in after.models
        if (old := before.model(model.id)) is not None
        and (old.downloading or model.id in before.progress)
        and not model.downloading
        and not model.downloaded
    ]
    cost = f"; the download of {' and '.join(lost)} did not survive it" if lost else ""
    return f"The server went away at {before.trouble_at} and was back at {at}{cost}."


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
    """Take in that a model was deleted here: its row says so, and goes when the list is narrowed or turned."""
    return _tidied(replace(state, gone=state.gone | {model_id}))


def _tidied(state: PanelState) -> PanelState:
    """Drop what refers to a model that is gone."""
    model = state.model(state.card_id)
    if state.card_id and model is None:
        state = replace(state, card_id="", editing=False)
    elif state.editing and (model is None or state.card_id in state.gone):
        state = replace(state, editing=False)
    question = state.question
    if question is not None and why_not(state, question.action, question.model_id):
        state = replace(state, question=None)
    return replace(state, page=min(state.page, pages(state) - 1))


def said(state: PanelState, words: str, *, at: str = "", is_error: bool = False) -> PanelState:
    message = Message(at, printable(words, limit=500), is_error)
    return replace(state, messages=(message, *state.messages)[:_MOST_MESSAGES])


def began(state: PanelState, call: Call) -> PanelState:
    """Take in a call of ours; the model stays in sight whatever becomes of it."""
    return replace(state, calls=(*state.calls, call), question=None, kept=state.kept | {call.model_id})


def ended(state: PanelState, call: Call) -> PanelState:
    return replace(state, calls=tuple(other for other in state.calls if other != call))


def operating(state: PanelState, operations: Iterable[Operation]) -> PanelState:
    """Take in what cells of this kernel do."""
    return replace(state, operations=tuple(operations))


def progressing(state: PanelState, progress: Mapping[str, Progress]) -> PanelState:
    """Take in how far the downloads are."""
    return replace(state, progress=dict(progress))


# What a person looks at ----------------------------------------------------------------------------------------------


def _freed(state: PanelState, *, page: int = 0) -> PanelState:
    """Return the state without what had only stayed in sight, on another page."""
    return _tidied(replace(state, models=state.there, gone=frozenset(), kept=frozenset(), page=page))


def filtered(state: PanelState, pattern: str) -> PanelState:
    return _freed(replace(state, pattern=pattern))


def toggled(state: PanelState, flag: str) -> PanelState:
    """Switch a flag; one that contradicts it goes: what runs in the cloud is neither here nor local."""
    if flag in state.flags:
        return _freed(replace(state, flags=state.flags - {flag}))
    against = set(rules.FLAGS) - {"cloud", "custom"} if flag == "cloud" else {"cloud"} - {flag}
    if flag == "custom":
        against = set()
    return _freed(replace(state, flags=(state.flags - against) | {flag}))


def turned(state: PanelState, by: int) -> PanelState:
    """Turn the page, staying within the pages that there are."""
    page = max(0, min(state.page + by, pages(state) - 1))
    return state if page == state.page else _freed(state, page=page)


def opened(state: PanelState, model_id: str) -> PanelState:
    """Open a model's card, or close it if it is open; another one is closed."""
    card_id = "" if state.card_id == model_id else model_id
    return replace(state, card_id=card_id, editing=False, question=None)


def sought(state: PanelState, model: Model) -> PanelState:
    """Open a model's card where it stands, whatever hides it."""
    flags = frozenset({"cloud"}) if model.cloud else frozenset({"local"})
    state = replace(state, flags=flags, pattern="", card_id=model.id)
    position = next((number for number, found in enumerate(state.matching) if found.id == model.id), 0)
    return replace(state, page=position // PAGE)


# Which models show ---------------------------------------------------------------------------------------------------


class _Same(NamedTuple):
    """Models as a key: equal only to the very same ones, so that a thousand need not be compared."""

    models: tuple[Model, ...]

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Same) and self.models is other.models

    def __hash__(self) -> int:
        return id(self.models)


@lru_cache(maxsize=4)  # a list that stays the same is counted once
def _counts(listed: _Same, gone: frozenset[str], total_memory_bytes: int | None) -> Mapping[str, int]:
    there = [model for model in listed.models if model.id not in gone]
    return {flag: len(rules.Filter("", frozenset({flag}), total_memory_bytes).of(there)) for flag in rules.FLAGS}


def pages(state: PanelState) -> int:
    return max(1, -(-len(state.matching) // PAGE))


def shown(state: PanelState) -> tuple[Model, ...]:
    """Return the models of the page."""
    return state.matching[state.page * PAGE : (state.page + 1) * PAGE]


def count_words(state: PanelState) -> str:
    """Return which models show, of how many: `1–10 of 40 local models`. Rows of deleted ones do not count."""
    found = len(without_gone(state, state.matching))
    if not found:
        return empty_words(state)
    kinds = " and ".join(flag for flag in rules.FLAGS if flag in state.flags)
    noun = " ".join(filter(None, [kinds, "model" if found == 1 else "models"]))
    here = len(without_gone(state, shown(state)))
    if found <= PAGE or not here:
        return f"{found:,} {noun}"
    before = len(without_gone(state, state.matching[: state.page * PAGE]))
    return f"{before + 1:,}–{before + here:,} of {found:,} {noun}"


def empty_words(state: PanelState) -> str:
    """Return what to do where no model shows."""
    if not state.asked:
        return "Asking the server for its models …"
    if not state.there:
        return _NOBODY_THERE if state.trouble else _NO_MODELS
    if state.pattern.strip():
        among = f" among the {' and '.join(sorted(state.flags))} ones" if state.flags else ""
        return f"No model has “{printable(state.pattern, limit=40)}” in its name{among}. Clear the filter."
    for flag, words in _EMPTY.items():
        if flag in state.flags and not state.counts[flag]:
            return words
    return f"No model is {_listed(flag for flag in rules.FLAGS if flag in state.flags)}. Switch one of these off."


def _listed(flags: Iterable[str]) -> str:
    """Return flags as what is said of a model: `local, custom and loaded`."""
    *others, last = (_PREDICATES.get(flag, flag) for flag in flags)
    return f"{', '.join(others)} and {last}" if others else last


_NOBODY_THERE = (
    "Start Pieces OS where this kernel runs: the panel finds it by itself. "
    "Another address: `%pieces_model connect http://HOST:PORT`. "
    "To try things without Pieces OS: `%pieces_model connect emulator`. After connect, open the panel again."
)
_NO_MODELS = (
    "The server has no models at all. It may still be fetching its list: wait a moment, then Refresh. "
    "`%pieces_model create NAME` makes a custom one."
)
_EMPTY = {
    "loaded": "No model is in memory. Show the downloaded ones, then Load.",
    "downloading": "Nothing is downloading. Show the local models, then Download.",
    "downloaded": "Nothing is downloaded yet. Show the local models, then Download.",
    "custom": "No custom models. `%pieces_model create NAME` makes one.",
    "fits": "No model is known to fit into this machine's memory.",
    "cloud": "No models in the cloud.",
    "local": "No local models: all of the server's run in the cloud, where there is nothing to download or load.",
}
_PREDICATES = {"cloud": "in the cloud", "fits": "known to fit into memory"}


# What can be done ----------------------------------------------------------------------------------------------------


def why_not(state: PanelState, action: Action, model_id: str) -> str:
    """Return why an action on a model cannot be done now; '' if it can."""
    if not state.connected:
        return "there is no connection" if state.asked else "the server has not answered yet"
    model = state.model(model_id)
    if model is None or model_id in state.gone:
        return "it is deleted"
    if state.call_on(model_id) is not None:
        return "a call for it is under way"
    refusal = rules.why_not(model, action, followed=model_id in state.progress)
    return refusal.words if refusal is not None else ""


def main_action(state: PanelState, model: Model) -> Action | None:
    """Return the thing to do next with a model; None where there is nothing, as with one in the cloud."""
    if model.id in state.gone:
        return None
    followed = model.id in state.progress
    return next((action for action in _NEXT if rules.why_not(model, action, followed=followed) is None), None)


def question_for(state: PanelState, action: Action, model: Model) -> Question | None:
    """Return what has to be confirmed before an action is done; None if nothing has."""
    size = f" ({format_bytes(model.size_bytes)})" if model.size_bytes is not None else ""
    leaves = f" {rules.leaving_words(model)}".rstrip()
    free = state.machine.free_memory_bytes
    match action:
        case Action.DELETE:
            words = f"Delete the custom model {title(model)} for good?{leaves}"
            return Question(action, model.id, words, "Delete for good")
        case Action.DELETE_CACHE:
            words = f"Delete the downloaded files of {title(model)}{size}?{leaves}"
            return Question(action, model.id, words, "Delete the files")
        case Action.LOAD if rules.missing_bytes(model.ram_bytes, free):
            words = f"{title(model)} {rules.memory_words(model, free)}. Load it all the same?"
            return Question(action, model.id, words, "Load anyway")
        case _:
            return None


# A row in words ------------------------------------------------------------------------------------------------------


class Standing(NamedTuple):
    """How a model stands: a word for people, the colour's name, and since when something is under way."""

    word: str
    colour: str  # loaded, moving, trouble, downloaded, available, cloud
    since: str = ""


def standing(state: PanelState, model: Model, *, clock: str = "") -> Standing:
    """Return how a model stands; `clock` is when a cell's operation on it began, as a time of day."""
    if model.id in state.gone:
        return Standing("deleted", "available")
    call = state.call_on(model.id)
    if call is not None:
        return Standing(f"{_UNDER_WAY[call.action]} …", "moving", call.at)
    operation = state.operation_on(model)
    if operation is not None and operation.verb in set(Action) - {Action.DOWNLOAD}:
        return Standing(f"{_UNDER_WAY[Action(operation.verb)]} …", "moving", clock)
    progress = state.progress.get(model.id)
    if progress is not None and progress.waits:
        return Standing("waiting", "available")
    if progress is not None and not model.downloaded:
        return Standing(progress.trouble or "downloading", "trouble" if progress.trouble else "moving")
    return Standing(str(model.state), _COLOURS[model.state])


_COLOURS = {
    ModelState.CLOUD: "cloud",
    ModelState.AVAILABLE: "available",
    ModelState.DOWNLOADING: "moving",
    ModelState.DOWNLOADED: "downloaded",
    ModelState.LOADED: "loaded",
}


# The machine ---------------------------------------------------------------------------------------------------------


class Share(NamedTuple):
    """How a resource of the machine is shared: bytes of models, of everything else, and free."""

    name: str
    models_bytes: int
    models: int
    free_bytes: int
    total_bytes: int

    @property
    def other_bytes(self) -> int:
        return max(0, self.total_bytes - self.free_bytes - self.models_bytes)


def shares(state: PanelState) -> list[Share]:
    """Return memory and disk; nothing where the server is on another machine."""
    loaded = [model for model in state.there if model.loaded]
    stored = [model for model in state.there if model.downloaded and not model.cloud]
    machine = state.machine
    found = []
    if machine.total_memory_bytes and machine.free_memory_bytes is not None:
        used = sum(model.ram_bytes or 0 for model in loaded)
        found.append(Share("Memory", used, len(loaded), machine.free_memory_bytes, machine.total_memory_bytes))
    if machine.total_disk_bytes and machine.free_disk_bytes is not None:
        used = sum(model.size_bytes or 0 for model in stored)
        found.append(Share("Disk", used, len(stored), machine.free_disk_bytes, machine.total_disk_bytes))
    return found


# The whole in a few lines --------------------------------------------------------------------------------------------


def counts_words(state: PanelState) -> str:
    """Return how many models are in which state."""
    tally = {kind: sum(model.state is kind for model in state.there) for kind in ModelState}
    each = ", ".join(f"{count:,} {kind}" for kind, count in tally.items() if count)
    total = "1 model" if len(state.there) == 1 else f"{len(state.there):,} models"
    return f"{total}: {each}" if each else "no models"


def memory_words(state: PanelState) -> str:
    """Return what is loaded and the memory it takes."""
    loaded = [model for model in state.there if model.loaded]
    if not loaded:
        return "In memory: no model"
    named = [f"{title(model)} ({format_bytes(model.ram_bytes or 0)})" for model in loaded[:3]]
    more = f" and {len(loaded) - 3} more" if len(loaded) > 3 else ""
    return f"In memory: {', '.join(named)}{more}"


def summary(state: PanelState, *, whole: bool = False) -> list[str]:
    """Return the panel as lines of text: what a front end without widgets shows; `whole` with the page's models."""
    if not state.asked:
        return ["Models, not connected yet"]
    if state.server is None:
        return [f"Models, not connected: {state.trouble}"]
    known = f", as last known; {state.trouble}" if state.trouble else ""
    lines = [f"Models of {state.server.name}", f"{counts_words(state)}{known}"]
    if not state.there:
        return [*lines, _NO_MODELS]
    return [*lines, memory_words(state), *(_line(state, model) for model in (shown(state) if whole else ()))]


def _line(state: PanelState, model: Model) -> str:
    size = f", {format_bytes(model.size_bytes)}" if model.size_bytes is not None and not model.cloud else ""
    return f"{title(model)}: {standing(state, model).word}{size}"
