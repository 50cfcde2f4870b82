"""Which server a client talks to: given, set, in the environment or found; and found again when it has moved."""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING, TypeVar

from pieces_nb.errors import PiecesError, PiecesUnreachable
from pieces_nb.model.models import Model
from pieces_nb.wire import endpoints
from pieces_nb.wire.addresses import normalize_url

if TYPE_CHECKING:
    from pieces_nb.wire.discovery import Found
    from pieces_nb.wire.http import Transport

log = logging.getLogger(__name__)

VARIABLE = "PIECES_OS_URL"
EMULATOR = "emulator"
_T = TypeVar("_T")


def address_from_environment() -> str:
    """Return what `PIECES_OS_URL` says: an address, `emulator`, or ''."""
    return os.environ.get(VARIABLE, "").strip()


# requests takes longer to import than all the rest: it comes with the first connection.


def _find() -> Found | None:
    from pieces_nb.wire import discovery

    return discovery.find()


def _make_transport(url: str, *, timeout_s: float) -> Transport:
    from pieces_nb.wire.http import Transport

    return Transport(url, timeout_s=timeout_s)


class Connection:
    """The way to one server. Connects at the first use. Thread-safe.

    An address that was given stays; one that was found is looked for again when nothing answers there any more.
    """

    def __init__(
        self,
        url: str | None = None,
        *,
        timeout_s: float = 10.0,
        named_by: str = "",
        find: Callable[[], Found | None] = _find,
        make_transport: Callable[..., Transport] = _make_transport,
    ) -> None:
        self._named_by = f" ({named_by} names this address)" if named_by and url else ""
        self._given = normalize_url(url) if url else None
        self._timeout_s = timeout_s
        self._find = find
        self._make_transport = make_transport  # of the address and `timeout_s`; a recording needs one of its own
        self._lock = threading.Lock()  # guards the two below
        self._transport: Transport | None = None
        self._found: Found | None = None

    @property
    def given(self) -> bool:
        """Whether somebody named the address."""
        return self._given is not None

    @property
    def connected(self) -> bool:
        return self._transport is not None

    @property
    def timeout_s(self) -> float:
        return self._timeout_s

    @timeout_s.setter
    def timeout_s(self, timeout_s: float) -> None:
        self._timeout_s = timeout_s
        if self._transport is not None:
            self._transport.timeout_s = timeout_s

    @property
    def transport(self) -> Transport:
        """The line to the server; connects first if need be."""
        if self._transport is None:
            self.connect()
        assert self._transport is not None
        return self._transport

    @property
    def found(self) -> Found:
        """The address and the version; connects first if need be."""
        if self._found is None:
            self.connect()
        assert self._found is not None
        return self._found

    def connect(self) -> Found:
        """Return who answers at the given address, or at the one that is found now.

        Raises `PiecesUnreachable` (nothing answers), `ProtocolError` (something else than Pieces OS does).
        """
        from pieces_nb.wire import discovery

        if self._given is not None:
            try:
                found = discovery.identify(self._given, timeout_s=self._timeout_s)
            except PiecesUnreachable as exc:
                raise PiecesUnreachable(
                    f"{exc}{self._named_by} Is Pieces OS running there? "
                    "`%pieces_model connect emulator` tries things out without it.",
                    url=self._given,
                    timed_out=exc.timed_out,
                ) from exc
        else:
            looked = self._find()
            if looked is None:
                raise discovery.nothing_found()
            found = looked
        self._settle_on(found)
        return found

    def _settle_on(self, found: Found) -> Transport:
        with self._lock:
            self._found = found
            old = self._transport
            if old is not None and old.url == found.url:
                return old
            self._transport = new = self._make_transport(found.url, timeout_s=self._timeout_s)
        if old is not None:
            old.close()
        return new

    def call(self, function: Callable[[Transport], _T]) -> _T:
        """Return `function(transport)`; once more at the new address if a server that was found has moved."""
        transport = self.transport
        try:
            return function(transport)
        except PiecesUnreachable as exc:
            # A call that may have arrived may have been done: it is not made twice.
            if self.given or exc.connected:
                raise
            moved = self._look_again(transport)
            if moved is None:
                raise
        return function(moved)

    def _look_again(self, gone: Transport) -> Transport | None:
        with suppress(PiecesError):
            found = self._find()
            if found is not None and found.url != gone.url:
                log.info("Pieces OS has moved from %s to %s", gone.url, found.url)
                return self._settle_on(found)
        return None

    def relocate(self, model_id: str) -> tuple[Transport, Model] | None:
        """Return the server's new address and the model there, for a download whose server has gone.

        Taken only if the model with that id is there: another server on the machine is no continuation.
        """
        if self.given:
            return None
        with suppress(PiecesError):
            found = self._find()
            if found is None:
                return None
            asking = self._make_transport(found.url, timeout_s=self._timeout_s)
            try:
                model = endpoints.snapshot(asking, model_id)
            finally:
                asking.close()
            return self._settle_on(found), model
        return None

    def close(self) -> None:
        with self._lock:
            transport, self._transport, self._found = self._transport, None, None
        if transport is not None:
            transport.close()
