"""The folder an emulator keeps its files in: a marker, a state file, files of bytes, a lock. Knows no model's rules.

Names of files are hashes of ours: nothing that came over the wire is part of a path, and no file of another name is
ever written, read or removed.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import shutil
import sys
import tempfile
import time
from pathlib import Path
from typing import IO, Any

from pieces_nb.emulator.errors import EmulatorError
from pieces_nb.emulator.fields import uuid_text

_TEMPORARY_PREFIX = "pieces-nb-emulator-"
_LOCK = "lock"
_MARKER = ".pieces-nb-emulator"
_MARK = b"A home of the pieces_nb emulator, which creates, replaces and removes files in here.\n"
_TEMPORARY_MARK = b"A temporary home of the pieces_nb emulator, which removes this folder.\n"
_STATE = "state.json"
_NEW_STATE = "state.json.new"
_MODELS = "models"
_ENGINE = "engine"
_FILE_NAME = re.compile(r"[0-9a-f]{32}\.(bin|part)")
_ABANDONED_AFTER_S = 60.0
_IN_USE = "The emulator's home {} is in use by another emulator. Choose another folder with --home, or end that one."
_NOT_OURS = (
    "The folder {} is not an emulator's home and is not empty; nothing in it was touched. "
    "Choose an empty folder with --home, or one that does not exist yet."
)


class Files:
    """Files of bytes in one folder, found by keys of any kind."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def file(self, key: str) -> Path:
        """Return where the complete file is, or would be."""
        name = hashlib.sha256(key.encode("utf-8", "surrogatepass")).hexdigest()[:32]
        return self._folder / f"{name}.bin"

    def part(self, key: str) -> Path:
        """Return where the unfinished file is, or would be."""
        return self.file(key).with_suffix(".part")

    def holds(self, key: str, size_bytes: int) -> bool:
        """Tell whether the complete file is there. Only checked files get that name."""
        try:
            return self.file(key).stat().st_size == size_bytes
        except OSError:
            return False

    def remove(self, key: str) -> None:
        """Remove both files, where there are any. Raises OSError."""
        self.part(key).unlink(missing_ok=True)
        self.file(key).unlink(missing_ok=True)

    def keep_only(self, key: str | None) -> None:
        """Remove the complete files of other keys. One that cannot be removed stays and takes space, no more."""
        kept = None if key is None else self.file(key)
        for path in self._folder.glob("*.bin"):
            if _FILE_NAME.fullmatch(path.name) and path != kept:
                with contextlib.suppress(OSError):
                    path.unlink()

    def set_up(self) -> None:
        """Make the folder, and remove the unfinished files of a run before. Raises OSError."""
        self._folder.mkdir(exist_ok=True)
        for path in self._folder.glob("*.part"):
            if _FILE_NAME.fullmatch(path.name):
                path.unlink(missing_ok=True)


