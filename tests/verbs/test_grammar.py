"""What can be said to `%pieces_model` and `pieces-nb`."""

from __future__ import annotations

import itertools
import json
import re
from types import SimpleNamespace
from typing import Any, NoReturn

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pieces_nb.errors import BadArguments
from pieces_nb.text import Front
from pieces_nb.verbs import reading
from pieces_nb.verbs.actions import VERBS, grammar_for
from pieces_nb.verbs.declaration import Flag, Verb
from pieces_nb.verbs.grammar import Command, Grammar
from pieces_nb.verbs.reading import Change, json_cell
from pieces_nb.verbs.tokens import Expanded, split

MAGIC = grammar_for(Front.NOTEBOOK)
TERMINAL = grammar_for(Front.TERMINAL)
NAMED = [verb.name for verb in VERBS if verb.name]
Call = tuple[str, dict[str, Any]]


def say(line: str, **namespace: object) -> Command:
    return MAGIC.parse(split(line, namespace))


def given_of(command: Command) -> Call:
    """The verb that was said, and the arguments that say something."""
    said = {name: value for name, value in command.arguments.items() if value not in (None, False, ())}
    return command.verb.name, said


def call(verb: str, **arguments: Any) -> Call:
    return verb, arguments


def page(command: Command) -> str:
    assert command.verb.name == "help"
    text = command.arguments["page"]
    assert isinstance(text, str)
    return text


def refused(line: str, **namespace: object) -> str:
    with pytest.raises(BadArguments) as caught:
        say(line, **namespace)
    assert "\n" not in str(caught.value)
    assert "\ue000" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("", call("")),
        ("status", call("status")),
        ("connect", call("connect")),
        ("connect http://127.0.0.1:39300", call("connect", to="http://127.0.0.1:39300")),
        ("list", call("list")),
        ("list llama --local --wide", call("list", pattern=("llama",), local=True, wide=True)),
        ("list coder qwen", call("list", pattern=("coder", "qwen"))),
        ("snapshot a b", call("snapshot", models=("a", "b"))),
        ("download a", call("download", models=("a",))),
        ("download a b --no-wait --timeout 1.5", call("download", models=("a", "b"), no_wait=True, timeout=1.5)),
        ("download a b --at-most 1", call("download", models=("a", "b"), at_most=1)),
        ("progress", call("progress")),
        ("progress a --watch", call("progress", models=("a",), watch=True)),
        ("cancel a b", call("cancel", models=("a", "b"))),
        ("cancel --all", call("cancel", all_models=True)),
        ("load 'Phi 2' --force", call("load", model="Phi 2", force=True)),
        ("unload a", call("unload", models=("a",))),
        ("unload --all", call("unload", all_models=True)),
        ("update a --set x=1 --set y=", call("update", model="a", changes=(Change("x", "1"), Change("y", "")))),
        ("create a", call("create", name="a")),
        ("create a --set x=1=2", call("create", name="a", changes=(Change("x", "1=2"),))),
        ("delete a --yes", call("delete", model="a", yes=True)),
        ("delete-cache a", call("delete-cache", model="a")),
        ("ensure a --load --dry-run --timeout 5", call("ensure", model="a", load=True, dry_run=True, timeout=5)),
        ("usage", call("usage")),
        ("history", call("history")),
        ("panel", call("panel")),
        ("panel a", call("panel", model="a")),
    ],
)
def test_every_verb_gives_its_command(line: str, expected: Call) -> None:
    assert given_of(say(line)) == expected


@pytest.mark.parametrize("name", [flag.name for verb in VERBS if verb.name == "list" for flag in verb.flags])
def test_each_flag_of_list_sets_the_argument_of_its_name(name: str) -> None:
    assert given_of(say(f"list {name}")) == call("list", **{name.removeprefix("--"): True})


@pytest.mark.parametrize("words", list(itertools.permutations(["phi-2", "mistral", "--no-wait", "--timeout=5"])))
def test_flags_and_names_come_in_any_order(words: tuple[str, ...]) -> None:
    names = tuple(word for word in words if not word.startswith("-"))
    assert given_of(MAGIC.parse(["download", *words])) == call("download", models=names, no_wait=True, timeout=5)


