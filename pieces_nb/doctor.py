"""Why something does not work: one check after another, each with what was seen and what to do next.

Asks and reports, changes nothing. Whatever is slow is left out after `WITHIN_S`: a person waits for this page.
"""

from __future__ import annotations

import importlib.metadata
import os
import platform
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from pieces_nb.errors import PiecesError, ProtocolError
from pieces_nb.machine import machine_of
from pieces_nb.model.engine import Engine, EngineState, engine_step
from pieces_nb.text import Part, Step, format_bytes, printable
from pieces_nb.wire import discovery, endpoints
from pieces_nb.wire.addresses import host_of, is_loopback
from pieces_nb.wire.http import Transport

if TYPE_CHECKING:
    from pieces_nb.model.models import Model
    from pieces_nb.wire.discovery import Found

WITHIN_S = 2.0
_CALL_S = 0.7
_PACKAGES = (
    *("pieces_nb", "ipykernel", "ipython", "ipywidgets", "jupyterlab", "notebook", "pandas", "requests"),
    *("websocket-client", "tornado"),
)
# Faults of ipykernel that look like ours: the beginnings of the releases which have it, the check's `ok`, what to do.
_KERNEL_FAULTS: tuple[tuple[tuple[str, ...], bool | None, str], ...] = (
    (("7.0.",), False, "ipykernel 7.0 loses what threads show: install another version."),
    (
        ("7.1.", "7.2.", "7.3."),
        None,
        "ipykernel before 7.4 can leave a cell at [*] until the page is loaded anew: update it.",
    ),
)
CONNECT = discovery.step_to("http://127.0.0.1:PORT")
EMULATOR = discovery.EMULATOR_STEP
LIST = Step("list --local", "client.models()")


class Check(NamedTuple):
    """One thing that was looked at. `facts` are what a bug report needs, without names, paths and secrets."""

    name: str
    ok: bool | None  # None: nothing to say, or not known
    seen: str
    step: tuple[Part, ...] = ()
    facts: Mapping[str, Any] = {}

    @property
    def mark(self) -> str:
        return {True: "✓", False: "✗", None: "–"}[self.ok]


class Subject(NamedTuple):
    """Whom to ask: a given address and who gave it, or where Pieces OS may be found."""

    url: str = ""
    named_by: str = ""  # 'PIECES_OS_URL', or '' for an address given in a call
    front_end: Callable[[], Check | None] | None = None  # what shows the answers can say of itself
    ports: Sequence[int] = discovery.PORTS


def examine(subject: Subject, *, within_s: float = WITHIN_S) -> list[Check]:
    """Return every check, within that time: what has not ended then is said to be so."""
    groups: dict[str, Callable[[], Iterable[Check]]] = {
        "Pieces OS": lambda: _server(subject),
        "port files": lambda: [_port_files()],
        "proxies": lambda: [_proxies(os.environ)],
        "this machine": lambda: [_host(), *_resources(subject.url)],
        "front end": lambda: [check for check in [subject.front_end and subject.front_end()] if check is not None],
        "versions": lambda: [_versions()],
    }
    answers: dict[str, list[Check]] = {name: [] for name in groups}
    threads = {name: _started(name, look, answers[name]) for name, look in groups.items()}
    deadline = time.monotonic() + within_s
    for thread in threads.values():
        thread.join(max(0.0, deadline - time.monotonic()))
    late = {name for name, thread in threads.items() if thread.is_alive()}
    for name in late:
        answers[name] = [*answers[name], Check(name, None, f"no answer within {within_s:g} s")]
    return [check for name in groups for check in answers[name]]


def _started(name: str, look: Callable[[], Iterable[Check]], found: list[Check]) -> threading.Thread:
    """Fill `found` in a thread, check by check: what is slow does not hide what was seen before it."""

    def run() -> None:
        try:
            found.extend(look())
        except Exception as exc:  # noqa: BLE001 - the top of a thread; a check that breaks must not hide the others
            found.append(Check(name, None, f"cannot be told: {printable(repr(exc), limit=120)}"))

    thread = threading.Thread(target=run, name=f"pieces-nb-doctor-{name}", daemon=True)
    thread.start()
    return thread


# The server ----------------------------------------------------------------------------------------------------------


