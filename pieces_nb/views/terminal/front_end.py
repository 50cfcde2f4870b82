"""What a verb has of a terminal while it runs: bars or plain lines, questions, words on the way. Decides no outcome."""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

from pieces_nb.errors import ConfirmationRequired, StoppedWaiting
from pieces_nb.text import Front, Part, worded
from pieces_nb.views.table_text import folded
from pieces_nb.views.terminal import output

if TYPE_CHECKING:
    from pieces_nb.doctor import Check
    from pieces_nb.download.download import Download

PLAIN_EVERY_S = 30.0
_BEGUN_WITHIN_S = 5.0  # how long --no-wait waits for a sign that the server has begun


class TerminalFront:
    """The front end of one command. What is `quiet` or for scripts has no words on the way."""

    front = Front.TERMINAL
    lives_on = False

    def __init__(self, *, quiet: bool = False, for_scripts: bool = False, plain_every_s: float = PLAIN_EVERY_S) -> None:
        self._quiet = quiet
        self._for_scripts = for_scripts
        self._plain_every_s = plain_every_s

    def looks_at(self) -> Check | None:
        return None

    def wait(self, downloads: Sequence[Download], *, timeout_s: float | None) -> None:
        # Before a bar shows: whoever sees one may press Ctrl-C, which an import would hear first.
        from pieces_nb.views import notebook
        from pieces_nb.views.terminal import bars

        if bars.can_move(sys.stderr) and not self._quiet:
            notebook.wait_shown(downloads, timeout_s=timeout_s)
            return
        with self._plain_lines(downloads):
            bars.outcome(downloads, timeout_s=timeout_s)

    @contextmanager
    def _plain_lines(self, downloads: Sequence[Download]) -> Iterator[None]:
        """Say how far they are at the start, every half a minute and at the end: logs have no bars."""
        from pieces_nb.views.words import record

        if self._quiet or self._for_scripts:
            yield
            return

        def tell() -> None:
            for download in downloads:
                output.tell(record(download))

        ended = threading.Event()

        def tell_now_and_then() -> None:
            while not ended.wait(self._plain_every_s):
                tell()

        tell()
        thread = threading.Thread(target=tell_now_and_then, name="pieces-nb-plain-lines", daemon=True)
        thread.start()
        try:
            yield
        finally:
            ended.set()
            thread.join()
            tell()

    def see_begun(self, downloads: Sequence[Download]) -> None:
        """Return when the server has begun each download: a process that ends sooner may have asked for nothing.

        Raises the error of the first that could not begin.
        """
        from pieces_nb.download.download import Downloads

        begun = threading.Event()

        def look(_download: Download | None = None) -> None:
            if all(download.done or download.state.alive for download in downloads):
                begun.set()

        stops = [download.subscribe(look) for download in downloads]
        look()  # one that stalls is not heard again
        try:
            begun.wait(_BEGUN_WITHIN_S)
        except KeyboardInterrupt:
            raise StoppedWaiting(
                "Stopped before the server had said that it has begun; it may download all the same."
            ) from None
        finally:
            for stop in stops:
                stop()
        ended = [download for download in downloads if download.done]
        # One that has ended lets go of whoever waits when its end has been shown, a moment later.
        if len(downloads) > 1:
            Downloads(ended).wait(_BEGUN_WITHIN_S)
        elif ended:
            ended[0].wait(_BEGUN_WITHIN_S)

    def confirm(self, question: str) -> bool:
        if not output.can_ask():
            return False
        if output.ask(question):
            return True
        raise ConfirmationRequired("Nothing is done.")

    def tell(self, *parts: Part) -> None:
        if not self._quiet and not self._for_scripts:
            output.write(folded(worded(parts, self.front), output.width()))
