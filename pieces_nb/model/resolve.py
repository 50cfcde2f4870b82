"""What a person calls a model → the model. Pure: the models are passed in."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence

from pieces_nb.errors import AmbiguousModel, ModelNotFound
from pieces_nb.model.models import Model, ModelState
from pieces_nb.text import printable

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
        yield (
            lambda model, text: (
                model.name.casefold().startswith(text.casefold()) or model.unique.casefold().startswith(text.casefold())
            )
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
    # Models of one name are told apart by what does differ.
    names = [model.title for model in hits]
    if len(set(names)) < len(names):
        names = [f"{model.title} ({model.unique or model.id})" for model in hits]
    if len(set(names)) < len(names):
        names = [f"{model.title} ({model.id})" for model in hits]
    shown = _listed(names)
    return AmbiguousModel(f"{_quoted(text)} may be {shown}. Say more of the name.", model=text, candidates=names)


def _not_found(text: str, models: Sequence[Model], *, beginnings: bool) -> ModelNotFound:
    if not models:
        return ModelNotFound(f"There is no model {_quoted(text)}: the server has no models at all.", model=text)
    names = nearest_names(text, models)
    whole = "" if beginnings else " The whole name is needed here, a beginning is not enough."
    hint = f"The nearest: {_listed(names)}." if names else "`%pieces_model list` shows all."
    return ModelNotFound(f"There is no model {_quoted(text)}. {hint}{whole}", model=text, nearest=names)


def narrow(
    models: Sequence[Model],
    *,
    pattern: str = "",
    local: bool = False,
    cloud: bool = False,
    downloaded: bool = False,
    downloading: bool = False,
    loaded: bool = False,
    custom: bool = False,
) -> list[Model]:
    """Return the models whose name or `unique` contains `pattern` and for which every flag that is set holds.

    A loaded model is downloaded too.
    """
    wanted = pattern.strip().casefold()
    tests: list[Callable[[Model], bool]] = []
    if wanted:
        tests.append(lambda model: wanted in model.name.casefold() or wanted in model.unique.casefold())
    if local:
        tests.append(lambda model: not model.cloud)
    if cloud:
        tests.append(lambda model: model.cloud)
    if downloaded:
        tests.append(lambda model: model.state in (ModelState.DOWNLOADED, ModelState.LOADED))
    if downloading:
        tests.append(lambda model: model.downloading)
    if loaded:
        tests.append(lambda model: model.loaded)
    if custom:
        tests.append(lambda model: model.custom)
    return [model for model in models if all(test(model) for test in tests)]


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