def _server(subject: Subject) -> Iterator[Check]:
    found, checks = _given(subject) if subject.url else _looked_for(subject)
    yield from checks
    if found is None:
        return
    yield _version(found)
    transport = Transport(found.url, timeout_s=_CALL_S)
    try:
        engine = _engine_of(transport)
        yield _models(transport, engine)
        yield _engine(engine)
    finally:
        transport.close()


def _given(subject: Subject) -> tuple[Found | None, list[Check]]:
    by = f" (from {subject.named_by})" if subject.named_by else ""
    facts = {"given_by": subject.named_by or "call", "loopback": is_loopback(host_of(subject.url))}
    try:
        found = discovery.identify(subject.url, timeout_s=_CALL_S)
    except ProtocolError as exc:
        seen = f"something answers at {subject.url}, but it is not Pieces OS{by}"
        right = ("Name the right address with ", CONNECT, ", or try ", EMULATOR, ".")
        return None, [Check("Pieces OS", False, seen, right, facts | {"error": type(exc).__name__})]
    except PiecesError as exc:
        step = ("Is Pieces OS running there? ", EMULATOR, " tries things out without it.")
        return None, [Check("Pieces OS", False, f"{exc}{by}", step, facts | {"error": type(exc).__name__})]
    return found, [Check("Pieces OS", True, f"answers at {found.url}{by}", (), facts)]


def _looked_for(subject: Subject) -> tuple[Found | None, list[Check]]:
    answers = discovery.survey(sorted({*discovery.ports_in_files(), *subject.ports}))
    ours = [found for found in answers.values() if found is not None and not found.is_emulator]
    others = [port for port, found in answers.items() if found is None]
    facts = {"given_by": "", "ports_that_answer": sorted(answers), "pieces_os": len(ours)}
    checks = []
    if ours:
        more = f"; also at {', '.join(found.url for found in ours[1:])}, the lowest port is taken" if ours[1:] else ""
        checks.append(Check("Pieces OS", True, f"found at {ours[0].url}{more}", (), facts))
    else:
        seen = "nothing answers on 127.0.0.1 at ports 39300–39333, 1000, 5323 and those in its port files"
        step = ("Start Pieces OS on this machine, name its address with ", CONNECT, ", or try ", EMULATOR, ".")
        checks.append(Check("Pieces OS", False, seen, step, facts))
    if others:
        seen = f"something else answers at {', '.join(map(str, others))}"
        checks.append(Check("other programs on its ports", None, seen, (), {"ports": others}))
    return (ours[0] if ours else None), checks


def _version(found: Found) -> Check:
    kind = "the emulator, a stand-in" if found.is_emulator else "Pieces OS"
    said = f", id {printable(found.server_id, limit=12)}" if found.server_id else ", no id in its health text"
    facts = {"version": found.version, "emulator": found.is_emulator, "has_id": bool(found.server_id)}
    return Check("version", True, f"{printable(found.version, limit=40)}, {kind}{said}", (), facts)


def _engine_of(transport: Transport) -> Engine | PiecesError:
    try:
        return Engine.from_wire(endpoints.engine_status(transport))
    except PiecesError as exc:
        return exc


def _models(transport: Transport, engine: Engine | PiecesError) -> Check:
    try:
        models = endpoints.models(transport)
    except PiecesError as exc:
        return Check("models", False, str(exc), (), {"error": type(exc).__name__})
    local = [model for model in models if not model.cloud]
    seen = f"{_count(models, 'model')}, {len(local)} of them local, {_states(local)}"
    facts = {"models": len(models), "local": len(local)}
    if local:
        return Check("models", True, seen, (), facts)
    missing = isinstance(engine, Engine) and engine.state is EngineState.MISSING
    why = "its engine is missing, see below" if missing else "it may still be fetching its list"
    return Check("models", False, f"{seen}: {why}", ("Ask again in some minutes: ", LIST), facts)


def _states(models: Sequence[Model]) -> str:
    downloaded = sum(model.downloaded for model in models)
    return f"{downloaded} downloaded, {sum(model.loaded for model in models)} loaded"


def _count(things: Sequence[object], word: str) -> str:
    return f"1 {word}" if len(things) == 1 else f"{len(things)} {word}s"


