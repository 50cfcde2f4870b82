"""The bytes of the emulated models: pseudo-random, the same on every machine, addressable by block.

No files and no clock.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

BLOCK_BYTES = 64 * 1024


@dataclass(frozen=True, slots=True)
class Content:
    """The whole file of a model, without holding it."""

    seed: str
    size_bytes: int

    def block(self, index: int) -> bytes:
        """Return the block at `index`; the last one is shorter, one behind it is empty."""
        return _block(self.seed, index, min(BLOCK_BYTES, max(0, self.size_bytes - index * BLOCK_BYTES)))

    def read(self, start: int, end: int) -> Iterator[bytes]:
        """Yield the bytes from `start` to `end` in pieces of at most a block."""
        while start < end:
            index, offset = divmod(start, BLOCK_BYTES)
            piece = self.block(index)[offset : offset + end - start]
            if not piece:
                return
            yield piece
            start += len(piece)

    def sha256(self) -> str:
        """Return the checksum, computed from all blocks (about 3 ms per MB)."""
        digest = hashlib.sha256()
        for piece in self.read(0, self.size_bytes):
            digest.update(piece)
        return digest.hexdigest()


@lru_cache(maxsize=16)  # a slow transfer takes one block in many pieces
def _block(seed: str, index: int, length: int) -> bytes:
    return hashlib.shake_128(f"{seed}\n{index}".encode("utf-8", "surrogatepass")).digest(length)