def test_the_value_of_a_flag_between_names_is_no_name() -> None:
    said = say("download phi-2 --timeout 5 mistral")
    assert given_of(said) == call("download", models=("phi-2", "mistral"), timeout=5)


def test_two_dashes_end_the_flags() -> None:
    assert given_of(say("load -- --force")) == call("load", model="--force")
    said = say("download --no-wait -- -x -- --help")
    assert given_of(said) == call("download", models=("-x", "--", "--help"), no_wait=True)
    assert given_of(say("status --")) == call("status")


def test_a_single_dash_is_a_name() -> None:
    assert given_of(say("load -")) == call("load", model="-")


# Values from the notebook


@pytest.mark.parametrize("value", ["--all", "--yes", "-h", "--help", "--", "--all --yes", "a b", "'", '"', "x=--all"])
@pytest.mark.parametrize("verb", ["delete", "load", "panel", "snapshot"])
def test_a_value_is_a_model_and_never_a_flag(verb: str, value: str) -> None:
    name, arguments = given_of(say(f"{verb} $x", x=value))
    assert name == verb
    assert arguments in ({"models": (value,)}, {"model": value})


@given(st.text().filter(str.strip))
def test_any_text_of_a_server_is_one_model(value: str) -> None:
    assert given_of(say("cancel {x}", x=value)) == call("cancel", models=(value,))
    assert given_of(say("load --force {x}", x=value)) == call("load", model=value, force=True)


def test_a_model_object_stands_for_its_id() -> None:
    said = say("load {m}", m=SimpleNamespace(id="the-id", name="Phi 2"))
    assert given_of(said) == call("load", model="the-id")


@pytest.mark.parametrize("value", [5, None, ["a"], {"id": "x"}, SimpleNamespace(id=5), SimpleNamespace(id="")])
def test_a_model_that_is_neither_text_nor_model_is_refused(value: object) -> None:
    assert "load needs a name or a model, and {x} is" in refused("load {x}", x=value)


def test_an_object_whose_id_fails_is_no_model() -> None:
    class Broken:
        @property
        def id(self) -> NoReturn:
            raise RuntimeError

    assert "$x is a Broken" in refused("load $x", x=Broken())


@pytest.mark.parametrize("line", ["create {x}", "list {x}", "connect {x}"])
def test_what_is_no_model_takes_text_only(line: str) -> None:
    assert "needs a text" in refused(line, x=SimpleNamespace(id="the-id"))


@pytest.mark.parametrize("line", ["load ''", "load {x}", "load ' '", "create ''", "list ''"])
def test_an_empty_name_is_refused(line: str) -> None:
    assert "empty" in refused(line, x="")


@pytest.mark.parametrize("value", [5, None, {"total": 1}, 1.5, True, "--all", "null", "a=b"])
def test_a_set_value_from_the_notebook_keeps_its_type_and_is_not_read_again(value: object) -> None:
    expected = call("update", model="a", changes=(Change("f", value, typed=False),))
    for line in ("update a --set f={x}", "update a --set=f={x}", "update --set f=$x a"):
        assert given_of(say(line, x=value)) == expected


def test_json_braces_in_a_set_value_stay_text() -> None:
    said = say("""update a --set 'f={"total": 5}'""")
    assert given_of(said) == call("update", model="a", changes=(Change("f", '{"total": 5}'),))


def test_a_value_cannot_choose_the_field_of_set() -> None:
    assert "needs the FIELD of --set typed" in refused("update a --set $x", x="name=stolen")
    assert "needs the FIELD of --set typed" in refused("update a --set=$x", x="name=stolen")


def test_a_flag_without_a_value_takes_none_from_the_notebook() -> None:
    assert "--force that takes no value" in refused("load a --force={x}", x="yes")


def test_the_command_itself_has_to_be_typed() -> None:
    assert "has to be typed" in refused("{verb} a", verb="delete")
    assert "has to be typed" in refused("help {verb}", verb="delete")


@given(st.lists(st.sampled_from(["\ue000", "\ue0000", "\ue0001", "\ue000\ue0000", "\ue001"]), min_size=1), st.data())
def test_no_typed_text_passes_for_a_value(typed: list[str], data: st.DataObject) -> None:
    secret = Expanded("SECRET", source="$x")
    words = data.draw(st.permutations([*typed, secret]))
    assert given_of(MAGIC.parse(["snapshot", *words])) == call("snapshot", models=tuple(map(str, words)))


