"""One download, recorded as JSON lines: what was asked, what the server said, and when. The emulator replays it.

Each line is an object with `t`, the seconds since the first one, and `kind`:

    trace     the first line: `format` (1), `program`, `server` (its version), `model` (the id)
    request   `n` counts them; `method`, `path` with `{model}` for the id
    answer    to request `n`: `status` and `body` (JSON or text); or `error` and `words` where none came
    snapshot  the answer to `GET /model/{model}`: `model` as it came, or `same` (true) if nothing has changed
    socket    number `n`: `event` is opening, open or ended; `words` on why it ended
    frame     over socket `n`: `data` as it came (JSON), or `text` if it is none
    end       the last line: `status`, `words`, and how many `frames` were left out for want of room

Only calls about this one model are recorded, no list of others. The home folder, the user's names and those of the
machines are taken out of all texts. What is not JSON for everybody (NaN) is null in an answer and a text in a frame.
A trace stays below 10 MB: then frames are left out.
"""

from __future__ import annotations

import errno
import getpass
import json
import math
import os
import platform
import re
import sys
import time
from collections.abc import Callable, Iterable
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any, BinaryIO
from urllib.parse import quote, urlsplit

from pieces_nb import __version__
from pieces_nb.client import ModelClient, Settings
from pieces_nb.download.download import Download
from pieces_nb.errors import BadArguments, ModelStateError, PiecesError
from pieces_nb.locks import Lock
from pieces_nb.model.models import Model
from pieces_nb.model.rules import step_with
from pieces_nb.text import printable
from pieces_nb.wire.addresses import host_of, is_loopback, quoted_id
from pieces_nb.wire.connection import EMULATOR, Connection, address_from_environment
from pieces_nb.wire.http import Answer, Transport
from pieces_nb.wire.websocket import ProgressSocket, SocketEnded

FORMAT = 1
MOST_BYTES = 10_000_000
_MOST_FRAME_BYTES = 8_000_000  # of all frames together; the rest is for snapshots and the end
_MOST_TEXT = 2_000
_MOST_BODY_BYTES = 100_000
_MOST_DEPTH = 28  # whoever replays it reads 32 levels, of which the line is one
_MODEL = "{model}"
# What the program goes by is never a person's name.
_KEPT_FIELDS = frozenset(("id", "status"))

Redact = Callable[[str], str]


# What is private -----------------------------------------------------------------------------------------------------


def redactor(
    home: Path | None = None, names: Iterable[str] | None = None, *, host: str | None = None, url: str = ""
) -> Redact:
    """Return what takes private words out of a text, each as a whole word.

    These are home folders (`~`), the user's names (`USER`), this machine's (`HOST`) and a foreign server's (`SERVER`).
    """
    home = home or Path.home()
    names = _user_names(home) if names is None else names
    host = platform.node() if host is None else host
    rules: list[tuple[re.Pattern[str], str]] = []
    if len(str(home)) > 1:
        plain = str(home)
        spellings = {plain, home.as_posix(), plain.replace("\\", "\\\\"), quote(home.as_posix())}
        rules.append((_any_of(sorted(spellings, key=len, reverse=True), r"(?![\w.-])"), "~"))
    # Homes as other systems have them: the server may run on another one than this program, as with WSL.
    folder = r"(?:[A-Za-z]:)?[\\/]+(?:home|Users)[\\/]+"
    rules.append((re.compile(rf"{folder}(?:[^\\/\r\n\"']+(?=[\\/])|[^\\/\s\"']+)", re.IGNORECASE), "~"))
    known = sorted({name for name in names if len(name) > 1}, key=len, reverse=True)
    if known:
        rules.append((_any_of(known, r"(?!\w)", before=r"(?<!\w)"), "USER"))
    if url and not is_loopback(host_of(url)):
        rules.append((_any_of([urlsplit(url).netloc, host_of(url)], ""), "SERVER"))
    if hosts := {host, host.partition(".")[0]} - {"", "localhost"}:
        rules.append((_any_of(sorted(hosts, key=len, reverse=True), r"(?!\w)", before=r"(?<!\w)"), "HOST"))

    def redact(text: str) -> str:
        for pattern, replacement in rules:
            text = pattern.sub(replacement, text)
        return text

    return redact


def _any_of(words: Iterable[str], after: str, *, before: str = "") -> re.Pattern[str]:
    return re.compile(f"{before}(?:{'|'.join(map(re.escape, words))}){after}", re.IGNORECASE)


def _user_names(home: Path) -> set[str]:
    names = {home.name} | {os.environ.get(name, "") for name in ("USER", "USERNAME", "LOGNAME")}
    with suppress(OSError, KeyError, ImportError):  # a user id without a name, as containers have them
        names.add(getpass.getuser())
    full_name = _full_name()
    return names | {full_name, *full_name.split()}


def _full_name() -> str:
    """Return the person's name as the account has it, '' if it has none."""
    if sys.platform == "win32":  # which has no such accounts
        return ""
    import pwd

    try:
        return pwd.getpwuid(os.getuid()).pw_gecos.partition(",")[0].strip()
    except (KeyError, OSError):
        return ""


