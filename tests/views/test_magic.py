"""`%pieces_model` in an IPython of this process: loading, values, settings, and what a bad line looks like."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import pytest
from IPython.core.completer import provisionalcompleter
from IPython.core.interactiveshell import InteractiveShell

from pieces_nb import Download, ModelClient
from pieces_nb.emulator import Emulator, Faults
from pieces_nb.views.frames import Table
from pieces_nb.views.magic import PiecesModelMagics
from tests.conftest import PHI, run

DEADLINE_S = 30.0
NOBODY = "http://127.0.0.1:9"
HELD = Faults(stall_at=50.0)


@pytest.fixture
def notebook(shell: InteractiveShell, server: Emulator) -> Iterator[InteractiveShell]:
    """A shell with the extension loaded and the small emulator as its server."""
    assert run(shell, f"%load_ext pieces_nb\n%config PiecesModelMagics.url = {server.url!r}").success
    yield shell
    run(shell, "%unload_ext pieces_nb")


@pytest.fixture
def web_server() -> Iterator[str]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "text/html")
            self.end_headers()
            self.wfile.write(b"<html>OK, welcome</html>")

        def log_message(self, *_: object) -> None: ...

    with HTTPServer(("127.0.0.1", 0), Handler) as web:
        thread = threading.Thread(target=web.serve_forever, args=(0.02,), daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{web.server_port}"
        web.shutdown()
        thread.join(DEADLINE_S)


def plain(text: str) -> str:
    return re.sub(r"\x1b\[[\d;]*m", "", text)


def failure(shell: InteractiveShell, cell: str, capsys: pytest.CaptureFixture[str]) -> str:
    """What a failed cell shows; that it is one line, and that the cell did fail."""
    capsys.readouterr()
    result = run(shell, cell)
    assert result.success is False
    (line,) = result.error_in_exec._render_traceback_()
    out, err = capsys.readouterr()
    assert (out + err).strip() == line.strip()
    assert plain(line).startswith(f"{type(result.error_in_exec).__name__}: ")
    assert "\n" not in line
    return plain(line)


def registered(shell: InteractiveShell) -> tuple[int, ...]:
    """How many there are of the line magic, the cell magic, the matcher, the configurable and its registration."""
    manager = shell.magics_manager
    matchers = [getattr(one, "matcher_identifier", "") for one in shell.Completer.custom_matchers]
    return (
        list(manager.magics["line"]).count("pieces_model"),
        list(manager.magics["cell"]).count("pieces_model"),
        matchers.count("pieces_nb.pieces_model_matcher"),
        len([one for one in shell.configurables if isinstance(one, PiecesModelMagics)]),
        list(manager.registry).count("PiecesModelMagics"),
    )


def threads_of_ours() -> list[str]:
    names = [thread.name for thread in threading.enumerate()]
    return [name for name in names if name.startswith("pieces-nb") and not name.startswith("pieces-nb-emulator")]


# Loading


def test_loading_again_and_reloading_leave_one_of_everything(shell: InteractiveShell) -> None:
    run(shell, "%load_ext pieces_nb")
    assert registered(shell) == (1, 1, 1, 1, 1)
    run(shell, "%load_ext pieces_nb")
    assert registered(shell) == (1, 1, 1, 1, 1)
    run(shell, "%reload_ext pieces_nb")
    assert registered(shell) == (1, 1, 1, 1, 1)
    import pieces_nb

    pieces_nb.load_ipython_extension(shell)
    assert registered(shell) == (1, 1, 1, 1, 1)


def test_unloading_leaves_nothing_and_loading_again_works(notebook: InteractiveShell) -> None:
    assert run(notebook, "%pieces_model list").success
    run(notebook, "%unload_ext pieces_nb")
    assert registered(notebook) == (0, 0, 0, 0, 0)
    assert "pieces_model" not in notebook.magics_manager.lsmagic()["line"]
    run(notebook, "%load_ext pieces_nb")
    assert registered(notebook) == (1, 1, 1, 1, 1)


@pytest.mark.parametrize("extension", ["%unload_ext pieces_nb", "%reload_ext pieces_nb"])
def test_unloading_in_mid_download_leaves_no_thread_and_the_download_goes_on(
    notebook: InteractiveShell, server: Emulator, extension: str
) -> None:
    server.faults = HELD
    assert run(notebook, "download = %pieces_model download phi-2 --no-wait").success
    run(notebook, extension)
    assert notebook.user_ns["download"].closed
    assert [name for name in threads_of_ours() if "download" in name] == []
    with ModelClient(server.url) as client:
        assert client.get(PHI).downloading


def test_unloading_what_is_not_loaded_does_no_harm(shell: InteractiveShell) -> None:
    import pieces_nb

    pieces_nb.unload_ipython_extension(shell)
    assert registered(shell) == (0, 0, 0, 0, 0)


# Values


def test_the_value_of_a_line_can_be_kept(notebook: InteractiveShell) -> None:
    assert run(notebook, "models = %pieces_model list --local\nlen(models)").result == 4
    assert isinstance(notebook.user_ns["models"], Table)
    assert isinstance(run(notebook, "%pieces_model download phi-2").result, Download)


def test_values_of_the_notebook_are_one_argument_each(notebook: InteractiveShell) -> None:
    notebook.user_ns.update(models=["Phi-2", "Mistral 7B"], spoken="my fine-tune")
    result = run(notebook, "%pieces_model snapshot {models[1]} $spoken").result
    assert list(result.columns) == ["Mistral 7B", "My Fine-Tune"]


def test_a_value_smuggles_no_flags_in(
    notebook: InteractiveShell, posts: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    notebook.user_ns["name"] = "mine:1b --yes"
    assert "There is no model “mine:1b --yes”" in failure(notebook, "%pieces_model delete {name}", capsys)
    notebook.user_ns["name"] = "--all"
    assert "There is no model “--all”" in failure(notebook, "%pieces_model cancel $name", capsys)
    assert posts == []


def test_names_inside_a_function_are_seen(notebook: InteractiveShell) -> None:
    cell = "def look(which):\n    found = %pieces_model snapshot $which\n    return list(found.columns)\nlook('phi-2')"
    assert run(notebook, cell).result == ["Phi-2"]


def test_json_in_a_cell_stays_as_it_is(notebook: InteractiveShell) -> None:
    notebook.user_ns["total"] = 1
    cell = '%%pieces_model update mine:1b\n{"description": "costs $5 {total}", "maxTokens": {"total": 7}}'
    assert run(notebook, cell).result["new"].to_dict() == {"description": "costs $5 {total}", "maxTokens.total": 7}


def test_tab_offers_the_models_of_the_server(notebook: InteractiveShell) -> None:
    assert run(notebook, "%pieces_model list").success
    code = "x = %pieces_model snapshot mis"
    with provisionalcompleter():
        assert [one.text for one in notebook.Completer.completions(code, len(code))] == ["'Mistral 7B'"]


# Settings


def test_settings_hold_from_the_next_line_on(notebook: InteractiveShell, server: Emulator) -> None:
    run(notebook, "%pieces_model list")
    server.faults = HELD
    run(notebook, "%config PiecesModelMagics.wait_timeout_s = 0.25")
    result = run(notebook, "%pieces_model download phi-2")
    goes_on = "after 0.25 s of waiting; the download goes on. `%pieces_model cancel Phi-2` stops it."
    assert goes_on in str(result.error_in_exec)
    run(notebook, "%config PiecesModelMagics.timeout_s = 3.5")
    run(notebook, "%pieces_model list")
    magics: Any = notebook.magics_manager.registry["PiecesModelMagics"]
    assert magics.session.client.connection.timeout_s == 3.5


@pytest.mark.parametrize("setting", ["timeout_s = 0", "load_timeout_s = -1", "wait_timeout_s = 'long'", "url = 5"])
def test_a_setting_that_cannot_be_is_told_and_the_old_one_stays(
    notebook: InteractiveShell, setting: str, caplog: pytest.LogCaptureFixture
) -> None:
    magics: Any = notebook.magics_manager.registry["PiecesModelMagics"]
    name = setting.split(" =")[0]
    before = getattr(magics, name)
    run(notebook, f"%config PiecesModelMagics.{setting}")
    assert f"The value of the '{name}' trait" in caplog.text or f"The '{name}' trait" in caplog.text
    assert getattr(magics, name) == before
    assert len(run(notebook, "%pieces_model list").result) == 5


def test_another_address_in_the_settings_is_the_next_lines_server(notebook: InteractiveShell) -> None:
    run(notebook, "%pieces_model list")
    with Emulator(models=[{"name": "other"}]) as other:
        run(notebook, f"%config PiecesModelMagics.url = {other.url!r}")
        assert run(notebook, "%pieces_model list").result["name"].tolist() == ["other"]
        run(notebook, "%unload_ext pieces_nb")


# Bad input


BAD = [
    # unknown and ambiguous names
    ("%pieces_model load mistrall", r"ModelNotFound: There is no model “mistrall”\. The nearest: Mistral 7B"),
    ("%pieces_model snapshot phi", r"AmbiguousModel: “phi” may be Phi-2, Phi-3 Mini\. Say more"),
    ("%pieces_model delete mine --yes", r"ModelNotFound: .*My Fine-Tune.*[Tt]he whole name is needed"),
    # states
    ("%pieces_model download gpt-4o", r"ModelStateError: GPT-4o Chat Model runs in the cloud: there is nothing to"),
    ("%pieces_model load gpt-4o", r"ModelStateError: GPT-4o Chat Model runs in the cloud"),
    ("%pieces_model load phi-2", r"ModelStateError: Phi-2 is not downloaded: `%pieces_model download Phi-2` comes"),
    ("%pieces_model cancel phi-2", r"ModelStateError: Phi-2 is not downloading; it is available"),
    ("%pieces_model progress phi-2", r"ModelStateError: Phi-2 is not downloading; it is available"),
    ("%pieces_model delete-cache phi-2", r"ModelStateError: Phi-2 has no downloaded files; it is available"),
    ("%pieces_model delete phi-2", r"ModelStateError: Phi-2 is not a custom model: only those can be deleted"),
    # update
    ("%pieces_model update phi-2 --set description=x", r"ModelStateError: Phi-2 is not a custom model"),
    ("%pieces_model update mine:1b --set nam=y", r"BadArguments: 'nam' is no field that can be set; did you mean name"),
    ("%pieces_model update mine:1b --set maxTokens.total=many", r"BadArguments: maxTokens\.total takes a whole number"),
    ("%pieces_model update mine:1b --set loaded=true", r"BadArguments: loaded is set by Pieces OS"),
    ("%pieces_model update mine:1b --set description", r"BadArguments: update needs --set FIELD=VALUE"),
    ('%%pieces_model update mine:1b\n{"cpu": 3}', r"BadArguments: cpu takes true or false, not 3"),
    ('%%pieces_model update mine:1b\n{"cpu": }', r"BadArguments: The cell is not JSON at line 1, column 9"),
    # wrong arguments
    ("%pieces_model downlod phi-2", r"BadArguments: There is no command 'downlod'\. Did you mean download"),
    ("%pieces_model download", r"BadArguments: download needs a MODEL: %pieces_model download MODEL"),
    ("%pieces_model list --lokal", r"BadArguments: list knows no flag '--lokal' \(did you mean --local or"),
    ("%pieces_model download phi-2 --timeout soon", r"BadArguments: download needs a number for --timeout, not 'soon'"),
    ("%pieces_model load phi-2 mistral", r"BadArguments: load takes only one MODEL"),
    ('%pieces_model load "phi-2', r"BadArguments: The line has a quote without its partner"),
    ("%pieces_model load $nobody", r"BadArguments: \$nobody: the name 'nobody' is not defined"),
    ("%pieces_model load {1/0}", r"BadArguments: \{1/0\} cannot be worked out: ZeroDivisionError"),
    ("%%pieces_model list\nx", r"BadArguments: list takes nothing in the cell"),
    ("%pieces_model unload", r"BadArguments: unload needs a MODEL or --all"),
    # what deletes
    ("%pieces_model delete mine:1b", r"ConfirmationRequired: This deletes the custom model My Fine-Tune .* --yes"),
    ("%pieces_model delete-cache mine:1b", r"ConfirmationRequired: This deletes the downloaded files .* --yes"),
]


@pytest.mark.parametrize(("cell", "pattern"), BAD, ids=[cell.removeprefix("%pieces_model ") for cell, _ in BAD])
def test_bad_input_is_one_clear_line_a_failed_cell_and_nothing_sent(
    notebook: InteractiveShell,
    server: Emulator,
    posts: list[str],
    capsys: pytest.CaptureFixture[str],
    cell: str,
    pattern: str,
) -> None:
    with ModelClient(server.url) as client:
        before = client.models()
        line = failure(notebook, cell, capsys)
        assert client.models() == before
    assert re.match(pattern, line), line
    assert posts == []


@pytest.mark.parametrize("line", ["connect http://127.0.0.1:9", "connect 127.0.0.1:9"])
def test_nothing_listening_is_one_line_that_says_what_to_do_and_the_old_server_stays(
    notebook: InteractiveShell, capsys: pytest.CaptureFixture[str], line: str
) -> None:
    shown = failure(notebook, f"%pieces_model {line}", capsys)
    assert shown.startswith("PiecesUnreachable: Nothing answers at 127.0.0.1:9: ")
    assert shown.endswith("`%pieces_model connect emulator` tries things out without it.")
    assert len(run(notebook, "%pieces_model list").result) == 5


@pytest.mark.parametrize("verb", ["", "status", "list", "load phi-2", "unload --all", "usage", "download phi-2"])
def test_a_wrong_port_in_the_settings_is_one_line_for_every_verb(
    notebook: InteractiveShell, capsys: pytest.CaptureFixture[str], verb: str
) -> None:
    run(notebook, f"%config PiecesModelMagics.url = {NOBODY!r}")
    assert "Nothing answers at 127.0.0.1:9" in failure(notebook, f"%pieces_model {verb}", capsys)


def test_a_dead_address_in_the_environment_is_named(
    shell: InteractiveShell, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PIECES_OS_URL", NOBODY)
    run(shell, "%load_ext pieces_nb")
    assert "(PIECES_OS_URL names this address)" in failure(shell, "%pieces_model list", capsys)
    run(shell, "%unload_ext pieces_nb")


def test_another_web_server_on_the_port_is_not_taken_for_pieces_os(
    notebook: InteractiveShell, web_server: str, capsys: pytest.CaptureFixture[str]
) -> None:
    pattern = f"ProtocolError: Something answers at {web_server}, but it is not Pieces OS"
    assert failure(notebook, f"%pieces_model connect {web_server}", capsys).startswith(pattern)
    assert len(run(notebook, "%pieces_model list").result) == 5
    run(notebook, f"%config PiecesModelMagics.url = {web_server!r}")
    assert failure(notebook, "%pieces_model list", capsys).startswith(pattern)


@pytest.mark.parametrize(
    "address", ["http://127.0.0.1:39300/models", "ftp://x", "http://u:p@127.0.0.1", "127.0.0.1:0x7"]
)
def test_what_is_no_address_is_said_to_be_none(
    notebook: InteractiveShell, capsys: pytest.CaptureFixture[str], address: str
) -> None:
    assert re.match(
        r"BadArguments: .* is not an address", failure(notebook, f"%pieces_model connect {address}", capsys)
    )


def test_a_full_disk_is_told_in_the_servers_words_and_nothing_is_lost(
    notebook: InteractiveShell, server: Emulator, capsys: pytest.CaptureFixture[str]
) -> None:
    server.faults = Faults(disk_full_at=0)
    shown = failure(notebook, "%pieces_model download phi-2", capsys)
    assert shown == (
        "DownloadFailed: Phi-2: the download failed: Phi-2 cannot be downloaded: No space left on device. "
        "`%pieces_model download Phi-2` tries again."
    )
    server.faults = Faults()
    assert run(notebook, "%pieces_model download phi-2").success


def test_a_server_error_is_told_in_the_servers_words(
    notebook: InteractiveShell, server: Emulator, capsys: pytest.CaptureFixture[str]
) -> None:
    server.faults = Faults(load_error="The engine\nis missing.\x1b[2J")
    shown = failure(notebook, "%pieces_model load mine:1b", capsys)
    assert re.match(
        r"PiecesServerError: 127\.0\.0\.1:\d+ answered 500 to /model/.*/load: The engine is missing\.", shown
    )


def test_a_failed_cell_stops_what_comes_after_it(notebook: InteractiveShell) -> None:
    assert not run(notebook, "%pieces_model load phi-2\nreached = True").success
    assert "reached" not in notebook.user_ns


# Debugging, and Python


def test_debug_shows_every_frame_of_a_magics_error(
    notebook: InteractiveShell, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PIECES_NB_DEBUG", "1")
    assert not run(notebook, "%pieces_model load phi-2").success
    shown = plain(capsys.readouterr().out)
    assert "workflows.py" in shown
    assert "memory.py" in shown
    assert len(shown.splitlines()) > 10


def test_through_python_the_users_frames_are_shown_and_ours_only_in_debug(
    shell: InteractiveShell, server: Emulator, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with ModelClient(server.url) as client:
        shell.user_ns["client"] = client
        cell = "def mine(name):\n    return client.load(name)\nmine('phi-2')"
        assert not run(shell, cell).success
        shown = plain(capsys.readouterr().out)
        assert "return client.load(name)" in shown
        assert "mine('phi-2')" in shown
        assert "ModelStateError: Phi-2 is not downloaded" in shown
        assert "workflows.py" not in shown
        monkeypatch.setenv("PIECES_NB_DEBUG", "1")
        assert not run(shell, cell).success
        shown = plain(capsys.readouterr().out)
        assert "return client.load(name)" in shown
        assert "workflows.py" in shown


def test_history_says_what_to_do_next_as_the_notebook_types_it(notebook: InteractiveShell) -> None:
    run(notebook, "%pieces_model load phi-2")
    run(notebook, "errors = %pieces_model history")
    assert "`%pieces_model download Phi-2` comes first" in notebook.user_ns["errors"]["error"].iloc[-1]