# What is wrong


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("load", "load needs a MODEL: %pieces_model load MODEL [--force] [--until-exit]"),
        (
            "load a b",
            "load takes only one MODEL, and 'b' is one more: %pieces_model load MODEL [--force] [--until-exit]",
        ),
        ("create", "create needs a NAME: %pieces_model create NAME [--set FIELD=VALUE …]"),
        ("status a", "status takes no names, and 'a' is one more: %pieces_model status"),
        ("cancel", "cancel needs a MODEL or --all: %pieces_model cancel MODEL [MODEL …] | --all"),
        ("unload", "unload needs a MODEL or --all: %pieces_model unload MODEL [MODEL …] | --all"),
        (
            "unload a --all",
            "unload takes either MODEL or --all, not both: %pieces_model unload MODEL [MODEL …] | --all",
        ),
        ("update a", "update has nothing to change: %pieces_model update MODEL --set FIELD=VALUE …"),
    ],
)
def test_an_error_says_what_was_wrong_and_the_usage(line: str, message: str) -> None:
    assert refused(line) == message


def test_in_a_terminal_the_usage_is_the_terminals() -> None:
    with pytest.raises(BadArguments, match=r"pieces-nb load MODEL \[--force\]"):
        TERMINAL.parse(["load"])


@pytest.mark.parametrize("typed", ["f", "f:1", ""])
def test_set_without_an_equals_sign_is_refused(typed: str) -> None:
    assert "has no '='" in refused(f"update a --set '{typed}'")


@pytest.mark.parametrize("typed", ["=5", "' =5'"])
def test_set_without_a_field_is_refused(typed: str) -> None:
    assert "needs the name of a field" in refused(f"update a --set {typed}")


@pytest.mark.parametrize("seconds", ["0", "-5", "-0.0", "nan", "inf", "soon", "1e999", "''"])
def test_a_timeout_is_a_positive_finite_number(seconds: str) -> None:
    assert "--timeout" in refused(f"download a --timeout {seconds}")


@pytest.mark.parametrize("seconds", [0, -1, float("nan"), float("inf"), True, None, [5], 10**400])
def test_a_timeout_from_the_notebook_is_a_positive_finite_number_too(seconds: object) -> None:
    assert "--timeout" in refused("download a --timeout {s}", s=seconds)


@pytest.mark.parametrize("seconds", [5, 5.0, "5"])
def test_a_timeout_may_come_from_the_notebook(seconds: object) -> None:
    for line in ("download a --timeout {s}", "download a --timeout={s}"):
        assert given_of(say(line, s=seconds)) == call("download", models=("a",), timeout=5)


@pytest.mark.parametrize("given", ["0", "-1", "1.5", "two", "''", "nan"])
def test_at_most_is_a_whole_number_from_1_up(given: str) -> None:
    assert f"download needs a whole number from 1 up for --at-most, not '{given.strip(chr(39))}'" in refused(
        f"download a b --at-most={given}"
    )


@pytest.mark.parametrize("line", ["download a --timeout", "download --timeout --no-wait a", "download --timeout -- a"])
def test_a_flag_that_waits_for_its_value_is_named(line: str) -> None:
    assert "needs S after --timeout" in refused(line)


def test_flags_are_not_abbreviated_but_suggested() -> None:
    assert "knows no flag '--forc' (did you mean --force?)" in refused("load a --forc")


def test_help_lists_what_can_be_used_where_it_is_asked_for() -> None:
    overview = {front: grammar_for(front).help() for front in (Front.NOTEBOOK, Front.TERMINAL)}
    for verb in ("history", "panel"):
        assert f"\n  {verb} " in overview[Front.NOTEBOOK]
        assert f"\n  {verb} " not in overview[Front.TERMINAL]


