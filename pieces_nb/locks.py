"""`Lock`: a lock that a child of `fork` finds free. Everything of this package that outlives a call has such ones.

A fork copies a lock as it stands; of the threads only the one that forks. What another held, nobody would release.
"""

from __future__ import annotations

import os
import threading
import weakref


class Lock:
    """A `threading.Lock`, or with `reentrant` an `RLock`, that is free in a child, whoever held it in the parent.

    What it guards is as the fork found it: whoever has more to forget in a child does that himself.
    """

    def __init__(self, *, reentrant: bool = False) -> None:
        self._reentrant = reentrant
        self._renew()
        _listen()
        _living.add(self)

    def _renew(self) -> None:
        lock = threading.RLock() if self._reentrant else threading.Lock()
        self.acquire = lock.acquire
        self.release = lock.release

    def __enter__(self) -> bool:
        return self.acquire()

    def __exit__(self, *_exc: object) -> None:
        self.release()


_living: weakref.WeakSet[Lock] = weakref.WeakSet()
_is_listening = False


def _listen() -> None:
    global _is_listening  # the interpreter takes a hook once, and never back
    if not _is_listening and hasattr(os, "register_at_fork"):
        os.register_at_fork(after_in_child=_renew_all)
    _is_listening = True


def _renew_all() -> None:
    for lock in list(_living):
        lock._renew()