def _engine(engine: Engine | PiecesError) -> Check:
    if isinstance(engine, PiecesError):
        return Check("engine", None, str(engine), (), {"error": type(engine).__name__})
    facts = {"state": str(engine.state), "user_managed": engine.user_managed}
    match engine.state:
        case EngineState.UNKNOWN:
            return Check("engine", None, engine.words, (), facts)
        case EngineState.MISSING:
            return Check("engine", False, engine.words, (engine_step("install"),), facts)
        case EngineState.OUTDATED if not engine.user_managed:
            return Check("engine", False, engine.words, (engine_step("update"),), facts)
        case EngineState.OUTDATED:
            return Check("engine", False, engine.words, ("Update it yourself, as it was installed.",), facts)
    return Check("engine", True, engine.words, (), facts)


# This machine --------------------------------------------------------------------------------------------------------


def _port_files() -> Check:
    seen, facts = [], []
    for file in discovery.port_files():
        if file.exists():
            ports = discovery.ports_in_files([file])
            answers = discovery.survey(ports)
            state = (
                "names no port"
                if not ports
                else ("is right" if any(answers.values()) else "is stale: Pieces OS does not answer there")
            )
            seen.append(f"{_from_home(file)} {f'says {ports[0]} and ' if ports else ''}{state}")
            facts.append(state)
    if not seen:
        return Check("port files", None, "there is none", (), {"files": []})
    good = all(fact == "is right" for fact in facts)
    return Check("port files", good or None, "; ".join(seen), (), {"files": facts})


def _from_home(file: Path) -> str:
    with suppress(ValueError, RuntimeError):
        return f"~/{file.relative_to(Path.home())}"
    return str(file)


def _proxies(environment: Mapping[str, str]) -> Check:
    names = [name for name in environment if name.lower() in ("http_proxy", "https_proxy", "all_proxy")]
    if not names:
        return Check("proxy variables", True, "none is set", (), {"set": []})
    seen = f"{', '.join(sorted(names))}: not used here, but other programs may send 127.0.0.1 through it"
    exempt = "127.0.0.1" in environment.get("no_proxy", environment.get("NO_PROXY", ""))
    step = () if exempt else ("NO_PROXY=127.0.0.1,localhost keeps them off.",)
    return Check("proxy variables", None, seen, step, {"set": sorted(names), "loopback_exempt": exempt})


def _host() -> Check:
    kind = _kind_of_host()
    where = f", {kind}: Pieces OS has to run inside it, or its address be named" if kind else ""
    seen = f"this runs on {printable(socket.gethostname(), limit=60)} ({platform.system()}){where}"
    return Check("where this runs", None if kind else True, seen, (), {"system": platform.system(), "kind": kind})


def _kind_of_host() -> str:
    """Return what makes 127.0.0.1 another machine than the one with the screen; '' for nothing known."""
    if os.environ.get("JUPYTERHUB_USER"):
        return "a JupyterHub"
    if "microsoft" in platform.release().lower():
        return "WSL"
    return "a container" if any(Path(mark).exists() for mark in ("/.dockerenv", "/run/.containerenv")) else ""


def _resources(url: str) -> Iterator[Check]:
    machine = machine_of(url or "http://127.0.0.1")
    yield _resource("memory", machine.free_memory_bytes, machine.total_memory_bytes)
    yield _resource("disk", machine.free_disk_bytes, machine.total_disk_bytes, " (home folder)")


def _resource(name: str, free_bytes: int | None, total_bytes: int | None, where: str = "") -> Check:
    if total_bytes is None or free_bytes is None:
        return Check(name, None, "of the server's machine: not known", (), {})
    seen = f"{format_bytes(free_bytes)} free of {format_bytes(total_bytes)}{where}"
    return Check(name, True, seen, (), {"free_bytes": free_bytes, "total_bytes": total_bytes})


def _versions() -> Check:
    versions = {"python": platform.python_version()}
    for package in _PACKAGES:
        with suppress(importlib.metadata.PackageNotFoundError):
            versions[package] = importlib.metadata.version(package)
    kernel = versions.get("ipykernel", "")
    faults = [(ok, (words,)) for releases, ok, words in _KERNEL_FAULTS if kernel.startswith(releases)]
    ok, step = faults[0] if faults else (True, ())
    seen = ", ".join(f"{name} {version}" for name, version in versions.items())
    return Check("versions", ok, seen, step, versions | {"platform": sys.platform})