@pytest.mark.parametrize("line", ["panel", "help panel", "panel --help", "panel --nonsense", "--json panel a"])
def test_what_a_terminal_has_not_is_told_in_one_sentence_to_whoever_asks_for_it_or_its_page(line: str) -> None:
    with pytest.raises(BadArguments) as caught:
        TERMINAL.parse(split(line, {}))
    assert str(caught.value) == (
        "panel needs a notebook; in a terminal there are pieces-nb list, pieces-nb download and pieces-nb progress."
    )


@pytest.mark.parametrize("line", ["load a -f", "load a -5", "--force", "status --all"])
def test_an_unknown_flag_is_an_error(line: str) -> None:
    assert "knows no flag" in refused(line)


@pytest.mark.parametrize(
    ("typed", "nearest"), [("lod", "load"), ("Download", "download"), ("delete_cache", "delete-cache")]
)
def test_an_unknown_command_names_the_nearest(typed: str, nearest: str) -> None:
    assert nearest in refused(f"{typed} a")
    assert f"There is no command {typed!r}" in refused(typed)


def test_a_command_that_is_near_nothing_points_to_help() -> None:
    assert refused("xyzzy") == "There is no command 'xyzzy'. %pieces_model help lists the commands."


def test_control_characters_of_an_argument_do_not_reach_the_message() -> None:
    assert "\x1b" not in refused("$'\x1b[31m'")
    assert len(refused("load a " + "x" * 5000)) < 300


# Help


@pytest.mark.parametrize("line", ["help", "--help", "-h", "help help", "help --help"])
def test_the_overview_names_every_verb(line: str) -> None:
    text = page(say(line))
    assert all(re.search(rf"^  {re.escape(name)}\s+\S", text, re.MULTILINE) for name in [*NAMED, "help"])


@pytest.mark.parametrize("name", NAMED)
def test_every_verb_has_one_page_with_usage_flags_and_examples(name: str) -> None:
    text = page(say(f"help {name}"))
    assert text == page(say(f"{name} --help")) == page(say(f"{name} -h"))
    assert f"usage: %pieces_model {name}" in text
    assert all(re.search(rf"^  {re.escape(flag.name)}\b.* \S", text, re.MULTILINE) for flag in MAGIC.verbs[name].flags)
    assert re.search(rf"examples:\n  %pieces_model {re.escape(name)}", text)


@pytest.mark.parametrize("verb", VERBS, ids=lambda verb: verb.name or "bare")
def test_every_example_is_understood_and_the_usage_names_every_flag(verb: Verb) -> None:
    for example in verb.examples:
        assert say(example).verb is verb
    assert all(flag.name in verb.usage for flag in verb.flags)


def test_help_wins_over_what_is_missing_or_wrong() -> None:
    assert "usage: %pieces_model load" in page(say("load --nonsense --help"))


def test_help_as_the_value_of_a_flag_is_not_a_question() -> None:
    assert "needs FIELD=VALUE after --set" in refused("update a --set --help")


def test_help_for_an_unknown_or_a_second_command_is_an_error() -> None:
    assert "There is no command 'lod'" in refused("help lod")
    assert "one command at most" in refused("help load unload")


def test_cells_are_explained_in_notebooks_only() -> None:
    assert "%%pieces_model update" in page(say("help update"))
    assert "%%" not in page(TERMINAL.parse(["help", "update"]))


# Cells


def test_the_cell_is_the_body_of_update_and_create() -> None:
    assert MAGIC.parse(["update", "a"], cell='{"x": 1}').arguments["body"] == {"x": 1}
    assert MAGIC.parse(["create", "a"], cell='{"x": null}').arguments["body"] == {"x": None}


@pytest.mark.parametrize(
    ("words", "cell", "problem"),
    [
        (["update", "a", "--set", "x=1"], '{"x": 1}', "not both"),
        (["update", "a"], "{}", "nothing to change"),
        (["update", "a"], " \n", "cell is empty"),
        (["load", "a"], "{}", "takes nothing in the cell"),
        ([], "{}", "takes nothing in the cell"),
    ],
)
def test_a_cell_that_does_not_fit_is_refused(words: list[str], cell: str, problem: str) -> None:
    with pytest.raises(BadArguments, match=problem):
        MAGIC.parse(words, cell=cell)


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
)


@given(st.dictionaries(st.text(), values))
def test_every_json_object_is_read_as_json_reads_it(body: dict[str, object]) -> None:
    assert json_cell(json.dumps(body)) == body


