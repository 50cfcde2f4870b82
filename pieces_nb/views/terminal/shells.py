"""Tab in bash, zsh and fish: the scripts that ask, and the answer. What may stand there is the grammar's to say."""

from __future__ import annotations

import re
import shlex
from collections.abc import Sequence
from typing import TYPE_CHECKING

from pieces_nb.errors import PiecesError
from pieces_nb.text import Front

if TYPE_CHECKING:
    from pieces_nb.model.models import Model

CALL = "__complete"  # pieces-nb __complete SHELL WORD … LAST_WORD
_TIMEOUT_S = 1.0  # a server that is slower has no names to offer

SCRIPTS = {
    "bash": """\
_pieces_nb() {
    local IFS=$'\\n' line
    COMPREPLY=()
    while read -r line; do
        COMPREPLY+=("$line")
    done < <(pieces-nb __complete bash "${COMP_LINE:0:COMP_POINT}" 2>/dev/null)
    [[ ${COMPREPLY[0]} == *= ]] && compopt -o nospace
    return 0
}
complete -F _pieces_nb pieces-nb
""",
    "zsh": """\
_pieces_nb() {
    local -a found
    found=("${(@f)$(pieces-nb __complete zsh "${(@Q)words[2,CURRENT-1]}" "${(Q)PREFIX}" 2>/dev/null)}")
    compadd -S '' -- ${(M)found:#*=}
    compadd -- ${found:#*=}
}
(( $+functions[compdef] )) || { autoload -Uz compinit && compinit }
compdef _pieces_nb pieces-nb
""",
    "fish": """\
complete -c pieces-nb -f -a '(pieces-nb __complete fish (commandline -opc)[2..] (commandline -ct) 2>/dev/null)'
""",
}


def answer(arguments: Sequence[str]) -> int:
    """Print what may stand for the last word, one a line. Tab is no place for errors: then there is nothing."""
    shell, *words = arguments
    for text in _for_bash(words[0]) if shell == "bash" else _offered(words[:-1], words[-1]):
        print(text)
    return 0


def _offered(words: Sequence[str], value: str) -> tuple[str, ...]:
    from pieces_nb.verbs.actions import VERBS
    from pieces_nb.verbs.completion import offers
    from pieces_nb.verbs.grammar import Grammar
    from pieces_nb.views.terminal import own_verbs

    grammar = Grammar(Front.TERMINAL, (*VERBS, *own_verbs.VERBS))
    return offers(grammar, words, value, lambda: _models(_url(words))).texts


def _url(words: Sequence[str]) -> str | None:
    before = ("", *words)
    for flag, word in zip(before, words, strict=False):
        if flag == "--url":
            return word
        if word.startswith("--url="):
            return word.removeprefix("--url=")
    return None


def _models(url: str | None) -> list[Model]:
    from pieces_nb.client import ModelClient, Settings

    try:
        with ModelClient(url, settings=Settings(timeout_s=_TIMEOUT_S)) as client:
            return client.models()
    except PiecesError:
        return []


# bash ----------------------------------------------------------------------------------------------------------------

_BREAKS = re.compile(r"[:=]")  # of COMP_WORDBREAKS: bash replaces only what comes after these


def _for_bash(line: str) -> list[str]:
    """Return what bash puts in place of the end of the line: quoted, and less what stands before its last break."""
    from pieces_nb.verbs.completion import read_line

    typed = read_line(line)
    texts = _offered(typed.words[1:], typed.value)
    breaks = [match.end() for match in _BREAKS.finditer(typed.value)]
    if typed.opened:
        # Within quotes nothing breaks, and bash closes them itself.
        return list(texts)
    start = breaks[-1] if breaks else 0
    return [_quoted(text[start:]) for text in texts]


def _quoted(text: str) -> str:
    return text if text.endswith("=") else shlex.quote(text)
