"""The emulator as a thing one starts and closes: its thread, its loop, its port. No rules and no wire in here.

tornado is imported when an emulator starts, not before.
"""

from __future__ import annotations

import asyncio
import atexit
import contextlib
import errno
import os
import selectors
import socket
import threading
from collections.abc import Mapping, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from pieces_nb.emulator import process
from pieces_nb.emulator.catalogue import Seed, built_in, from_dicts
from pieces_nb.emulator.errors import EmulatorError, Refused
from pieces_nb.emulator.home import Home
from pieces_nb.emulator.settings import DEFAULT_RATE_BYTES_PER_S, NO_FAULTS, Faults, Settings, Switches

if TYPE_CHECKING:
    from tornado.httpserver import HTTPServer

    from pieces_nb.emulator.http import Socket
    from pieces_nb.emulator.replay import Recording
    from pieces_nb.emulator.service import Service

THREAD_NAME = "pieces-nb-emulator"
_ADDRESS = "127.0.0.1"
# Where Pieces OS is looked for; a port of our own choice is none of these.
_RESERVED_PORTS = frozenset((1000, 5323, *range(39300, 39334)))
_BACKLOG = 128
_CLOSE_SOCKETS_S = 0.2
_JOIN_S = 15.0


class Emulator:
    """A stand-in for Pieces OS in this process. Its methods may be called from any thread.

    `home` is a folder whose state survives; without one a temporary folder goes with `close()`. `rate_bytes_per_s` is
    each download's own rate, None as fast as it goes. `faults` are for all models, or a mapping from id, `unique` or
    "*". `models` is a catalogue in place of the built-in one, see `pieces_nb.emulator.catalogue`; with a `recording`,
    see `pieces_nb.emulator.replay`, its model is the only one. `rate_bytes_per_s`, `switches` and `faults` may be
    assigned while it runs, and act at once.
    """

    def __init__(
        self,
        home: str | os.PathLike[str] | None = None,
        port: int = 0,
        rate_bytes_per_s: float | None = DEFAULT_RATE_BYTES_PER_S,
        switches: Switches | None = None,
        faults: Faults | Mapping[str, Faults] = NO_FAULTS,
        models: Sequence[Mapping[str, Any]] | None = None,
        recording: Recording | None = None,
    ) -> None:
        self._wanted_home = None if home is None else Path(home)
        self._wanted_port = port
        self._models = models
        self._recording = recording
        self._settings = Settings(rate_bytes_per_s, switches or Switches(), faults)
        self._state = threading.RLock()  # Guards the fields below: start and close exclude each other.
        self._thread: threading.Thread | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stop: asyncio.Event | None = None
        self._home: Home | None = None
        self._listening: socket.socket | None = None
        self._selector: selectors.BaseSelector | None = None
        self._port = 0
        self._pid = 0

    @property
    def rate_bytes_per_s(self) -> float | None:
        """Bytes a second of each download; None is as fast as it goes."""
        return self._settings.rate_bytes_per_s

    @rate_bytes_per_s.setter
    def rate_bytes_per_s(self, value: float | None) -> None:
        self._settings.rate_bytes_per_s = value

    @property
    def switches(self) -> Switches:
        """Which of several correct servers this is."""
        return self._settings.switches

    @switches.setter
    def switches(self, value: Switches) -> None:
        self._settings.switches = value

    @property
    def faults(self) -> Faults | Mapping[str, Faults]:
        """What goes wrong."""
        return self._settings.faults

    @faults.setter
    def faults(self, value: Faults | Mapping[str, Faults]) -> None:
        self._settings.faults = value

    @property
    def url(self) -> str:
        """The address; of one that does not run, an EmulatorError."""
        if not self.running:
            raise EmulatorError("The emulator does not run; start() starts it.")
        return f"http://{_ADDRESS}:{self._port}"

    @property
    def port(self) -> int:
        """The port it listens on, or listened on."""
        return self._port

    @property
    def home(self) -> Path:
        """The folder its files are in."""
        if self._home is None:
            raise EmulatorError("The emulator has not been started; it has no home yet.")
        return self._home.path

    @property
    def running(self) -> bool:
        """Whether it answers, in this process: a fork has the object but not the thread."""
        return self._thread is not None and self._thread.is_alive() and self._pid == os.getpid()

    def start(self) -> Self:
        """Start, and return when it listens. One that runs stays as it is. Raises EmulatorError."""
        with self._state:
            if not self.running:
                self._start()
        return self

    def _start(self) -> None:
        self._pid = os.getpid()
        seeds = built_in() if self._models is None else from_dicts(self._models)
        ready = _Ready()
        with contextlib.ExitStack() as undo:
            process.add(self)
            undo.callback(process.discard, self)
            self._listening = listening = undo.enter_context(_bind(self._wanted_port))
            self._home = Home(self._wanted_home)
            undo.callback(self._home.close)
            self._port = listening.getsockname()[1]
            arguments = (seeds, listening, self._home, ready)
            self._thread = threading.Thread(target=self._run, args=arguments, name=THREAD_NAME, daemon=True)
            self._thread.start()
            undo.callback(self._end_thread, ready)
            ready.event.wait()
            if ready.error is not None:
                raise _start_error(ready.error)
            undo.pop_all()
        atexit.register(self.close)

    def close(self) -> None:
        """Stop answering, end the downloads, free the memory, remove a temporary home. Again is fine."""
        with self._state:
            if self._thread is None or self._pid != os.getpid():
                return
            atexit.unregister(self.close)
            self._end_thread(None)
            if self._home is not None:
                self._home.close()
            process.discard(self)

    def remove_temporary_home(self) -> None:
        """Remove the folder of a process that is about to end by a signal; nothing else is in order then."""
        if self._home is not None and self._pid == os.getpid():
            self._home.remove_temporary()

    def let_go(self) -> None:
        """Give up, in the child of a fork, what it shares with its parent: the lock, the port and the connections."""
        global _sharing
        self._state, _sharing = threading.RLock(), threading.Lock()  # Another thread of the parent may have held them.
        if self._selector is not None and self._selector.get_map():
            connections = [key.fd for key in self._selector.get_map().values()]
            self._selector.close()  # Or what is done with it here would change what the parent's loop listens to.
            process.replace_by_nothing(connections)
        if self._listening is not None:
            self._listening.close()
        if self._home is not None:
            self._home.let_go()

    def _end_thread(self, starting: _Ready | None) -> None:
        if starting is not None:
            starting.event.wait(_JOIN_S)
        if self._loop is not None and self._stop is not None:
            with contextlib.suppress(RuntimeError):  # The loop ended by itself.
                self._loop.call_soon_threadsafe(self._stop.set)
        if self._thread is not None:
            self._thread.join(_JOIN_S)
            self._thread = None

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _run(self, seeds: list[Seed], listening: socket.socket, home: Home, ready: _Ready) -> None:
        # tornado needs a selector loop; Windows' default is another one.
        try:
            with asyncio.Runner(loop_factory=self._new_loop) as runner:
                runner.run(self._serve(seeds, listening, home, ready))
        except BaseException as exc:  # noqa: BLE001  # The top of a thread; start() raises it again.
            ready.error = exc
        finally:
            ready.event.set()

    def _new_loop(self) -> asyncio.AbstractEventLoop:
        self._selector = selectors.DefaultSelector()
        return asyncio.SelectorEventLoop(self._selector)

    async def _serve(self, seeds: list[Seed], listening: socket.socket, home: Home, ready: _Ready) -> None:
        from tornado.httpserver import HTTPServer

        from pieces_nb.emulator import http

        self._loop = asyncio.get_running_loop()
        self._stop = asyncio.Event()
        with ThreadPoolExecutor(2, thread_name_prefix=f"{THREAD_NAME}-disk") as executor:
            service = self._service(seeds, home, executor)
            application, open_sockets = http.application(service, port=self._port)
            server = HTTPServer(application, max_body_size=http.MAX_READ_BYTES)
            server.add_socket(listening)
            ready.event.set()
            try:
                await self._stop.wait()
            finally:
                await _shut_down(server, service, open_sockets)

    def _service(self, seeds: list[Seed], home: Home, executor: Executor) -> Service:
        if self._recording is not None:
            from pieces_nb.emulator.replay import ReplayService

            return ReplayService(self._recording, home=home, settings=self._settings, executor=executor)
        from pieces_nb.emulator.service import Service

        return Service(seeds, home=home, settings=self._settings, executor=executor)