def test_wrong_json_is_named_by_line_and_column() -> None:
    with pytest.raises(BadArguments, match=r"not JSON at line 2, column 8: "):
        json_cell('{\n  "a": what\n}')


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ('{"a": NaN}', "NaN"),
        ('{"a": -Infinity}', "-Infinity"),
        ('{"a": 1e999}', "too large: 1e999"),
        ('{"a": ' + "9" * 5000 + "}", "too many digits"),
        ('{"x": {"a": 1, "a": 2}}', "'a' twice"),
        ("[1]", "JSON object"),
        ("5", "JSON object"),
        ('{"a": ' + "[" * 70 + "]" * 70 + "}", "too deeply"),
        ('{"a": ' + "[" * 200_000 + "]" * 200_000 + "}", "too deeply"),
    ],
)
def test_json_that_would_not_survive_the_way_is_refused(text: str, problem: str) -> None:
    with pytest.raises(BadArguments, match=problem) as caught:
        json_cell(text)
    assert len(str(caught.value)) < 200


@given(st.text())
def test_any_text_in_a_cell_is_an_object_or_one_line_of_error(text: str) -> None:
    said = ""
    try:
        assert isinstance(json_cell(text), dict)
    except BadArguments as exc:
        said = str(exc)
    assert "\n" not in said


# The terminal


@pytest.mark.parametrize("words", list(itertools.permutations(["list", "--json", "--url=emulator"])))
def test_a_terminal_may_say_json_and_url_anywhere(words: tuple[str, ...]) -> None:
    said = TERMINAL.parse(words)
    assert (said.verb.name, said.options) == ("list", {"json": True, "url": "emulator", "quiet": False})


@pytest.mark.parametrize("name", ["", *NAMED])
def test_json_and_url_belong_to_every_verb_of_the_terminal_and_to_none_of_the_magic(name: str) -> None:
    assert {"--json", "--url"} <= {flag.name for flag in TERMINAL.flags_of(TERMINAL.verbs[name])}
    assert not {"--json", "--url"} & {flag.name for flag in MAGIC.flags_of(MAGIC.verbs[name])}


def test_a_terminals_url_with_its_value_apart_comes_before_the_command_too() -> None:
    said = TERMINAL.parse(["--url", "http://a", "load", "b"])
    assert (given_of(said), said.options["url"]) == (call("load", model="b"), "http://a")
    bare = TERMINAL.parse(["--json"])
    assert (bare.verb.name, bare.options["json"]) == ("", True)


def test_nothing_is_expanded_in_a_terminal() -> None:
    assert given_of(TERMINAL.parse(["load", "{x}"])) == call("load", model="{x}")
    assert given_of(TERMINAL.parse(["snapshot", "$x", "--", "-y"])) == call("snapshot", models=("$x", "-y"))


def test_a_verb_is_one_declaration_and_parser_help_and_json_follow_from_it() -> None:
    number = Flag("--at-most", "so many at a time", value="N", read=reading.count)
    serve = Verb("serve", "Serve.", lambda *_, **__: None, ("serve --at-most 3",), flags=(number,))
    extended = Grammar(Front.TERMINAL, [*VERBS, serve])
    said = extended.parse(["serve", "--at-most", "3", "--json"])
    assert (given_of(said), said.options["json"]) == (call("serve", at_most=3), True)
    assert "usage: pieces-nb serve [--at-most N]" in page(extended.parse(["serve", "-h"]))
    assert "serve" in page(extended.parse(["help"]))
    for wrong in ("8.5", "-1", "0", "x"):
        with pytest.raises(BadArguments, match="whole number from 1 up for --at-most"):
            extended.parse(["serve", "--at-most", wrong])


@given(
    st.lists(st.sampled_from([*NAMED, "--all", "--json", "--url", "--set", "a=b", "--", "-h", "--timeout", "5", ""]))
)
def test_any_words_are_a_command_or_one_line_of_error(words: list[str]) -> None:
    for parser in (MAGIC, TERMINAL):
        said = ""
        try:
            assert isinstance(parser.parse(words), Command)
        except BadArguments as exc:
            said = str(exc)
        assert "\n" not in said
