"""Loaded models: memory that really is taken, and really given back. Knows a file and a size, no model."""

from __future__ import annotations

import mmap
import sys
from pathlib import Path

_CHUNK_BYTES = 4 * 1024 * 1024


def _anonymous(size_bytes: int) -> mmap.mmap:
    # Pages of a mapping of its own return to the system when it is closed; the allocator would be free to keep them.
    if sys.platform == "win32":
        return mmap.mmap(-1, size_bytes)
    return mmap.mmap(-1, size_bytes, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)


def read_into_memory(path: Path) -> mmap.mmap:
    """Return an anonymous mapping that holds the file's bytes. Blocks; raises OSError."""
    size_bytes = path.stat().st_size
    memory = _anonymous(max(1, size_bytes))
    try:
        with path.open("rb", buffering=0) as file, memoryview(memory) as view:
            done = 0
            while done < size_bytes:
                count = file.readinto(view[done : done + _CHUNK_BYTES])
                if not count:
                    raise OSError(0, "The model's file is shorter than it was.")
                done += count
    except BaseException:
        memory.close()
        raise
    return memory
