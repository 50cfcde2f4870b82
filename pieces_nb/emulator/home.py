"""The folder an emulator keeps its files in: one state file, the models' files, one lock. Knows no model's rules.

Names of files are hashes of ours; nothing that came over the wire is part of a path.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import sys
import tempfile
import time
from pathlib import Path
from typing import IO, Any

from pieces_nb.emulator.errors import EmulatorError

_TEMPORARY_PREFIX = "pieces-nb-emulator-"
_LOCK = "lock"
_ABANDONED_AFTER_S = 60.0
_IN_USE = "The emulator's home {} is in use by another emulator. Choose another folder with --home, or end that one."


class Home:
    """A home that is ours until `close()`; a temporary one then goes. The lock goes with the process."""

    def __init__(self, path: Path | None) -> None:
        self.temporary = path is None
        try:
            if path is None:
                _remove_abandoned()
                path = Path(tempfile.mkdtemp(prefix=_TEMPORARY_PREFIX))
            self.path = path.absolute()
            self._models = self.path / "models"
            self._models.mkdir(parents=True, exist_ok=True)
            self._lock = (self.path / _LOCK).open("ab")
        except OSError as exc:
            raise EmulatorError(f"The emulator's home {path} cannot be used: {exc.strerror or exc}.") from exc
        if not _try_lock(self._lock):
            self._lock.close()
            raise EmulatorError(_IN_USE.format(self.path))
        for torn in (*self._models.glob("*.part"), *self.path.glob("state.json.new")):
            torn.unlink(missing_ok=True)

    def file(self, model_id: str) -> Path:
        """Return where the model's complete file is, or would be."""
        name = hashlib.sha256(model_id.encode("utf-8", "surrogatepass")).hexdigest()[:32]
        return self._models / f"{name}.bin"

    def part(self, model_id: str) -> Path:
        """Return where the model's unfinished file is, or would be."""
        return self.file(model_id).with_suffix(".part")

    def holds(self, model_id: str, size_bytes: int) -> bool:
        """Tell whether the complete file is there. Only checked files get that name."""
        try:
            return self.file(model_id).stat().st_size == size_bytes
        except OSError:
            return False

    def free_bytes(self) -> int:
        """Return what the disk has left for us."""
        return shutil.disk_usage(self._models).free

    def read_state(self) -> dict[str, Any]:
        """Return what `write_state` stored last, or nothing yet."""
        path = self.path / "state.json"
        try:
            state = json.loads(path.read_bytes())
        except FileNotFoundError:
            return {}
        except (OSError, ValueError) as exc:
            raise EmulatorError(f"The emulator's state file {path} cannot be read: {exc}. Move it away.") from exc
        if not isinstance(state, dict):
            raise EmulatorError(f"The emulator's state file {path} holds no object. Move it away.")
        return state

    def write_state(self, state: dict[str, Any]) -> None:
        """Replace the state in one step, so that a crash leaves the old or the new one."""
        new = self.path / "state.json.new"
        with new.open("w", encoding="ascii") as file:
            json.dump(state, file)
            file.flush()
            os.fsync(file.fileno())
        new.replace(self.path / "state.json")

    def close(self) -> None:
        """Release the lock; remove a temporary home."""
        self._lock.close()
        if self.temporary:
            shutil.rmtree(self.path, ignore_errors=True)


def _try_lock(file: IO[bytes]) -> bool:
    try:
        if sys.platform == "win32":
            import msvcrt

            msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)
        else:
            import fcntl

            fcntl.flock(file.fileno(), fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


def _remove_abandoned() -> None:
    # A killed process leaves its temporary home, up to some hundred MB. Its lock is free then; the age keeps us off one
    # that is just being made.
    for path in Path(tempfile.gettempdir()).glob(f"{_TEMPORARY_PREFIX}*"):
        with contextlib.suppress(OSError):
            if path.is_symlink() or time.time() - path.stat().st_mtime < _ABANDONED_AFTER_S:
                continue
            with (path / _LOCK).open("r+b") as lock:
                if _try_lock(lock):
                    shutil.rmtree(path, ignore_errors=True)
