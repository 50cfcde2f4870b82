"""Finding Pieces OS on this machine: which addresses to try, which of them answers as Pieces OS does.

Source: the `.port.txt` files that Pieces OS writes, its port ranges (39300–39333; before version 11: 1000 and 5323),
and its calls `/.well-known/health` and `/.well-known/version`.
"""

from __future__ import annotations

import re
import selectors
import socket
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, suppress
from typing import TYPE_CHECKING, NamedTuple

from pieces_nb.errors import PiecesError, PiecesUnreachable, ProtocolError
from pieces_nb.text import ByFront, Step, printable
from pieces_nb.wire.http import Transport

if TYPE_CHECKING:
    from pathlib import Path

PORTS = (*range(39300, 39334), 1000, 5323)
PROBE_S = 0.3
EMULATOR_STEP = Step("connect emulator", "ModelClient.emulator()", terminal="emulator")
LOOK_STEP = Step("connect", "ModelClient()", terminal="status")
_VERSION = re.compile(r"v?\d+\.\d+\.\d+([-+.][0-9A-Za-z.+-]*)?\Z")
_HEALTH = re.compile(r'"?ok\b[\s:;,=|-]*(?P<server_id>.*?)\s*"?\Z', re.IGNORECASE | re.DOTALL)
_EMULATED = "-emulator"


class Found(NamedTuple):
    """An address at which Pieces OS answers, and the version it says; `others` are ports that answered as well.

    `server_id` tells one server from another, whatever its address; '' where the server says none.
    """

    url: str
    version: str
    others: tuple[int, ...] = ()
    server_id: str = ""

    @property
    def is_emulator(self) -> bool:
        return self.version.endswith(_EMULATED)

    @property
    def kind(self) -> str:
        return "Pieces OS emulator" if self.is_emulator else "Pieces OS"


def identify(url: str, *, timeout_s: float) -> Found:
    """Return what answers at `url`; `ProtocolError` if it is something else than Pieces OS.

    Source: `GET /.well-known/health` (200, a text with OK and the server's id) and `GET /.well-known/version` (a
    semantic version).
    """
    transport = Transport(url, timeout_s=timeout_s)
    try:
        health = transport.get_text("/.well-known/health").strip()
        version = transport.get_text("/.well-known/version").strip().strip('"')
    except PiecesUnreachable:
        raise
    except PiecesError as exc:
        raise _someone_else(url) from exc
    finally:
        transport.close()
    healthy = _HEALTH.match(health)
    if healthy is None or not _VERSION.match(version):
        raise _someone_else(url)
    return Found(url, version, server_id=healthy["server_id"])


def _someone_else(url: str) -> ProtocolError:
    return ProtocolError(
        f"Something answers at {url}, but it is not Pieces OS (its health and version calls do not). "
        "Is the port right? ",
        LOOK_STEP,
        " looks for it, where PIECES_OS_URL is not set.",
        url=url,
    )


def find(ports: Sequence[int] | None = None, *, probe_s: float = PROBE_S) -> Found | None:
    """Return the Pieces OS of this machine with the lowest port, or None. Never an emulator."""
    answers = survey({*ports_in_files(), *PORTS} if ports is None else ports, probe_s=probe_s)
    found = [answer for answer in answers.values() if answer is not None and not answer.is_emulator]
    if not found:
        return None
    others = tuple(int(other.url.rsplit(":", 1)[1]) for other in found[1:])
    return found[0]._replace(others=others)


def survey(ports: Iterable[int], *, probe_s: float = PROBE_S) -> dict[int, Found | None]:
    """Return the ports of 127.0.0.1 at which anything answers, the lowest first; None for what is not Pieces OS.

    All are tried at once, so that this takes a few `probe_s` at most.
    """
    listening = _listening(sorted(set(ports)), probe_s)
    if not listening:
        return {}
    from concurrent.futures import ThreadPoolExecutor  # not at the top: an address that is named is not looked for

    # Answering takes longer than accepting: a desktop program at the end of its start gets some more time.
    with ThreadPoolExecutor(len(listening), thread_name_prefix="pieces-nb-discovery") as pool:
        return dict(zip(listening, pool.map(lambda port: _identified(port, probe_s), listening), strict=True))


