"""Tab on a line of `%pieces_model`, first without IPython, then through its completer."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Any, NoReturn

import pytest
from hypothesis import given
from hypothesis import strategies as st
from IPython.core.completer import provisionalcompleter
from IPython.core.inputtransformer2 import TransformerManager
from IPython.core.interactiveshell import InteractiveShell
from traitlets.config import Config

from pieces_nb.model.fields import FIELDS
from pieces_nb.model.models import Model
from pieces_nb.text import Front
from pieces_nb.verbs import completion
from pieces_nb.verbs.actions import VERBS, grammar_for
from pieces_nb.verbs.completion import Completions, Offers, complete, offers
from pieces_nb.verbs.declaration import MODEL, Verb
from pieces_nb.verbs.grammar import Grammar
from pieces_nb.verbs.tokens import split

GRAMMAR = grammar_for(Front.NOTEBOOK)
FLAGS: dict[str, dict[str, bool]] = {
    "cloud": {"cloud": True},
    "available": {},
    "downloading": {"downloading": True},
    "downloaded": {"downloaded": True},
    "loaded": {"downloaded": True, "loaded": True},
}


def known(name: str, state: str = "available", unique: str = "", model_id: str = "", custom: bool = False) -> Model:
    return Model({"name": name, "unique": unique, "id": model_id, "custom": custom, **FLAGS[state]})


CLOUD = known("GPT-4o", "cloud", "gpt-4o", "id-1")
AVAILABLE = known("Phi-2", "available", "phi:2.7b", "id-2")
DOWNLOADING = known("Mistral 7B", "downloading", "mistral:7b", "id-3")
DOWNLOADED = known("Llama 3", "downloaded", "llama3:8b", "id-4")
LOADED = known("Gemma", "loaded", "gemma:2b", "id-5")
MINE = known("mine", "downloaded", "mine:latest", "id-6", custom=True)
MODELS = (CLOUD, AVAILABLE, DOWNLOADING, DOWNLOADED, LOADED, MINE)


def after(line: str, models: Sequence[Model] = MODELS, **options: Any) -> Completions:
    found = complete("%pieces_model " + line, models, **options)
    assert found is not None
    return found


def texts(line: str, models: Sequence[Model] = MODELS, **options: Any) -> list[str]:
    return list(after(line, models, **options).texts)


# Which line


@pytest.mark.parametrize(
    "line",
    [
        "%pieces_model lo",
        "%%pieces_model lo",
        "  %pieces_model lo",
        "x = %pieces_model lo",
        "x=%pieces_model lo",
        "table['a'] = %pieces_model lo",
        "a = b = %pieces_model \t lo",
    ],
)
def test_verbs_complete_wherever_the_magic_can_stand(line: str) -> None:
    assert complete(line, MODELS) == Completions("lo", ("load",), "command")


@pytest.mark.parametrize(
    "line", ["", "%pieces_model", "%pieces_models lo", "pieces_model lo", "x %pieces_model lo", "!ls"]
)
def test_other_lines_are_left_alone(line: str) -> None:
    assert complete(line, MODELS) is None


def test_every_verb_is_offered_after_the_magic() -> None:
    assert after("") == Completions("", (*(verb.name for verb in VERBS if verb.name), "help"), "command")


def test_help_takes_one_command() -> None:
    assert texts("help dele") == ["delete", "delete-cache"]
    assert texts("help load ") == []


def test_a_verb_that_is_added_completes_by_its_declaration() -> None:
    extra = Verb("tune", "Tune.", lambda *_, **__: None, operands=(MODEL,))
    extended = Grammar(Front.TERMINAL, [*VERBS, extra])
    assert offers(extended, [], "tu", lambda: MODELS) == Offers("command", ("tune",))
    assert offers(extended, ["--json", "tune"], "Phi", lambda: MODELS) == Offers("model", ("Phi-2",))
    assert offers(extended, ["tune"], "--", lambda: MODELS) == Offers("flag", ("--json", "--quiet", "--url", "--help"))
    assert offers(extended, ["--url"], "", lambda: MODELS) == Offers()


# Names


@pytest.mark.parametrize(
    ("verb", "models"),
    [
        ("snapshot", MODELS),
        ("progress", [DOWNLOADING]),
        ("panel", MODELS),
        ("download", [AVAILABLE]),
        ("cancel", [DOWNLOADING]),
        ("load", [DOWNLOADED, MINE]),
        ("unload", [LOADED]),
        ("update", [MINE]),
        ("delete", [MINE]),
        ("delete-cache", [DOWNLOADED, LOADED, MINE]),
        ("ensure", [AVAILABLE, DOWNLOADING, DOWNLOADED, LOADED, MINE]),
    ],
)
def test_only_models_that_fit_the_verb_are_offered(verb: str, models: Sequence[Model]) -> None:
    assert [split(text)[0] for text in texts(f"{verb} ")] == [model.name for model in models]


def test_names_are_found_whatever_the_case() -> None:
    assert after("snapshot PHI") == Completions("PHI", ("Phi-2",), "model")


def test_the_unique_name_and_the_id_complete_when_the_name_begins_otherwise() -> None:
    assert texts("snapshot phi:") == ["phi:2.7b"]
    assert texts("snapshot id-2") == ["id-2"]


def test_a_name_that_two_models_have_is_told_apart_by_the_unique_name_or_the_id() -> None:
    twins = [known("Phi", unique="phi:a", model_id="1"), known("phi", unique="phi:b", model_id="2")]
    assert texts("snapshot ", twins) == ["phi:a", "phi:b"]
    assert texts("snapshot ", [known("Phi", unique="u", model_id="1"), known("Phi", unique="u", model_id="2")]) == [
        "1",
        "2",
    ]


def test_a_model_that_was_given_is_not_offered_again() -> None:
    assert texts("download a Phi-2 ") == ["--no-wait", "--at-most", "--timeout", "--help"]
    assert texts("download phi:2.7b Ph") == []


@pytest.mark.parametrize(
    "line", ["load Gemma L", "load --force Gemma L", "cancel --all M", "status M", "list P", "nope P"]
)
def test_no_name_is_offered_where_none_can_stand(line: str) -> None:
    assert texts(line) == []


def test_names_are_offered_after_two_dashes_and_flags_are_not() -> None:
    assert texts("download -- P") == ["Phi-2"]
    assert texts("download -- --") == []


def test_a_terminal_is_not_offered_what_it_refuses() -> None:
    terminal = grammar_for(Front.TERMINAL)

    for words in ([], ["help"]):
        assert {"panel", "history"} <= set(offers(GRAMMAR, words, "", list).texts)
        assert not {"panel", "history"} & set(offers(terminal, words, "", list).texts)
    assert offers(terminal, ["panel"], "", list) == Offers()


@pytest.mark.parametrize(
    ("line", "words"), [("connect em", ("emulator",)), ("engine ", ("install", "update", "cancel"))]
)
def test_words_to_choose_from_are_offered_as_words(line: str, words: tuple[str, ...]) -> None:
    assert (after(line).texts, after(line).kind) == (words, "word")


# Flags


def test_flags_of_the_verb_are_offered_unless_given_already() -> None:
    assert after("download Phi-2 -") == Completions("-", ("--no-wait", "--at-most", "--timeout", "--help"), "flag")
    assert texts("download --no-wait Phi-2 --") == ["--at-most", "--timeout", "--help"]
    assert texts("download --timeout=5 Phi-2 --t") == []


def test_flags_are_offered_where_no_name_is_left_to_give() -> None:
    assert texts("unload ", []) == ["--all", "--help"]


def test_all_is_not_offered_beside_names() -> None:
    assert texts("unload Gemma --") == ["--help"]


def test_the_value_of_a_flag_is_neither_a_name_nor_a_flag() -> None:
    assert texts("download --timeout ") == []
    assert texts("download --timeout --") == []
    assert texts("download --timeout 5 P") == ["Phi-2"]


# Fields


def test_fields_are_offered_after_set_with_their_equals_sign() -> None:
    assert after("update mine --set ") == Completions("", tuple(f"{name}=" for name in FIELDS), "field")
    assert texts("update mine --set maxTokens.t") == ["maxTokens.total="]
    assert texts("update mine --set=des") == ["--set=description="]


def test_set_repeats_and_a_field_that_was_set_is_not_offered_again() -> None:
    assert texts("update mine --set name=x --s") == ["--set"]
    assert texts("update mine --set name=x --set ") == [f"{name}=" for name in FIELDS if name != "name"]


def test_an_open_quote_stays_open_for_the_value_of_the_field() -> None:
    assert after('update mine --set "des') == Completions('"des', ('"description=',), "field")


# Quotes


@pytest.mark.parametrize(
    ("typed", "inserted"),
    [("", "'Mistral 7B'"), ("Mi", "'Mistral 7B'"), ("'Mistral 7", "'Mistral 7B'"), ('"Mistral ', '"Mistral 7B"')],
)
def test_a_name_with_blanks_is_quoted_with_the_quote_that_was_typed(typed: str, inserted: str) -> None:
    assert after(f"cancel {typed}") == Completions(typed, (inserted,), "model")


def test_a_quote_that_the_editor_has_closed_is_not_closed_again() -> None:
    assert texts('cancel "Mi', after='"') == ['"Mistral 7B']
    assert texts("cancel 'Mi", after="' --all") == ["'Mistral 7B"]
    assert texts("cancel Mi", after="'") == ["'Mistral 7B'"]


def test_a_blank_after_a_backslash_does_not_end_the_word() -> None:
    assert after("cancel Mistral\\ 7") == Completions("Mistral\\ 7", ("'Mistral 7B'",), "model")


NASTY = [
    "a\nb",
    "it's",
    'say "hi"',
    "$phi",
    "{phi}",
    "x={phi}",
    "--all",
    "-",
    "🦙 3",
    "x" * 300,
    "a\\",
    "what?",
    "\ud800",
    "é\u2028",
]
names = (st.sampled_from(NASTY) | st.text(min_size=1)).filter(str.strip)


@given(name=names, opened=st.sampled_from(["", "'", '"']), verb=st.sampled_from(["load", "download", "x = "]))
def test_an_inserted_name_is_read_back_exactly(name: str, opened: str, verb: str) -> None:
    line = f"{'x = ' if verb == 'x = ' else ''}%pieces_model snapshot {opened}"
    found = complete(line, [known(name)])
    assert found is not None
    [text] = found.texts
    arguments = split((line.removesuffix(found.fragment) + text).partition("%pieces_model")[2])
    assert arguments[-1] == name
    assert GRAMMAR.parse(arguments).arguments == {"models": (name,)}


@given(name=names, data=st.data())
def test_a_name_begun_in_quotes_completes_to_itself(name: str, data: st.DataObject) -> None:
    opened = data.draw(st.sampled_from(["'", '"']))
    beginning = name[: data.draw(st.integers(0, len(name)))]
    typed = opened + (beginning.replace("\\", r"\\").replace('"', r"\"") if opened == '"' else beginning)
    if opened == "'" and "'" in beginning:
        return
    line = "%pieces_model snapshot " + typed
    found = complete(line, [known(name)])
    assert found is not None
    assert found.fragment == typed
    assert [split(text) for text in found.texts] == [[name]]


BROKEN = Model({"name": None, "state": ["loaded"], "custom": "yes", "unique": 5})


@given(st.text(), st.sampled_from(["", "snapshot ", "cancel ", "update mine --set ", 'load "', "unload '"]))
def test_no_line_and_no_model_makes_it_fail(rest: str, verb: str) -> None:
    line = f"%pieces_model {verb}{rest}"
    found = complete(line, [*MODELS, BROKEN, Model({})])
    assert found is not None
    assert line.endswith(found.fragment)


def test_a_long_line_of_quotes_is_read_at_once() -> None:
    assert texts("snapshot " + "'" * 50_001) == texts("snapshot '")


# IPython


@pytest.fixture
def shell() -> Iterator[InteractiveShell]:
    settings = Config()
    settings.HistoryManager.enabled = False
    settings.IPCompleter.use_jedi = False
    shell: InteractiveShell = InteractiveShell(config=settings)  # type: ignore[no-untyped-call] # IPython leaves it untyped
    yield shell
    completion.remove(shell)


def tab(shell: InteractiveShell, code: str, cursor: int | None = None) -> list[str]:
    """The code after each completion was accepted, as a front end does it."""
    offset = len(code) if cursor is None else cursor
    with provisionalcompleter():
        found = list(shell.Completer.completions(code, offset))
    return [code[: one.start] + one.text + code[one.end :] for one in found]


def test_in_ipython_only_the_last_word_is_replaced(shell: InteractiveShell) -> None:
    completion.install(shell, lambda: MODELS)
    assert tab(shell, "x = 1\ny = %pieces_model load Ll") == ["x = 1\ny = %pieces_model load 'Llama 3'"]
    assert tab(shell, "%%pieces_model update mi") == ["%%pieces_model update mine"]
    assert tab(shell, "%pieces_model unload Gemma --") == ["%pieces_model unload Gemma --help"]
    assert tab(shell, '%pieces_model cancel "Mi') == ['%pieces_model cancel "Mistral 7B"']
    assert tab(shell, "%pieces_model update mine --set desc") == ["%pieces_model update mine --set description="]


def test_in_ipython_a_closed_quote_after_the_cursor_is_used(shell: InteractiveShell) -> None:
    completion.install(shell, lambda: MODELS)
    assert tab(shell, '%pieces_model cancel "Mi"', cursor=24) == ['%pieces_model cancel "Mistral 7B"']


def test_in_ipython_python_names_and_files_stay_out(shell: InteractiveShell) -> None:
    shell.user_ns["loaded_by_me"] = 1
    completion.install(shell, lambda: MODELS)
    assert tab(shell, "%pieces_model lo") == ["%pieces_model load"]
    assert "loaded_by_me" in tab(shell, "loaded_b")


@given(name=names)
def test_in_ipython_an_accepted_name_reaches_the_magic_exactly(name: str) -> None:
    found = complete("%pieces_model snapshot ", [known(name)])
    assert found is not None
    manager = TransformerManager()  # type: ignore[no-untyped-call] # IPython leaves it untyped
    code = manager.transform_cell("%pieces_model snapshot " + found.texts[0])
    match = re.fullmatch(r"get_ipython\(\)\.run_line_magic\('pieces_model', (.*)\)\n", code)
    assert match is not None
    assert split(eval(match[1]))[-1] == name


def test_a_source_that_fails_leaves_verbs_and_flags(shell: InteractiveShell) -> None:
    def fail() -> NoReturn:
        raise ConnectionError

    completion.install(shell, fail)
    assert tab(shell, "%pieces_model unlo") == ["%pieces_model unload"]
    assert tab(shell, "%pieces_model unload --a") == ["%pieces_model unload --all"]


def test_other_lines_do_not_ask_the_source(shell: InteractiveShell) -> None:
    asked: list[str] = []

    def source() -> Sequence[Model]:
        asked.append("models")
        return MODELS

    completion.install(shell, source)
    tab(shell, "x = prin")
    assert asked == []


def test_installing_twice_completes_once_and_removing_leaves_nothing(shell: InteractiveShell) -> None:
    before = list(shell.Completer.custom_matchers)
    completion.install(shell, lambda: ())
    completion.install(shell, lambda: MODELS)
    assert len(shell.Completer.custom_matchers) == len(before) + 1
    assert tab(shell, "%pieces_model unload G") == ["%pieces_model unload Gemma"]
    completion.remove(shell)
    completion.remove(shell)
    assert shell.Completer.custom_matchers == before
