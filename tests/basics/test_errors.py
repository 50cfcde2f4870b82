"""The error tree, and how its errors show: one line from the magic, the user's own frames from Python."""

from __future__ import annotations

import copy
import multiprocessing
import pickle
import re
import sys
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from typing import Any

import pytest
from IPython.core.interactiveshell import InteractiveShell

import pieces_nb
from pieces_nb import ModelClient, errors
from pieces_nb.errors import ModelStateError, PiecesError, PiecesUnreachable, StoppedWaiting
from pieces_nb.text import Front, Step
from tests.conftest import run

TREE: dict[str, tuple[type[BaseException], ...]] = {
    "PiecesError": (Exception,),
    "PiecesUnreachable": (PiecesError, ConnectionError),
    "PiecesServerError": (PiecesError,),
    "ProtocolError": (PiecesError,),
    "ModelNotFound": (PiecesError, LookupError),
    "AmbiguousModel": (PiecesError, LookupError),
    "ModelStateError": (PiecesError,),
    "DownloadFailed": (PiecesError,),
    "DownloadCanceled": (PiecesError,),
    "CancelNotConfirmed": (PiecesError,),
    "WaitTimeout": (PiecesError, TimeoutError),
    "BadArguments": (PiecesError, ValueError),
    "ConfirmationRequired": (errors.BadArguments,),
    "StoppedWaiting": (KeyboardInterrupt,),
}
NOBODY = "http://127.0.0.1:9"  # the discard port


def rendered(exc: Any) -> list[str]:
    return [re.sub(r"\x1b\[[\d;]*m", "", line) for line in exc._render_traceback_()]


def caught(function: Callable[[], object]) -> Any:
    try:
        function()
    except (PiecesError, StoppedWaiting) as exc:
        return exc
    raise AssertionError("nothing was raised")


@pytest.mark.parametrize("name", TREE)
def test_an_error_has_the_bases_that_programs_catch(name: str) -> None:
    found = getattr(errors, name)
    assert set(TREE[name]) <= set(found.__mro__)
    assert getattr(pieces_nb, name) is found


def test_the_tree_has_these_errors_and_no_others() -> None:
    defined = {name for name, one in vars(errors).items() if isinstance(one, type) and issubclass(one, BaseException)}
    assert defined - {"_ShortTraceback"} == set(TREE)


def test_an_interrupt_is_not_caught_with_the_failures() -> None:
    assert not issubclass(StoppedWaiting, Exception)


def test_data_are_attributes() -> None:
    server_error = errors.PiecesServerError("500: full", status=500, text="full", url="u")
    assert (server_error.status, server_error.text, server_error.url) == (500, "full", "u")
    assert errors.ModelNotFound("no", model="m", nearest=["a"]).nearest == ("a",)
    assert errors.AmbiguousModel("which", model="m", candidates=["a", "b"]).candidates == ("a", "b")
    assert PiecesUnreachable("nobody", url="u", timed_out=True).timed_out


@pytest.mark.parametrize("error", [ModelStateError("Phi-2 is not custom."), StoppedWaiting("Phi-2: stopped")])
def test_through_the_magic_it_is_one_line(error: Any) -> None:
    error.shows_one_line = True
    assert rendered(error) == [f"{type(error).__name__}: {error}"]


def test_a_text_with_line_breaks_is_one_line_all_the_same() -> None:
    error = ModelStateError("first\nsecond\x1b[2J")
    error.shows_one_line = True
    (line,) = rendered(error)
    assert line == "ModelStateError: first second\ufffd[2J"


