"""Which server a client talks to: given, set, in the environment or found; and found again when it has moved.

A server is not an address: it is known by the id in its health text.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING, TypeVar

from pieces_nb.errors import PiecesError, PiecesUnreachable, ProtocolError
from pieces_nb.locks import Lock
from pieces_nb.model.models import Model
from pieces_nb.text import Step
from pieces_nb.wire import endpoints
from pieces_nb.wire.addresses import normalize_url

if TYPE_CHECKING:
    from pieces_nb.wire.discovery import Found
    from pieces_nb.wire.http import Transport

log = logging.getLogger(__name__)

VARIABLE = "PIECES_OS_URL"
EMULATOR = "emulator"
_DOCTOR = Step("doctor", "client.doctor()")
_T = TypeVar("_T")


def address_from_environment() -> str:
    """Return what `PIECES_OS_URL` says: an address, `emulator`, or ''."""
    return os.environ.get(VARIABLE, "").strip()


# What speaks HTTP takes longer to import than all the rest: it comes with the first connection.


def _find() -> Found | None:
    from pieces_nb.wire import discovery

    return discovery.find()


def _make_transport(url: str, *, timeout_s: float) -> Transport:
    from pieces_nb.wire.http import Transport

    return Transport(url, timeout_s=timeout_s)


class Connection:
    """The way to one server. Connects at the first use. Thread-safe.

    An address that was given stays. A server that was found and is gone is followed to another port where the same id
    answers, never to another server, and nothing is ever posted twice.
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
        self.named_by = named_by if url else ""  # the variable that names the address
        self._given = normalize_url(url) if url else None
        self._timeout_s = timeout_s
        self._find = find
        self._make_transport = make_transport  # of the address and `timeout_s`; a recording needs one of its own
        # Guards that the three below change together. Held for assignments only, never while something is asked.
        self._lock = Lock()
        self._transport: Transport | None = None
        self._found: Found | None = None
        self._closed = False

    @property
    def closed(self) -> bool:
        """Whether `close()` was called: nothing can be asked any more."""
        return self._closed

    @property
    def given(self) -> bool:
        """Whether somebody named the address."""
        return self._given is not None

    @property
    def address(self) -> str:
        """The address that somebody named; '' where Pieces OS is looked for."""
        return self._given or ""

    @property
    def connected(self) -> bool:
        return self._transport is not None

    @property
    def timeout_s(self) -> float:
        return self._timeout_s

    @timeout_s.setter
    def timeout_s(self, timeout_s: float) -> None:
        self._timeout_s = timeout_s
        transport = self._transport
        if transport is not None:
            transport.timeout_s = timeout_s

    @property
    def transport(self) -> Transport:
        """What calls the server; connects first if need be."""
        transport = self._transport
        return transport if transport is not None else self._settle_on(self._server_now())

    @property
    def found(self) -> Found:
        """The address, the version and the id; connects first if need be."""
        found = self._found
        return found if found is not None else self.connect()

    def _naming(self) -> str:
        return f" ({self.named_by} names this address)" if self.named_by else ""

    def connect(self) -> Found:
        """Return who answers at the given address, at the one found before, or at the one that is found now.

        Raises `PiecesUnreachable` (nothing answers, or another server only), `ProtocolError` (something else than
        Pieces OS does).
        """
        found = self._server_now()
        self._settle_on(found)
        return found

    def _server_now(self) -> Found:
        self._check_open()
        if self._given is not None:
            return self._named_server(self._given)
        if self._found is not None:
            return self._same_server(self._found)
        found = self._find()
        if found is None:
            from pieces_nb.wire import discovery

            raise discovery.nothing_found()
        return found

    def _named_server(self, url: str) -> Found:
        from pieces_nb.wire import discovery

        try:
            return discovery.identify(url, timeout_s=self._timeout_s)
        except PiecesUnreachable as exc:
            raise PiecesUnreachable(
                *exc.parts,
                f"{self._naming()} Is Pieces OS running there? ",
                discovery.EMULATOR_STEP,
                " tries things out without it.",
                url=url,
                timed_out=exc.timed_out,
            ) from exc

    def _same_server(self, known: Found) -> Found:
        """Return the server that was found before, at its address or where it has moved to."""
        from pieces_nb.wire import discovery

        try:
            return discovery.identify(known.url, timeout_s=self._timeout_s)
        except (PiecesUnreachable, ProtocolError) as exc:
            if isinstance(exc, PiecesUnreachable) and exc.connected:
                raise
            others = [found for found in discovery.each_of(self._look()) if found.url != known.url]
            moved = next((found for found in others if found.server_id and found.server_id == known.server_id), None)
            if moved is not None:
                return moved
            if not others:
                raise
            step = discovery.step_to(others[0].url)
            raise PiecesUnreachable(
                *exc.parts, f" Another Pieces OS answers at {others[0].url}: ", step, " goes there.", url=known.url
            ) from exc

    def _look(self) -> Found | None:
        with suppress(PiecesError):
            return self._find()
        return None

    def _settle_on(self, found: Found) -> Transport:
        with self._lock:
            self._check_open()
            self._found = found
            old = self._transport
            if old is not None and old.url == found.url:
                return old
            self._transport = new = self._make_transport(found.url, timeout_s=self._timeout_s)
        if old is not None:
            log.info("Pieces OS has moved from %s to %s", old.url, found.url)
            old.close()
        return new

    def call(self, function: Callable[[Transport], _T]) -> _T:
        """Return `function(transport)`; once more at the new address if a server that was found has moved."""
        transport = self.transport
        try:
            return function(transport)
        except PiecesUnreachable as exc:
            # A call that timed out or broke off may have been done, and says nothing of the server being gone.
            if exc.connected:
                raise
            moved = None if self.given else self._moved(transport)
            if moved is None:
                raise _gone(exc) from exc
            if exc.posted:
                now = f" The server is at {moved.url} now and was not asked to do this: try again."
                raise PiecesUnreachable(*exc.parts, now, url=exc.url) from exc
        return function(moved)

    def _moved(self, gone: Transport) -> Transport | None:
        """Return the way to the same server at another address; None without an id to know it by."""
        from pieces_nb.wire import discovery

        known = self._found
        if known is None or not known.server_id:
            return None
        for found in discovery.each_of(self._look()):
            if found.server_id == known.server_id and found.url != gone.url:
                return self._settle_on(found)
        return None

    def relocate(self, model_id: str) -> tuple[Transport, Model] | None:
        """Return the server's new address and the model there, for a download whose server has gone.

        Only the same server by its id is a continuation; where there is no id to compare, only one in which that model
        is downloading. None as long as something answers, or takes the call, at the old address.
        """
        from pieces_nb.wire import discovery

        known = self._found
        if self.given or self._closed or (known is not None and not _is_gone(known)):
            return None
        for found in discovery.each_of(self._look()):
            with suppress(PiecesError):
                model = self._continuation(found, known, model_id)
                if model is not None:
                    return self._settle_on(found), model
        return None

    def _continuation(self, found: Found, known: Found | None, model_id: str) -> Model | None:
        """Return the model if what was found there carries on with what is known."""
        comparable = known is not None and bool(known.server_id and found.server_id)
        if comparable and known is not None and found.server_id != known.server_id:
            return None
        asking = self._make_transport(found.url, timeout_s=self._timeout_s)
        try:
            model = endpoints.snapshot(asking, model_id)
        finally:
            asking.close()
        return model if comparable or model.downloading else None

    def _check_open(self) -> None:
        if self._closed:
            raise is_closed()

    def close(self) -> None:
        """Drop the connections, for good: what is called after it raises `PiecesUnreachable`."""
        with self._lock:
            self._closed = True
            transport, self._transport, self._found = self._transport, None, None
        if transport is not None:
            transport.close()


def is_closed() -> PiecesUnreachable:
    """Return the error of a client that was closed."""
    from pieces_nb.wire.discovery import LOOK_STEP

    return PiecesUnreachable("This client is closed; ", LOOK_STEP, " makes a new one.")


def _gone(exc: PiecesUnreachable) -> PiecesUnreachable:
    """Return the error for a server that answered before, with what to do next."""
    gone = PiecesUnreachable(*exc.parts, " Is Pieces OS still running? ", _DOCTOR, " says what is wrong.", url=exc.url)
    gone.posted = exc.posted
    return gone


def _is_gone(known: Found) -> bool:
    """Whether nothing takes a call at that address any more, or another program does. A slow answer is an answer."""
    from pieces_nb.wire import discovery

    try:
        discovery.identify(known.url, timeout_s=discovery.PROBE_S)
    except PiecesUnreachable as exc:
        return not exc.connected
    except ProtocolError:
        return True
    return False