def redacted(value: Any, redact: Redact) -> Any:
    """Return a decoded JSON value with every text in it redacted, keys and what names the model apart."""
    match value:
        case str():
            return redact(value)
        case dict():
            return {
                key: inner if key in _KEPT_FIELDS and isinstance(inner, str) else redacted(inner, redact)
                for key, inner in value.items()
            }
        case list():
            return [redacted(inner, redact) for inner in value]
    return value


# The file ------------------------------------------------------------------------------------------------------------


class Recorder:
    """Writes the lines. Thread-safe; silent before `begin` and after `end`, and about everything but its model."""

    def __init__(self, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = Lock()  # guards all below: one line at a time
        self._file: BinaryIO | None = None
        self._redact: Redact = str
        self._prefix = ""
        self._began = 0.0
        self._number = 0
        self._snapshot: Any = None
        self._frame_bytes = 0
        self._left_out = 0
        self.size_bytes = 0
        self.failure: OSError | None = None

    def begin(self, file: BinaryIO, model: Model, *, server: str, redact: Redact) -> None:
        with self._lock:
            self._file, self._redact, self._prefix = file, redact, f"/model/{quoted_id(model.id)}"
            self._began = self._clock()
            program = f"pieces_nb {__version__}"
            self._write("trace", {"format": FORMAT, "program": program, "server": server, "model": model.id})

    def end(self, status: str, words: str) -> None:
        with self._lock:
            self._write("end", {"status": status, "words": self._text(words), "frames": self._left_out})
            self._file = None

    def watches(self, path: str) -> bool:
        """Whether a path is about the recorded model."""
        return self._file is not None and path.partition("?")[0].startswith(self._prefix)

    def request(self, method: str, path: str) -> int:
        """Write a request and return its number."""
        with self._lock:
            self._number += 1
            self._write("request", {"n": self._number, "method": method, "path": self._named(path)})
            return self._number

    def answer(self, number: int, answer: Answer, *, is_snapshot: bool) -> None:
        body = redacted(_decoded(answer.body, mends=True), self._redact)
        with self._lock:
            if not is_snapshot or not isinstance(body, dict):
                self._write("answer", {"n": number, "status": answer.status, "body": body})
            elif body == self._snapshot:
                self._write("snapshot", {"n": number, "same": True})
            else:
                self._snapshot = body
                self._write("snapshot", {"n": number, "model": body})

    def no_answer(self, number: int, exc: PiecesError) -> None:
        status, words = getattr(exc, "status", None), getattr(exc, "text", None)
        with self._lock:
            if status is not None:
                self._write("answer", {"n": number, "status": status, "body": self._text(words or "")})
            else:
                self._write("answer", {"n": number, "error": type(exc).__name__, "words": self._text(str(exc))})

    def socket(self, number: int | None, event: str, words: str = "") -> int:
        """Write what happens to a socket and return its number."""
        with self._lock:
            if number is None:
                self._number += 1
                number = self._number
            self._write("socket", {"n": number, "event": event} | ({"words": self._text(words)} if words else {}))
            return number

    def frame(self, number: int, raw: bytes) -> None:
        data = redacted(_decoded(raw), self._redact)
        with self._lock:
            key = "text" if isinstance(data, str) else "data"
            before = self.size_bytes
            if self._frame_bytes >= _MOST_FRAME_BYTES:
                self._left_out += 1
                return
            self._write("frame", {"n": number, key: data})
            self._frame_bytes += self.size_bytes - before

    def _named(self, path: str) -> str:
        return f"/model/{_MODEL}{path[len(self._prefix) :]}" if path.startswith(self._prefix) else path

    def _text(self, text: str) -> str:
        return printable(self._redact(text).replace(self._prefix, f"/model/{_MODEL}"), limit=_MOST_TEXT)

    def _write(self, kind: str, fields: dict[str, Any]) -> None:
        """Write one line; called with the lock held. A disk that is full ends the recording, not the download."""
        if self._file is None:
            return
        line = json.dumps({"t": round(self._clock() - self._began, 3), "kind": kind} | fields) + "\n"
        if self.size_bytes + len(line) > MOST_BYTES:
            return
        try:
            if self._file.write(line.encode("ascii")) != len(line):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        except OSError as exc:
            with suppress(OSError):
                self._file.truncate(self.size_bytes)  # half a line would spoil those before it
            self.failure, self._file = exc, None
            return
        self.size_bytes += len(line)


def _decoded(body: bytes, *, mends: bool = False) -> Any:
    """Return what a body holds: JSON, or its beginning as text.

    What is no JSON for everybody, such as NaN, or too deep for the replay, makes it a text; with `mends` it is null.
    """
    text = body.decode("utf-8", errors="replace")
    if len(body) <= _MOST_BODY_BYTES:
        with suppress(ValueError, RecursionError):
            found = json.loads(text, parse_constant=float)
            strict = _strict(found, _MOST_DEPTH)
            if not isinstance(found, str) and (mends or _same(strict, found)):
                return strict
    return printable(text[:_MOST_TEXT], limit=_MOST_TEXT)


def _strict(value: Any, depth: int) -> Any:
    """Return a decoded value with null for each number that is not finite, and for what lies below `depth` levels."""
    match value:
        case float():
            return value if math.isfinite(value) else None
        case dict() | list() if not depth:
            return None
        case dict():
            return {key: _strict(inner, depth - 1) for key, inner in value.items()}
        case list():
            return [_strict(inner, depth - 1) for inner in value]
    return value


def _same(one: Any, other: Any) -> bool:
    try:
        return bool(one == other)
    except RecursionError:
        return False


# The line to the server ----------------------------------------------------------------------------------------------


class RecordingTransport(Transport):
    """A transport that tells a recorder what goes over it."""

    def __init__(self, url: str, *, timeout_s: float, recorder: Recorder) -> None:
        super().__init__(url, timeout_s=timeout_s)
        self._recorder = recorder

    def get(self, path: str, *, timeout_s: float | None = None) -> Answer:
        if not self._recorder.watches(path):
            return super().get(path, timeout_s=timeout_s)
        ask = super().get
        is_snapshot = path.count("/") == 2  # /model/{model}
        return self._recorded("GET", path, lambda: ask(path, timeout_s=timeout_s), is_snapshot=is_snapshot)

    def post(self, path: str, body: object = None, *, timeout_s: float | None = None) -> Answer:
        if not self._recorder.watches(path):
            return super().post(path, body, timeout_s=timeout_s)
        ask = super().post
        return self._recorded("POST", path, lambda: ask(path, body, timeout_s=timeout_s), is_snapshot=False)

    def _recorded(self, method: str, path: str, ask: Callable[[], Answer], *, is_snapshot: bool) -> Answer:
        number = self._recorder.request(method, path)
        try:
            answer = ask()
        except PiecesError as exc:
            self._recorder.no_answer(number, exc)
            raise
        self._recorder.answer(number, answer, is_snapshot=is_snapshot)
        return answer

    def progress_socket(self, path: str) -> ProgressSocket:
        return RecordingSocket(self.url, path, timeout_s=self.timeout_s, recorder=self._recorder)


class RecordingSocket(ProgressSocket):
    """A progress socket that does so."""

    def __init__(self, url: str, path: str, *, timeout_s: float, recorder: Recorder) -> None:
        super().__init__(url, path, timeout_s=timeout_s)
        self._recorder = recorder
        self._number = recorder.socket(None, "opening")

    def open(self) -> None:
        try:
            super().open()
        except SocketEnded as exc:
            self._recorder.socket(self._number, "ended", str(exc))
            raise
        self._recorder.socket(self._number, "open")

    def read(self, timeout_s: float) -> bytes | None:
        try:
            raw = super().read(timeout_s)
        except SocketEnded as exc:
            self._recorder.socket(self._number, "ended", str(exc))
            raise
        if raw is not None:
            self._recorder.frame(self._number, raw)
        return raw


# One download --------------------------------------------------------------------------------------------------------


def record(
    file: str | Path,
    model: str,
    *,
    url: str | None = None,
    wait: Callable[[Download], object] = Download.wait,
) -> None:
    """Download `model` and record that in a new file. `wait` waits for its end; what it raises ends the recording too.

    Raises `BadArguments` for a file that exists or cannot be made, `ModelStateError` where nothing is to be downloaded.
    """
    path = Path(file)
    recorder = Recorder()
    with ExitStack() as closing:
        client = closing.enter_context(_recording_client(url, recorder, closing))
        seen = client.get(model)
        client.check_downloadable(seen)
        title = printable(seen.title, limit=80)
        if seen.downloaded:
            words = f"{title} is downloaded already, there is nothing to record; "
            raise ModelStateError(words, step_with("delete-cache", seen), " deletes its files.")
        found = client.connection.found
        stream = closing.enter_context(_new_file(path))
        recorder.begin(stream, seen, server=found.version, redact=redactor(url=found.url))
        download = client.download(seen)
        try:
            wait(download)
        finally:
            recorder.end(str(download.status), download.state.reason or download.state.heard)
    if recorder.failure is not None:
        raise PiecesError(f"{path} cannot be written any more: {recorder.failure.strerror or recorder.failure}.")


def _recording_client(url: str | None, recorder: Recorder, closing: ExitStack) -> ModelClient:
    address = url or address_from_environment() or None
    if address == EMULATOR:
        address = closing.enter_context(ModelClient.emulator()).url
    settings = Settings()

    def make_transport(url: str, *, timeout_s: float) -> Transport:
        return RecordingTransport(url, timeout_s=timeout_s, recorder=recorder)

    connection = Connection(address, timeout_s=settings.timeout_s, make_transport=make_transport)
    return ModelClient(settings=settings, connection=connection)


def _new_file(path: Path) -> BinaryIO:
    try:
        return path.open("xb", buffering=0)
    except FileExistsError as exc:
        raise BadArguments(f"{path} exists already; a trace goes into a new file.") from exc
    except (OSError, ValueError) as exc:
        raise BadArguments(f"{path} cannot be written: {getattr(exc, 'strerror', None) or exc}.") from exc
