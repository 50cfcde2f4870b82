"""A puppet that plays a download: the events come from the test, and the clock too."""

from __future__ import annotations

from typing import Any, ClassVar

from pieces_nb.download import state as ds
from pieces_nb.download.download import Context, Download
from pieces_nb.model.models import DownloadStatus, Model, ModelDownloadProgress
from pieces_nb.wire.http import Transport

SIZE = 200_000_000
EVIL = '<img src=x onerror=alert(1)>"\x1b[2J\n'
VIEW = "application/vnd.jupyter.widget-view+json"


class Puppet(Download):
    """A download without a thread: what it hears comes from the test, a second apart."""

    made: ClassVar[list[Puppet]] = []

    def __init__(
        self, name: str = "Phi-2", *, there: bool = False, size: int | None = SIZE, queued: bool = False
    ) -> None:
        self.now = 1000.0
        self.raw: dict[str, Any] = {"id": "m-1", "name": name, "downloading": True, "downloaded": there}
        self.raw |= {} if size is None else {"bytes": {"value": size}}
        around = Context(Transport("http://127.0.0.1:9"), clock=lambda: self.now, wall_clock=lambda: self.now)
        super().__init__(Model(self.raw), around, queued=queued)
        self.made.append(self)
        self._follower.advance(ds.StartAnswered())

    def let_go(self) -> None:
        """End the threads of its views without a word."""
        for subscriber in self._subscribers._all:
            subscriber.drop()

    def tell(self, *events: ds.Event, after_s: float = 1.0) -> Puppet:
        for event in events:
            self.now += after_s
            self._follower.advance(event)
        return self

    def at(self, *percentages: float) -> Puppet:
        frames = [ModelDownloadProgress(DownloadStatus.IN_PROGRESS, percentage) for percentage in percentages]
        return self.tell(*map(ds.FrameHeard, frames))

    def show(self) -> Puppet:
        self._subscribers.tell()
        self._subscribers.settle()
        return self

    def snapshot(self, **fields: Any) -> Puppet:
        return self.tell(ds.SnapshotSeen(Model({**self.raw, "downloading": False, **fields}), self.now + 1.0))

    def finish(self) -> Puppet:
        self._follower.finish()
        return self

    def complete(self) -> Puppet:
        return self.snapshot(downloaded=True).finish()

    def fail(self, words: str) -> Puppet:
        return self.tell(ds.ModelGone(words)).finish()


class Handle:
    """What IPython gives for a display with an id."""

    def __init__(self, bundle: dict[str, Any]) -> None:
        self.bundles = [bundle]

    def update(self, bundle: dict[str, Any], *, raw: bool) -> None:
        assert raw
        self.bundles.append(bundle)


class Waiting(Puppet):
    """A download whose wait ends as it is told."""

    outcome: BaseException | None = None
    timeout: float | None = None

    def _wait(self, timeout: float | None) -> None:
        self.timeout = timeout
        if self.outcome is not None:
            raise self.outcome
        self.complete()


class Page:
    """A notebook's page, which this process pretends to have: its outputs, the cell that runs, who hears clicks."""

    def __init__(self) -> None:
        self.handles: list[Handle] = []
        self.cell = "cell-1"
        self.clicks_are_heard = False

    def display(self, bundle: dict[str, Any], *, raw: bool, display_id: bool) -> Handle:
        assert raw
        assert display_id
        self.handles.append(Handle(bundle))
        return self.handles[-1]

    @property
    def bundles(self) -> list[dict[str, Any]]:
        """What stands there now."""
        return [handle.bundles[-1] for handle in self.handles]

    @property
    def widgets(self) -> list[str]:
        """The models that are shown live now."""
        return [bundle[VIEW]["model_id"] for bundle in self.bundles if VIEW in bundle]

    @property
    def text(self) -> str:
        return "\n".join(bundle["text/plain"] for bundle in self.bundles)
