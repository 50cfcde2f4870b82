"""The magic's texts in a terminal's words. Pure.

Errors and captions are written for notebooks, where most of them are read; what they tell to type is translated here.
"""

from __future__ import annotations

import re
import textwrap

PROG = "pieces-nb"

# What is to be typed stands between backticks; anything else that looks like it may be a name or what a person typed.
_TRANSLATIONS = (
    # A server started by one command would end with it.
    (re.compile(r"`%pieces_model connect emulator`"), f"`{PROG} emulator`"),
    (re.compile(r"`%pieces_model connect (http[^\s`]+)`"), r"`--url \1`"),
    (re.compile(r" \(`%config [^`]*`[^)]*\)"), ""),
    (re.compile(r"\bwhere this kernel runs\b"), "where this runs"),
    (re.compile(r"`%?%pieces_model\b"), f"`{PROG}"),
)


def in_terminal(text: str) -> str:
    """Return a text of ours as it reads in a terminal."""
    for pattern, replacement in _TRANSLATIONS:
        text = pattern.sub(replacement, text)
    return text


def command_in_terminal(command: str) -> str:
    """Return what to type in a terminal for a line with the magic."""
    return re.sub(r"\A%pieces_model\b", PROG, command)


def fold(text: str, width: int) -> str:
    """Return a text of several words or clauses as lines of at most `width`, broken between clauses if that will do."""
    if len(text) <= width:
        return text
    folded = [""]
    for clause in text.split(" · "):
        joined = f"{folded[-1]} · {clause}" if folded[-1] else clause
        if len(joined) <= width:
            folded[-1] = joined
        else:
            folded.append(clause)
    kept = [line for line in folded if line]
    wrapped = [textwrap.wrap(line, width, break_long_words=False, break_on_hyphens=False) for line in kept]
    return "\n".join(line for block in wrapped for line in block)
