"""What a process does with its emulators when it forks and when a signal ends it. Starts and closes none.

A child of a fork must not keep its parent's lock and port. A process that dies of SIGTERM or SIGHUP runs no clean-up of
Python's, so a temporary home would stay.
"""

from __future__ import annotations

import os
import signal
import threading
import weakref
from collections.abc import Iterable
from types import FrameType
from typing import Protocol

_SIGNALS = tuple(getattr(signal, name) for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name))


class Resident(Protocol):
    """An emulator, seen from here."""

    def let_go(self) -> None:
        """Give up what the child of a fork shares with its parent."""

    def remove_temporary_home(self) -> None:
        """Remove the temporary home, if this process has one."""


_residents: weakref.WeakSet[Resident] = weakref.WeakSet()
_changing = threading.Lock()  # Guards the set and the two below.
_hooked = False
_ours: set[int] = set()  # the signals that we handle now


def add(resident: Resident) -> None:
    """Look after an emulator from now on."""
    global _hooked
    with _changing:
        if not _hooked and hasattr(os, "register_at_fork"):
            os.register_at_fork(after_in_child=_after_fork)
            _hooked = True
        _residents.add(resident)
        _handle_signals()


def discard(resident: Resident) -> None:
    """Look after it no more; one that is unknown is fine."""
    with _changing:
        _residents.discard(resident)
        if not _residents:
            _leave_signals()


def replace_by_nothing(descriptors: Iterable[int]) -> None:
    """Let the descriptors stand for nothing, without making their numbers free.

    Objects that own them may close them later, when somebody else could have got a number that was freed.
    """
    nothing = os.open(os.devnull, os.O_RDWR)
    for descriptor in descriptors:
        os.dup2(nothing, descriptor, inheritable=False)
    os.close(nothing)


def _after_fork() -> None:
    global _changing
    _changing = threading.Lock()  # Another thread of the parent may have held it.
    for resident in tuple(_residents):
        resident.let_go()
    _residents.clear()
    _leave_signals()


def _handle_signals() -> None:
    # Only where the signal would end the process anyway, and only the main thread may say what signals do.
    if threading.current_thread() is not threading.main_thread():
        return
    for number in _SIGNALS:
        if signal.getsignal(number) is signal.SIG_DFL:
            signal.signal(number, _end)
            _ours.add(number)


def _leave_signals() -> None:
    if threading.current_thread() is not threading.main_thread():
        return
    for number in tuple(_ours):
        if signal.getsignal(number) is _end:
            signal.signal(number, signal.SIG_DFL)
        _ours.discard(number)


def _end(number: int, _: FrameType | None) -> None:
    # Python calls this between two steps of the main thread, so a long call into C delays the end by its length.
    for resident in tuple(_residents):
        resident.remove_temporary_home()
    signal.signal(number, signal.SIG_DFL)
    os.kill(os.getpid(), number)
