"""A stand-in for Pieces OS: the server's side of the Model API, which does the work for real in miniature.

It imports nothing of the client's, so that no mistake is shared. `Emulator` is started and closed by whoever makes it;
`shared()` is the one of this process.
"""

from pieces_nb.emulator.errors import EmulatorError
from pieces_nb.emulator.server import Emulator, shared
from pieces_nb.emulator.settings import DEFAULT_RATE_BYTES_PER_S, ENGINE, Faults, Switches

__all__ = ["DEFAULT_RATE_BYTES_PER_S", "ENGINE", "Emulator", "EmulatorError", "Faults", "Switches", "shared"]
