"""What a person calls a model → the model. Pure: the models are passed in."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Sequence

from pieces_nb.errors import AmbiguousModel, ModelNotFound
from pieces_nb.model.models import Model
from pieces_nb.text import Step, printable

_SHOWN = 5
_SUFFIX = " chat model"


_ID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.IGNORECASE)


def looks_like_id(text: str) -> bool:
    """Whether it is a UUID, as ids are: worth one call before a list of all models is asked for."""
    return _ID.fullmatch(text.strip()) is not None


def _spoken(name: str) -> str:
    """Return a name as people say it: folded, without ' Chat Model'."""
    return " ".join(name.casefold().replace(_SUFFIX, " ").split())


def _levels(beginnings: bool) -> Iterable[Callable[[Model, str], bool]]:
    yield lambda model, text: model.id == text
    yield lambda model, text: model.unique.casefold() == text.casefold()
    yield lambda model, text: model.name.casefold() == text.casefold()
    yield lambda model, text: _spoken(model.name) == _spoken(text)
    if beginnings:
        yield _begins


def _begins(model: Model, text: str) -> bool:
    beginning = text.casefold()
    return bool(beginning) and (
        model.name.casefold().startswith(beginning) or model.unique.casefold().startswith(beginning)
    )


def resolve(text: str, models: Sequence[Model], *, beginnings: bool = True) -> Model:
    """Return the one model that `text` means; the first level with a hit decides.

    Levels: id · `unique` · name · name without " Chat Model" · with `beginnings`, a beginning of a name or `unique`.
    Case matters only in ids. Raises `ModelNotFound` with the nearest names, `AmbiguousModel` with those that are meant.
    """
    wanted = text.strip()
    for matches in _levels(beginnings) if wanted else ():
        hits = [model for model in models if matches(model, wanted)]
        if len(hits) == 1:
            return hits[0]
        if hits:
            raise _ambiguous(text, hits)
    raise _not_found(text, models, beginnings=beginnings)


def _ambiguous(text: str, hits: Sequence[Model]) -> AmbiguousModel:
    names = _told_apart(hits)
    hint = "Only their ids tell them apart" if len({model.title for model in hits}) == 1 else "Say more of the name"
    return AmbiguousModel(f"{_quoted(text)} may be {_listed(names)}. {hint}.", model=text, candidates=names)


def _told_apart(models: Sequence[Model]) -> list[str]:
    """Return a name for each; of one that several have, `unique` as well, or the id where that is the same too."""
    titles = Counter(model.title for model in models)
    uniques = Counter((model.title, model.unique) for model in models if model.unique)

    def name(model: Model) -> str:
        if titles[model.title] == 1:
            return model.title
        return f"{model.title} ({model.unique if uniques[model.title, model.unique] == 1 else model.id})"

    return [name(model) for model in models]


def _not_found(text: str, models: Sequence[Model], *, beginnings: bool) -> ModelNotFound:
    if not models:
        return ModelNotFound(f"There is no model {_quoted(text)}: the server has no models at all.", model=text)
    if not beginnings and (begun := [model for model in models if _begins(model, text.strip())]):
        names = _told_apart(begun)
        whole = ", ".join(f"`{model.argument}`" for model in begun[:_SHOWN])
        words = f"{_quoted(text)} is only a beginning of {_listed(names)}. The whole name is needed here: {whole}."
        return ModelNotFound(words, model=text, nearest=names)
    names = nearest_names(text, models)
    nearest = (f"The nearest: {_listed(names)}.",) if names else (Step("list", "client.table()"), " shows all.")
    whole = "" if beginnings else " The whole name is needed here, a beginning is not enough."
    return ModelNotFound(f"There is no model {_quoted(text)}. ", *nearest, whole, model=text, nearest=names)


def nearest_names(text: str, models: Sequence[Model]) -> list[str]:
    """Return up to five names like `text`: those that contain it, then those spelled alike."""
    import difflib  # not at the top: most names are right

    wanted = text.strip().casefold()
    titles = {model.title.casefold(): model.title for model in models}
    spellings = titles | {model.unique.casefold(): model.title for model in models if model.unique}
    inside = [title for spelling, title in spellings.items() if wanted and wanted in spelling]
    alike = [spellings[close] for close in difflib.get_close_matches(wanted, spellings, n=_SHOWN, cutoff=0.4)]
    return list(dict.fromkeys(inside + alike))[:_SHOWN]


def _listed(names: Sequence[str]) -> str:
    shown = ", ".join(printable(name, limit=80) for name in names[:_SHOWN])
    return shown + (f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else "")


def _quoted(text: str) -> str:
    return f"“{printable(text, limit=80)}”"
