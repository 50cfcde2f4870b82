"""The downloads that a panel follows, and how far they are in words. The panel's thread alone calls it."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import NamedTuple

from pieces_nb.download.download import Download
from pieces_nb.views.notebook import progress_words
from pieces_nb.views.panel.state import Progress

_SPEED_EVERY_S = 2.0
_SPEEDS = 30  # the last minute


class _Followed(NamedTuple):
    download: Download
    stop: Callable[[], None]
    speeds: deque[tuple[float, float]]  # when, bytes a second


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
        speeds: deque[tuple[float, float]] = deque(maxlen=_SPEEDS)
        # Into the dictionary before the first call: it may have ended by then.
        self._followed[model_id] = _Followed(download, lambda: None, speeds)
        self._followed[model_id] = _Followed(download, download.subscribe(self._moved), speeds)

    def let_go(self, download: Download) -> None:
        if self.has(download):
            self._drop(download.model.id)

    def _drop(self, model_id: str) -> None:
        followed = self._followed.pop(model_id, None)
        if followed is not None:
            followed.stop()

    def progress(self) -> dict[str, Progress]:
        """Return how far each is, and note its speed."""
        return {model_id: self._progress(followed) for model_id, followed in self._followed.items()}

    def _progress(self, followed: _Followed) -> Progress:
        download, speeds = followed.download, followed.speeds
        now, speed = self._clock_s(), download.speed_bytes_per_s
        if speed is not None and (not speeds or now - speeds[-1][0] >= _SPEED_EVERY_S):
            speeds.append((now, speed))
        trouble = "stalled" if download.stalled_since is not None else ""
        trouble = "no answer" if download.state.silent_since is not None else trouble
        return Progress(download.percentage, progress_words(download), trouble, tuple(speed for _, speed in speeds))

    def close(self) -> None:
        for model_id in list(self._followed):
            self._drop(model_id)
