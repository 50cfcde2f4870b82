"""`%pieces_model`: registers the magic and its completion, keeps one client for all its calls.

Imports nothing heavy: the verbs, the client and what they need come with the first use.
"""

from __future__ import annotations

from collections import ChainMap
from typing import TYPE_CHECKING, Any

from IPython.core.magic import Magics, line_cell_magic, magics_class, needs_local_scope, no_var_expand
from traitlets import Float, Unicode

from pieces_nb.errors import PiecesError, StoppedWaiting
from pieces_nb.history import HISTORY
from pieces_nb.text import Front, Part, worded
from pieces_nb.verbs import completion
from pieces_nb.views import cells

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from IPython.core.interactiveshell import InteractiveShell

    from pieces_nb.doctor import Check
    from pieces_nb.download.download import Download
    from pieces_nb.verbs.session import Session

NAME = "pieces_model"


class NotebookFront:
    """The front end that a verb has in a notebook: what it says is printed, what it waits for has bars."""

    front = Front.NOTEBOOK
    lives_on = True

    def wait(self, downloads: Sequence[Download], *, timeout_s: float | None) -> None:
        from pieces_nb.views import notebook

        notebook.wait_shown(downloads, timeout_s=timeout_s)

    def looks_at(self) -> Check | None:
        from pieces_nb.views import outputs

        return outputs.check()

    def confirm(self, _question: str) -> bool:
        return False  # a cell has nobody to ask: it says --yes

    def tell(self, *parts: Part) -> None:
        print(worded(parts, self.front))

    def value_of(self, value: object) -> object:
        """Return the cell's value for what a verb returned: rows as a table; what is said is printed."""
        from pieces_nb.rows import Rows
        from pieces_nb.verbs.front import Downloading, Said

        match value:
            case Said(lines=lines, table=table):
                for parts in lines:
                    self.tell(*parts)
                return None if table is None else self.value_of(table)
            case Rows():
                from pieces_nb.views.frames import Table

                return Table.of(value, front=self.front)
            case Downloading(downloads=downloads, waits=waits, timeout_s=timeout_s):
                # Not at the top: the first table of a kernel waits for nothing that follows downloads.
                from pieces_nb.download.download import Downloads
                from pieces_nb.views import notebook

                if waits:
                    self.wait(downloads, timeout_s=timeout_s)
                else:
                    notebook.follow(downloads)
                return downloads[0] if len(downloads) == 1 else Downloads(downloads)
        return value


@magics_class
class PiecesModelMagics(Magics):
    """Manage the local models of Pieces OS. Settings: `%config PiecesModelMagics.url = "http://127.0.0.1:39300"`."""

    url = Unicode("", help="Address of Pieces OS, or `emulator`; empty: PIECES_OS_URL, or look for it.").tag(
        config=True
    )
    timeout_s = Float(10.0, min=0.05, help="How long one call may take, in seconds.").tag(config=True)
    load_timeout_s = Float(600.0, min=0.05, help="How long a load may take, in seconds.").tag(config=True)
    wait_timeout_s = Float(
        None, allow_none=True, min=0.0, help="How long a cell waits for a download, in seconds; None: to its end."
    ).tag(config=True)
    stall_after_s = Float(30.0, min=0.05, help="Without progress for so long, a download is called stalled.").tag(
        config=True
    )

    def __init__(self, shell: InteractiveShell) -> None:
        super().__init__(shell)
        self._front = NotebookFront()
        self._session: Session | None = None

    @no_var_expand
    @needs_local_scope
    @line_cell_magic
    def pieces_model(self, line: str, cell: str | None = None, local_ns: Mapping[str, Any] | None = None) -> object:
        """Manage the local models of Pieces OS; `%pieces_model help` says how."""
        from pieces_nb.verbs import tokens
        from pieces_nb.verbs.actions import grammar_for

        namespace = ChainMap(dict(local_ns or {}), self.shell.user_ns if self.shell is not None else {})
        try:
            command = grammar_for(Front.NOTEBOOK).parse(tokens.split(line, namespace), cell=cell)
            return self._front.value_of(self.session.run(command))
        except (PiecesError, StoppedWaiting) as exc:
            exc.front, exc.shows_one_line = Front.NOTEBOOK, True
            raise

    @property
    def session(self) -> Session:
        """What the verbs act on, with the settings as they are now."""
        from pieces_nb.client import Settings
        from pieces_nb.verbs.session import Session

        if self._session is None:
            self._session = Session(self._front)
        self._session.set_up(
            url=self.url,
            settings=Settings(
                timeout_s=self.timeout_s,
                load_timeout_s=self.load_timeout_s,
                wait_timeout_s=self.wait_timeout_s,
                stall_after_s=self.stall_after_s,
            ),
        )
        return self._session

    def known_models(self) -> list[Any]:
        """Return the models that Tab may offer, at once: none before the first use."""
        return self._session.known_models() if self._session is not None else []

    def close(self) -> None:
        session, self._session = self._session, None
        if session is not None:
            session.close()


def load(shell: InteractiveShell) -> None:
    """Register the magic and the completion; a second time replaces the first."""
    unload(shell)
    magics = PiecesModelMagics(shell)
    shell.register_magics(magics)
    cells.watch()
    HISTORY.front = Front.NOTEBOOK
    completion.install(shell, magics.known_models)


def unload(shell: InteractiveShell) -> None:
    """Remove both and close the client; nothing of it runs afterwards."""
    manager = shell.magics_manager
    completion.remove(shell)
    HISTORY.front = Front.PYTHON
    manager.magics["line"].pop(NAME, None)
    manager.magics["cell"].pop(NAME, None)
    registered = manager.registry.pop(PiecesModelMagics.__name__, None)
    if isinstance(registered, PiecesModelMagics):
        # The stubs give this list the wrong type.
        shell.configurables[:] = [one for one in shell.configurables if one is not registered]  # type: ignore[comparison-overlap]
        registered.close()
