"""What can be done with a model and why not, which models a filter lets through, whether one fits. Pure.

Every part that offers, refuses or lists asks here: the client raises `why_not`, the panel disables with it, Tab and the
list filter by it. Machines are told in numbers; who asks the operating system is `machine`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import NamedTuple

from pieces_nb.model.models import Model
from pieces_nb.text import Part, Step, format_bytes, printable


class Refusal(NamedTuple):
    """Why a verb cannot be done with a model; `already` where there is only nothing left to do.

    One that is not `certain` rests on a flag that the server does not send: nothing offers the verb then, but who is
    asked for it by name tries it, and the server decides.
    """

    predicate: str  # "runs in the cloud"
    already: bool = False
    step: Step | None = None  # what has to be done first
    certain: bool = True

    @property
    def words(self) -> str:
        """The reason in the middle of a sentence: "it runs in the cloud"."""
        return f"it {self.predicate}"

    def parts(self, model: Model) -> tuple[Part, ...]:
        """Return a whole sentence, as errors are made of."""
        sentence = f"{model.shown} {self.predicate}"
        return (f"{sentence}.",) if self.step is None else (f"{sentence}: ", self.step, " comes first.")


def why_not(model: Model, verb: str, *, followed: bool = False) -> Refusal | None:
    """Return why `verb` cannot be done with a model as it stands, None if it can, or is not bound to a state.

    `followed`: we follow a download of it, so that it runs although a snapshot may not say so yet.
    """
    rule = _RULES.get(verb)
    return rule(model, followed or model.downloading) if rule is not None else None


def _download(model: Model, running: bool) -> Refusal | None:
    if model.cloud:
        return Refusal("runs in the cloud: there is nothing to download")
    if model.downloaded:
        return Refusal("is downloaded already", already=True)
    return Refusal("is downloading already", already=True) if running else None


def _load(model: Model, running: bool) -> Refusal | None:
    if model.cloud:
        return Refusal("runs in the cloud: there is nothing to load")
    if model.loaded:
        return Refusal("is loaded already", already=True)
    if model.downloaded:
        return None
    predicate = "is still downloading" if running else "is not downloaded"
    return Refusal(predicate, step=step_with("download", model), certain=running or model.flag("downloaded") is False)


def _ensure(model: Model, _running: bool) -> Refusal | None:
    return Refusal("runs in the cloud: there is nothing to download") if model.cloud else None


def _cancel(model: Model, running: bool) -> Refusal | None:
    if running:
        return None
    return Refusal(f"is not downloading; it is {model.state}", certain=model.flag("downloading") is False)


def _unload(model: Model, _running: bool) -> Refusal | None:
    if model.loaded:
        return None
    return Refusal("is not loaded", already=True, certain=model.cloud or model.flag("loaded") is False)


def _delete_cache(model: Model, _running: bool) -> Refusal | None:
    if model.downloaded:
        return None
    certain = model.cloud or model.flag("downloaded") is False
    return Refusal(f"has no downloaded files; it is {model.state}", certain=certain)


def _only_custom(participle: str) -> Callable[[Model, bool], Refusal | None]:
    refusal = Refusal(f"is not a custom model: only those can be {participle}")
    return lambda model, _running: None if model.custom else refusal


_RULES: dict[str, Callable[[Model, bool], Refusal | None]] = {
    "download": _download,
    "progress": _cancel,
    "cancel": _cancel,
    "load": _load,
    "unload": _unload,
    "ensure": _ensure,
    "update": _only_custom("updated"),
    "delete": _only_custom("deleted"),
    "delete-cache": _delete_cache,
}


def step_with(verb: str, model: Model) -> Step:
    """How to do that to this model."""
    return Step(f"{verb} {model.argument}", f"client.{verb.replace('-', '_')}({model.title!r})")


def leaving_words(model: Model) -> str:
    """Return what deleting it or its files does besides, as a sentence; '' if nothing."""
    return "It is loaded and leaves memory." if model.loaded else ""


# Which models --------------------------------------------------------------------------------------------------------

FLAGS = ("local", "cloud", "downloaded", "downloading", "loaded", "custom", "fits")


class Filter(NamedTuple):
    """What narrows a list: words, each in the name, `unique` or provider, in any order; and flags that all hold."""

    pattern: str = ""
    flags: frozenset[str] = frozenset()  # of FLAGS
    total_memory_bytes: int | None = None  # what `fits` goes by

    def matches(self, model: Model) -> bool:
        """Whether a model passes. A loaded one is downloaded too; one whose need of memory is unknown does not fit."""
        return all(self._holds(flag, model) for flag in self.flags) and self._says(model)

    def _says(self, model: Model) -> bool:
        words = self.pattern.casefold().split()
        text = f"{model.name}\n{model.unique}\n{model.provider}".casefold() if words else ""
        return all(word in text for word in words)

    def of(self, models: Iterable[Model]) -> list[Model]:
        """Return those that pass, in their order."""
        return [model for model in models if self.matches(model)]

    def _holds(self, flag: str, model: Model) -> bool:
        match flag:
            case "local":
                return not model.cloud
            case "downloaded":
                return not model.cloud and (model.downloaded or model.loaded)
            case "fits":
                return not model.cloud and missing_bytes(model.ram_bytes, self.total_memory_bytes) == 0
        return bool(getattr(model, flag))


# Whether it fits -----------------------------------------------------------------------------------------------------


def missing_bytes(needed: int | None, available: int | None) -> int | None:
    """Return how many bytes too few are available; 0 if they suffice, None where one of the two is unknown."""
    return None if needed is None or available is None else max(0, needed - available)


def unfitting_words(models: Iterable[Model], total_bytes: int | None) -> str:
    """Return why `fits` leaves out what it does: this machine's memory, what is too large, what is unknown."""
    if total_bytes is None:
        return ""
    local = [model for model in models if not model.cloud]
    large = [model for model in local if missing_bytes(model.ram_bytes, total_bytes)]
    unknown = sum(model.ram_bytes is None for model in local)
    notes = [f"this machine has {format_bytes(total_bytes)} of memory"]
    if large:
        named = ", ".join(f"{printable(one.title, limit=40)} ({format_bytes(one.ram_bytes or 0)})" for one in large[:5])
        notes.append(f"too large: {named}" + (f" and {len(large) - 5} more" if len(large) > 5 else ""))
    if unknown:
        notes.append(f"{unknown} left out whose need of memory is not known")
    return " · ".join(notes)


def memory_words(model: Model, free_bytes: int | None) -> str:
    """Return what a model takes or would take of memory: `holds 3.1 GB`, `needs 6.1 GB · fits`; '' if unknown."""
    needed = model.ram_bytes
    if needed is None or model.cloud:
        return ""
    if model.loaded:
        return f"holds {format_bytes(needed)}"
    short = missing_bytes(needed, free_bytes)
    if short is None:
        return f"needs {format_bytes(needed)}"
    return (
        f"needs {format_bytes(needed)} · fits"
        if not short
        else (f"needs {format_bytes(needed)}, {format_bytes(short)} more than is free")
    )