def test_debug_shows_everything(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PIECES_NB_DEBUG", "1")
    error = ModelStateError("x")
    error.shows_one_line = True
    assert not hasattr(error, "_render_traceback_")


def test_without_ipython_it_is_one_line() -> None:
    InteractiveShell.clear_instance()
    assert rendered(ModelStateError("no shell")) == ["ModelStateError: no shell"]


def test_through_python_the_users_frames_stay_and_ours_are_dropped(shell: InteractiveShell) -> None:
    shell.user_ns["client"] = ModelClient(NOBODY)
    run(shell, "def my_function():\n    return client.models()")
    text = "\n".join(rendered(run(shell, "my_function()").error_in_exec))
    assert "my_function()" in text
    assert "return client.models()" in text
    assert "PiecesUnreachable: Nothing answers at 127.0.0.1:9" in text
    assert "client.py" not in text
    assert "transport.py" not in text


def test_no_frame_of_contextlib_stands_between(shell: InteractiveShell) -> None:
    shell.user_ns["client"] = ModelClient(NOBODY)
    for cell in ("client.models()", "with client.loaded('phi-2'):\n    pass"):
        text = "\n".join(rendered(run(shell, cell).error_in_exec))
        assert "contextlib" not in text
        assert cell.splitlines()[0] in text


def test_the_chain_of_causes_is_not_shown_but_kept(shell: InteractiveShell) -> None:
    shell.user_ns["client"] = ModelClient(NOBODY)
    error = run(shell, "client.models()").error_in_exec
    cause, context = error.__cause__, error.__context__
    text = "\n".join(rendered(error))
    assert "During handling" not in text
    assert "direct cause" not in text
    assert cause is not None
    assert (error.__cause__, error.__context__) == (cause, context)


def test_the_users_own_error_inside_a_block_of_ours_is_shown_whole(shell: InteractiveShell) -> None:
    shell.user_ns["client"] = ModelClient(NOBODY)
    error = run(shell, "with client:\n    1 / 0").error_in_exec
    assert isinstance(error, ZeroDivisionError)
    assert not hasattr(error, "_render_traceback_")


def test_rendering_leaves_the_traceback_as_it_was(shell: InteractiveShell) -> None:
    shell.user_ns["client"] = ModelClient(NOBODY)
    error = run(shell, "client.models()").error_in_exec
    before = error.__traceback__
    rendered(error)
    assert error.__traceback__ is before


def test_an_error_that_was_never_raised_can_be_shown(shell: InteractiveShell) -> None:
    assert shell is not None
    assert "ModelStateError: x" in "\n".join(rendered(ModelStateError("x")))


def test_raised_in_plain_python_it_prints_like_any_exception() -> None:
    error = caught(ModelClient(NOBODY).models)
    assert isinstance(error, ConnectionError)
    assert str(error).startswith("Nothing answers at 127.0.0.1:9")
    assert sys.exc_info() == (None, None, None)


# Pickled and copied


def examples() -> list[BaseException]:
    """One of each class, with data, steps and a cause."""
    step = Step("download Phi-2", "client.download('Phi-2')")
    own: dict[str, dict[str, Any]] = {
        "PiecesUnreachable": {"url": "u", "timed_out": True},
        "PiecesServerError": {"status": 500, "text": "full", "url": "u"},
        "ProtocolError": {"url": "u"},
        "ModelNotFound": {"model": "m", "nearest": ["a"]},
        "AmbiguousModel": {"model": "m", "candidates": ["a", "b"]},
    }
    return [getattr(errors, name)("one: ", step, " comes first", ".", **own.get(name, {})) for name in TREE]


@pytest.mark.parametrize("error", examples(), ids=lambda error: type(error).__name__)
@pytest.mark.parametrize("again", [lambda one: pickle.loads(pickle.dumps(one)), copy.copy, copy.deepcopy])
def test_every_error_can_be_pickled_and_copied(error: Any, again: Callable[[Any], Any]) -> None:
    error.front = Front.NOTEBOOK
    error.__cause__ = ValueError("a cause")
    other = again(error)
    assert type(other) is type(error)
    assert str(other) == str(error) == "one: `%pieces_model download Phi-2` comes first."
    assert other.parts == error.parts
    assert vars(other) == vars(error)


def _raise_a_server_error() -> None:
    raise errors.PiecesServerError("500: full", status=500, text="full", url="u")


def test_an_error_comes_back_from_another_process_as_it_is() -> None:
    with (
        ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool,
        pytest.raises(errors.PiecesServerError, match="500: full") as caught,
    ):
        pool.submit(_raise_a_server_error).result(60)
    assert (caught.value.status, caught.value.text) == (500, "full")
