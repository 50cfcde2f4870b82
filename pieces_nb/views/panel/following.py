"""The downloads that a panel follows, and how far they are in words. The panel's thread alone calls it."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

from pieces_nb.views.bars_html import Trail
from pieces_nb.views.panel.state import Progress
from pieces_nb.views.words import Condition, condition, fitting_words

if TYPE_CHECKING:
    from pieces_nb.download.download import Download

_WORDS_LIMIT = 200


class _Followed(NamedTuple):
    download: Download
    stop: Callable[[], None]
    trail: Trail


class Following:
    """Downloads by the ids of their models, one each: a new one takes the place of an old one."""

    def __init__(self, clock_s: Callable[[], float], moved: Callable[[Download], None]) -> None:
        self._clock_s = clock_s
        self._moved = moved  # called in the downloads' threads
        self._followed: dict[str, _Followed] = {}

    def has(self, download: Download) -> bool:
        known = self._followed.get(download.model.id)
        return known is not None and known.download is download

    def follow(self, download: Download) -> None:
        """Follow a download from now on, unless it is followed already, or not alive."""
        if self.has(download) or download.done or download.closed:
            return
        model_id = download.model.id
        self._drop(model_id)
        self._followed[model_id] = _Followed(download, download.subscribe(self._moved), Trail())

    def let_go(self, download: Download) -> None:
        if self.has(download):
            self._drop(download.model.id)

    def _drop(self, model_id: str) -> None:
        followed = self._followed.pop(model_id, None)
        if followed is not None:
            followed.stop()

    def progress(self) -> dict[str, Progress]:
        """Return how far each is, and note it for the line of its speed."""
        return {model_id: self._progress(followed) for model_id, followed in self._followed.items()}

    def _progress(self, followed: _Followed) -> Progress:
        download, trail = followed.download, followed.trail
        trail.note(download.percentage, now=self._clock_s())
        how = condition(download)
        return Progress(
            download.percentage,
            fitting_words(download, _WORDS_LIMIT),
            trouble="" if how in {Condition.RUNNING, Condition.WAITING} else str(how),
            trail=trail.svg,
            waits=how is Condition.WAITING,
        )

    def close(self) -> None:
        for model_id in list(self._followed):
            self._drop(model_id)
