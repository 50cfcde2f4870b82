"""Manage the local AI models of Pieces OS from a Jupyter notebook. `%load_ext pieces_nb`, then `%pieces_model help`."""

from __future__ import annotations

# As `typing` has it, whose import would take ten times as long as this package's.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from IPython.core.interactiveshell import InteractiveShell

    from pieces_nb.client import ModelClient
    from pieces_nb.download.download import Download, Downloads
    from pieces_nb.errors import (
        AmbiguousModel,
        BadArguments,
        CancelNotConfirmed,
        ConfirmationRequired,
        DownloadCanceled,
        DownloadFailed,
        ModelNotFound,
        ModelStateError,
        PiecesError,
        PiecesServerError,
        PiecesUnreachable,
        ProtocolError,
        StoppedWaiting,
        WaitTimeout,
    )
    from pieces_nb.model.models import DownloadStatus, Model, ModelDownloadProgress
    from pieces_nb.settings import Settings

__version__ = "0.2.0"

__all__ = [
    "AmbiguousModel",
    "BadArguments",
    "CancelNotConfirmed",
    "ConfirmationRequired",
    "Download",
    "DownloadCanceled",
    "DownloadFailed",
    "DownloadStatus",
    "Downloads",
    "Model",
    "ModelClient",
    "ModelDownloadProgress",
    "ModelNotFound",
    "ModelStateError",
    "PiecesError",
    "PiecesServerError",
    "PiecesUnreachable",
    "ProtocolError",
    "Settings",
    "StoppedWaiting",
    "WaitTimeout",
    "__version__",
]

_HOMES = {
    "ModelClient": "client",
    "Download": "download.download",
    "Downloads": "download.download",
    "DownloadStatus": "model.models",
    "Model": "model.models",
    "ModelDownloadProgress": "model.models",
    "Settings": "settings",
}


def __getattr__(name: str) -> Any:
    """Import a public name when it is first used: `import pieces_nb` costs a millisecond."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    import importlib
    import sys

    if name == "ModelClient" and "ipykernel" in sys.modules:
        importlib.import_module(f"{__name__}.views.cells").watch()
    value = getattr(importlib.import_module(f"{__name__}.{_HOMES.get(name, 'errors')}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)


def load_ipython_extension(shell: InteractiveShell) -> None:
    """Register `%pieces_model` and its completion (`%load_ext pieces_nb`)."""
    from pieces_nb.views.magic import load

    load(shell)


def unload_ipython_extension(shell: InteractiveShell) -> None:
    """Remove them, close what is open, and leave no thread (`%unload_ext pieces_nb`)."""
    from pieces_nb.views.magic import unload

    unload(shell)