class Home:
    """A home that is ours until `close()`; a temporary one then goes. The lock goes with the process."""

    def __init__(self, path: Path | None) -> None:
        self.temporary = path is None
        try:
            if path is None:
                _remove_abandoned()
                path = Path(tempfile.mkdtemp(prefix=_TEMPORARY_PREFIX))
            self.path = path.absolute()
            self.models = Files(self.path / _MODELS)
            self.engine = Files(self.path / _ENGINE)
            self._claim()
            self._lock = (self.path / _LOCK).open("ab")
        except OSError as exc:
            raise _unusable(path, exc) from exc
        if not _try_lock(self._lock):
            self._lock.close()
            raise EmulatorError(_IN_USE.format(self.path))
        try:
            self._set_up()
        except OSError as exc:
            self.close()
            raise _unusable(path, exc) from exc

    def _claim(self) -> None:
        """Mark the folder as ours, or raise EmulatorError without having touched it."""
        self.path.mkdir(parents=True, exist_ok=True)
        mark = _TEMPORARY_MARK if self.temporary else _MARK
        found = _mark(self.path)
        if found is None and any(self.path.iterdir()) and not _is_unmarked_home(self.path):
            raise EmulatorError(_NOT_OURS.format(self.path))
        if found != mark:
            (self.path / _MARKER).write_bytes(mark)

    def _set_up(self) -> None:
        self.models.set_up()
        self.engine.set_up()
        (self.path / _NEW_STATE).unlink(missing_ok=True)

    def free_bytes(self) -> int:
        """Return what the disk has left for us."""
        return shutil.disk_usage(self.path).free

    def read_state(self) -> dict[str, Any]:
        """Return what `write_state` stored last, or nothing yet."""
        path = self.path / _STATE
        try:
            state = json.loads(path.read_bytes())
        except FileNotFoundError:
            return {}
        except (OSError, ValueError, RecursionError) as exc:
            raise EmulatorError(f"The emulator's state file {path} cannot be read: {exc}. Move it away.") from exc
        if not isinstance(state, dict):
            raise EmulatorError(f"The emulator's state file {path} does not hold an object. Move it away.")
        return state

    def write_state(self, state: dict[str, Any]) -> None:
        """Replace the state in one step, so that a crash leaves the old or the new one."""
        new = self.path / _NEW_STATE
        with new.open("w", encoding="ascii") as file:
            json.dump(state, file, allow_nan=False)
            file.flush()
            os.fsync(file.fileno())
        new.replace(self.path / _STATE)

    def let_go(self) -> None:
        """Close our end of the lock. In the child of a fork the parent's holds it on."""
        self._lock.close()

    def close(self) -> None:
        """Release the lock; remove a temporary home."""
        self.let_go()
        self.remove_temporary()

    def remove_temporary(self) -> None:
        """Remove the folder if it is a temporary one. Again is fine."""
        if self.temporary:
            shutil.rmtree(self.path, ignore_errors=True)


def _unusable(path: Path | None, exc: OSError) -> EmulatorError:
    return EmulatorError(f"The emulator's home {path} cannot be used: {exc.strerror or exc}.")


def _mark(path: Path) -> bytes | None:
    """Return the folder's marker, None where there is none of ours."""
    marker = path / _MARKER
    try:
        found = marker.read_bytes() if _is_plain_file(marker) else None
    except OSError:
        return None
    return found if found in (_MARK, _TEMPORARY_MARK) else None


def _is_unmarked_home(path: Path) -> bool:
    """Tell whether a folder is a home as it was made before there was a marker: exactly our files, each as we write it.

    Only then is there nothing of anybody else's that we could overwrite or remove.
    """
    entries = {entry.name: entry for entry in path.iterdir()}
    if not {_LOCK, _MODELS, _STATE} <= entries.keys() <= {_LOCK, _MODELS, _STATE, _NEW_STATE}:
        return False
    models = entries.pop(_MODELS)
    if models.is_symlink() or not models.is_dir() or not all(_is_plain_file(entry) for entry in entries.values()):
        return False
    if entries[_LOCK].stat().st_size:
        return False
    if not all(_FILE_NAME.fullmatch(file.name) and _is_plain_file(file) for file in models.iterdir()):
        return False
    return _is_our_state(entries[_STATE])


def _is_plain_file(path: Path) -> bool:
    return path.is_file() and not path.is_symlink()


def _is_our_state(path: Path) -> bool:
    try:
        state = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError):
        return False
    if not isinstance(state, dict) or state.keys() != {"instance", "custom", "deleted"}:
        return False
    lists = (state["custom"], state["deleted"])
    return uuid_text(state["instance"]) is not None and all(isinstance(found, list) for found in lists)


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
            if _mark(path) != _TEMPORARY_MARK:
                continue  # A home that somebody gave may have such a name, too.
            with (path / _LOCK).open("r+b") as lock:
                if _try_lock(lock):
                    shutil.rmtree(path, ignore_errors=True)
