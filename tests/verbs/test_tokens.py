"""The line of a magic: split as a shell would, then expanded, each value one argument."""

from __future__ import annotations

import shlex
from typing import NoReturn

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pieces_nb.errors import BadArguments
from pieces_nb.verbs.tokens import Expanded, quote, split

NASTY = ["--all --yes", "--force", "-h", "--", "a b", "it's", 'say "hi"', "$5", "{x}", "", "\n", "\ue0000", "a=b"]


class Unshowable:
    def __str__(self) -> NoReturn:
        raise RuntimeError("no text")

    __repr__ = __str__


def only(line: str, namespace: dict[str, object]) -> Expanded:
    [token] = split(line, namespace)
    assert isinstance(token, Expanded)
    return token


def test_words_are_split_as_a_shell_splits_them() -> None:
    assert split("""load 'Phi 2' "a \\"b\\"" c\\ d""") == ["load", "Phi 2", 'a "b"', "c d"]


@given(st.lists(st.text(st.characters(exclude_characters="{}$", exclude_categories=["Cs"]))))
def test_every_list_of_plain_words_survives_quoting_and_splitting(words: list[str]) -> None:
    assert split(shlex.join(words)) == words


@pytest.mark.parametrize("line", ["load 'Phi", 'load "Phi', "load it's", "load Phi\\"])
def test_a_line_without_an_end_is_one_line_of_error(line: str) -> None:
    with pytest.raises(BadArguments) as caught:
        split(line)
    assert line in str(caught.value)
    assert "\n" not in str(caught.value)


def test_the_error_tells_a_quote_from_a_backslash() -> None:
    with pytest.raises(BadArguments, match="quote without its partner"):
        split("load 'Phi")
    with pytest.raises(BadArguments, match="single backslash"):
        split("load Phi\\")


@pytest.mark.parametrize("value", NASTY)
@pytest.mark.parametrize("line", ["$name", "{name}"])
def test_a_value_is_one_argument_whatever_it_contains(line: str, value: str) -> None:
    token = only(line, {"name": value})
    assert token == value
    assert token.value == value


@pytest.mark.parametrize("value", [5, 1.5, None, {"total": 4096}, ["a"], True])
def test_a_value_keeps_its_type(value: object) -> None:
    token = only("maxTokens={value}", {"value": value})
    assert token.prefix == "maxTokens="
    assert token.value is value


def test_an_expression_may_have_blanks_and_quotes_of_its_own() -> None:
    assert only("'{names[0] + \" x\"}'", {"names": ["phi"]}) == "phi x"


def test_comprehensions_see_the_names_of_the_notebook() -> None:
    assert only("'{[n for n in names if n != skip]}'", {"names": ["a", "b"], "skip": "a"}).value == ["b"]


@pytest.mark.parametrize("prefix", ["--timeout=", "description=", "maxTokens.total=", "--set=description=", "a-b="])
def test_what_stands_after_the_equals_sign_is_expanded_alone(prefix: str) -> None:
    token = only(prefix + "$x", {"x": "--all y"})
    assert (token.prefix, token.value, str(token)) == (prefix, "--all y", prefix + "--all y")


@pytest.mark.parametrize(
    "literal",
    [
        '{"total": 5}',
        "{}",
        "{ }",
        "$5",
        "$",
        "$a.b",
        "${a}",
        "{a",
        "a}",
        "x{a}",
        "{a}x",
        "{a}{a}",
        "{a!r}",
        "{a: 1}",
        '{"a": {"b": [1]}}',
        'maxTokens={"total": 5}',
        "f=$5",
        "{await a}",
        "{(yield)}",
        "{a = 1}",
        "{\0}",
    ],
)
def test_what_is_no_expression_and_no_name_stays_as_it_is(literal: str) -> None:
    [token] = split(shlex.quote(literal), {"a": "WRONG", "total": "WRONG"})
    assert token == literal
    assert not isinstance(token, Expanded)


def test_braces_nested_too_deeply_to_compile_stay_as_they_are() -> None:
    literal = "{" + "(" * 5000 + ")" * 5000 + "}"
    assert split(literal) == [literal]


def test_a_value_is_not_expanded_again() -> None:
    assert only("$a", {"a": "$b", "b": "WRONG"}) == "$b"


@pytest.mark.parametrize("line", ["load $phi", "load {phi}", "update a --set f=$phi"])
def test_a_name_that_is_not_defined_is_named(line: str) -> None:
    with pytest.raises(BadArguments, match=r"'phi'.* not defined"):
        split(line, {})


def test_an_expression_that_fails_is_shown_with_its_reason_on_one_line() -> None:
    with pytest.raises(BadArguments) as caught:
        split("load '{1 / 0}'")
    assert str(caught.value) == "{1 / 0} cannot be worked out: ZeroDivisionError: division by zero"


def test_an_exception_without_a_text_is_still_one_line() -> None:
    class Mute(Exception):
        __str__ = Unshowable.__str__

    def fail() -> NoReturn:
        raise Mute

    with pytest.raises(BadArguments, match=r"Mute: \(its text cannot be shown\)"):
        split("{fail()}", {"fail": fail})


def test_an_interrupt_in_an_expression_is_no_wrong_argument() -> None:
    def interrupt() -> NoReturn:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        split("{interrupt()}", {"interrupt": interrupt})


def test_a_foreign_object_is_never_asked_for_its_text() -> None:
    assert only("$x", {"x": Unshowable()}) == "$x"


def test_an_expression_leaves_nothing_behind_in_the_notebook() -> None:
    namespace: dict[str, object] = {}
    assert only("{(x:=5)}", namespace).value == 5
    assert namespace == {}


def test_a_warning_about_an_expression_changes_nothing() -> None:
    assert only("'{1 is 1}'", {}).value is True


@given(st.text() | st.sampled_from(NASTY) | st.from_regex(r"\A(--set=)?(a=)?(\$\w+|\{.*\})\Z"))
def test_a_quoted_text_comes_back_exactly_from_one_line(text: str) -> None:
    for opened in ("", "'", '"'):
        quoted = quote(text, opened=opened)
        assert quoted.isprintable()
        assert quoted.startswith(opened)
        assert split(quoted) == [text]


def test_a_quoted_text_that_looks_like_code_is_not_run() -> None:
    assert split(quote("{boom()}"), {}) == ["{boom()}"]


def test_plain_names_are_quoted_as_a_shell_would() -> None:
    assert [quote("phi-2"), quote("Phi 2"), quote("it's")] == ["phi-2", "'Phi 2'", "'it'\"'\"'s'"]