class _Ready:
    """What the thread tells start(): that it listens, or why it does not."""

    def __init__(self) -> None:
        self.event = threading.Event()
        self.error: BaseException | None = None


async def _shut_down(server: HTTPServer, service: Service, open_sockets: set[Socket]) -> None:
    server.stop()
    await service.close()
    deadline = asyncio.get_running_loop().time() + _CLOSE_SOCKETS_S
    while open_sockets and asyncio.get_running_loop().time() < deadline:
        await asyncio.sleep(0.01)
    for open_socket in tuple(open_sockets):
        open_socket.cut()
    await server.close_all_connections()
    await asyncio.sleep(0)


def _start_error(error: BaseException) -> BaseException:
    if isinstance(error, EmulatorError | ValueError):
        return error
    if isinstance(error, Refused | OSError):
        return EmulatorError(f"The emulator cannot start: {error}")
    return error


def _listen(port: int) -> socket.socket:
    """Return a socket that listens on the loopback address. Raises OSError, and OverflowError for what is no port."""
    listening = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    try:
        if os.name == "posix":  # Elsewhere it would let two emulators have one port.
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.setblocking(False)
        listening.bind((_ADDRESS, port))
        listening.listen(_BACKLOG)
    except BaseException:
        listening.close()
        raise
    return listening


def _bind(port: int) -> socket.socket:
    """Return a listening socket; port 0 is any free one that Pieces OS is not looked for at."""
    with contextlib.ExitStack() as passed_over:
        try:
            listening = _listen(port)
            while not port and listening.getsockname()[1] in _RESERVED_PORTS:
                passed_over.enter_context(listening)  # Open meanwhile, or the system offers it again.
                listening = _listen(port)
        except OSError as exc:
            why = "is in use already" if exc.errno == errno.EADDRINUSE else f"cannot be used: {exc.strerror or exc}"
            raise EmulatorError(f"Port {port} of {_ADDRESS} {why}. Choose another one, or 0 for any free.") from exc
        except OverflowError as exc:
            raise EmulatorError(f"{port} is no port; it must be 0 to 65535.") from exc
        return listening


_shared: Emulator | None = None
_sharing = threading.Lock()  # Guards _shared: only one emulator is started for many callers.


def shared() -> Emulator:
    """Return this process's emulator, started by the first call; a new one if that was closed, or after a fork."""
    global _shared
    with _sharing:
        if _shared is None or not _shared.running:
            _shared = Emulator().start()
        return _shared
