"""`%pieces_model`: registers the magic and its completion, keeps one client for all its calls.

Imports nothing heavy: the grammar, the client and what they need come with the first use.
"""

from __future__ import annotations

from collections import ChainMap
from typing import TYPE_CHECKING, Any

from IPython.core.magic import Magics, line_cell_magic, magics_class, needs_local_scope, no_var_expand
from traitlets import Float, Unicode

from pieces_nb.errors import PiecesError, StoppedWaiting
from pieces_nb.verbs import completion
from pieces_nb.views import cells

if TYPE_CHECKING:
    from collections.abc import Mapping

    from IPython.core.interactiveshell import InteractiveShell

    from pieces_nb.verbs.actions import Commands

NAME = "pieces_model"


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
        self._commands: Commands | None = None

    @no_var_expand
    @needs_local_scope
    @line_cell_magic
    def pieces_model(self, line: str, cell: str | None = None, local_ns: Mapping[str, Any] | None = None) -> object:
        """Manage the local models of Pieces OS; `%pieces_model help` says how."""
        from pieces_nb.verbs import tokens

        namespace = ChainMap(dict(local_ns or {}), self.shell.user_ns if self.shell is not None else {})
        try:
            return self.commands.run_line(tokens.split(line, namespace), cell=cell)
        except (PiecesError, StoppedWaiting) as exc:
            exc.shows_one_line = True
            raise

    @property
    def commands(self) -> Commands:
        """What the verbs do, with the settings as they are now."""
        from pieces_nb.verbs.actions import Commands, Settings

        if self._commands is None:
            self._commands = Commands(prog=f"%{NAME}")
        self._commands.set_up(
            url=self.url,
            settings=Settings(
                timeout_s=self.timeout_s,
                load_timeout_s=self.load_timeout_s,
                wait_timeout_s=self.wait_timeout_s,
                stall_after_s=self.stall_after_s,
            ),
        )
        return self._commands

    def known_models(self) -> list[Any]:
        """Return the models that Tab may offer, at once: none before the first use."""
        return self._commands.known_models() if self._commands is not None else []

    def close(self) -> None:
        commands, self._commands = self._commands, None
        if commands is not None:
            commands.close()


def load(shell: InteractiveShell) -> None:
    """Register the magic and the completion; a second time replaces the first."""
    unload(shell)
    magics = PiecesModelMagics(shell)
    shell.register_magics(magics)
    cells.watch()
    completion.install(shell, magics.known_models, _field_names())


def _field_names() -> list[str]:
    from pieces_nb.model.fields import FIELDS

    return list(FIELDS)


def unload(shell: InteractiveShell) -> None:
    """Remove both and close the client; nothing of it runs afterwards."""
    manager = shell.magics_manager
    completion.remove(shell)
    manager.magics["line"].pop(NAME, None)
    manager.magics["cell"].pop(NAME, None)
    registered = manager.registry.pop(PiecesModelMagics.__name__, None)
    if isinstance(registered, PiecesModelMagics):
        # The stubs give this list the wrong type.
        shell.configurables[:] = [one for one in shell.configurables if one is not registered]  # type: ignore[comparison-overlap]
        registered.close()