def each_of(found: Found | None, *, probe_s: float = PROBE_S) -> Iterator[Found]:
    """Yield the server that was found, then each of the others that answered as well, asked when its turn comes."""
    if found is not None:
        yield found
        for port in found.others:
            other = _identified(port, probe_s)
            if other is not None and not other.is_emulator:
                yield other


def _identified(port: int, probe_s: float) -> Found | None:
    with suppress(PiecesError):
        return identify(f"http://127.0.0.1:{port}", timeout_s=probe_s)
    return None


def _listening(ports: Iterable[int], probe_s: float) -> list[int]:
    """Return, sorted, the ports of 127.0.0.1 that accept a connection within `probe_s`, all tried at once."""
    try:
        return sorted(_accepting(ports, probe_s))
    except OSError as exc:
        raise PiecesUnreachable(f"Nobody can be looked for: {(exc.strerror or str(exc)).lower()}.") from exc


def _accepting(ports: Iterable[int], probe_s: float) -> list[int]:
    open_ports: list[int] = []
    with selectors.DefaultSelector() as selector, ExitStack() as opened:
        for port in ports:
            sock = opened.enter_context(socket.socket(socket.AF_INET, socket.SOCK_STREAM))
            sock.setblocking(False)
            sock.connect_ex(("127.0.0.1", port))
            selector.register(sock, selectors.EVENT_WRITE, port)
        deadline = time.monotonic() + probe_s
        while selector.get_map() and (remaining := deadline - time.monotonic()) > 0:
            for key, _ in selector.select(remaining):
                sock = key.fileobj  # type: ignore[assignment]  # a selector may hold more than sockets; ours holds these
                if sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) == 0:
                    open_ports.append(key.data)
                selector.unregister(sock)
                sock.close()
    return open_ports


def port_files() -> list[Path]:
    """Return where Pieces OS writes its port, which depends on the system and the version."""
    from pathlib import Path

    import platformdirs  # not at the top: an address that is named is not looked for

    folder = Path("com.pieces.os", "production", "Config", ".port.txt")
    if sys.platform == "darwin":
        return [Path.home() / "Library" / folder]
    files = [platformdirs.user_documents_path() / folder]
    if sys.platform == "win32":
        files.append(platformdirs.user_data_path("Pieces OS", "Mesh Intelligent Technologies, Inc") / folder)
    return files


def ports_in_files(files: Iterable[Path] | None = None) -> list[int]:
    """Return the ports that Pieces OS's `.port.txt` files name; stale, empty and `null` ones name none."""
    ports = []
    for file in port_files() if files is None else files:
        with suppress(OSError, ValueError), file.open("rb") as stream:
            port = int(stream.read(64) or b"0")
            if 0 < port < 65536:
                ports.append(port)
    return ports


def step_to(url: str) -> ByFront:
    """Return the next step that goes to the server at `url`."""
    return ByFront(f'`ModelClient("{url}")`', f"`%pieces_model connect {url}`", f"`--url {url}`")


def nothing_found() -> PiecesUnreachable:
    """Return the error for "looked everywhere": where the kernel runs, what was tried, what to do."""
    host = printable(socket.gethostname(), limit=60)
    return PiecesUnreachable(
        f"No Pieces OS answers on {host}, where this runs "
        "(tried 127.0.0.1, ports 39300–39333, 1000, 5323 and those in its .port.txt files). "
        "Start Pieces OS there (https://pieces.app has it), name its address with ",
        step_to("http://127.0.0.1:PORT"),
        ", or try things out with ",
        EMULATOR_STEP,
        ".",
    )
