"""The magic's texts in a terminal's words. Pure.

Errors and captions are written for notebooks, where most of them are read; what they tell to type is translated here.
"""

from __future__ import annotations

import re

PROG = "pieces-nb"

_TRANSLATIONS = (
    # A server started by one command would end with it.
    (re.compile(r"%pieces_model connect emulator\b"), f"{PROG} emulator"),
    (re.compile(r"%pieces_model connect (http\S+?)(?=`)"), r"--url \1"),
    (re.compile(r" \(`%config [^`]*`[^)]*\)"), ""),
    (re.compile(r"\bwhere this kernel runs\b"), "where this runs"),
    (re.compile(r"%?%pieces_model\b"), PROG),
)


def in_terminal(text: str) -> str:
    """Return a text of ours as it reads in a terminal."""
    for pattern, replacement in _TRANSLATIONS:
        text = pattern.sub(replacement, text)
    return text
