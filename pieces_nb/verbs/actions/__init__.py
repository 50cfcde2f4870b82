"""The verbs, each a declaration beside its action; in the order in which help lists them. Shows and prints nothing."""

from __future__ import annotations

from functools import cache

from pieces_nb.text import Front
from pieces_nb.verbs.actions import changing, downloading, engine, looking, memory, overall
from pieces_nb.verbs.grammar import Grammar

VERBS = (*looking.VERBS, *downloading.VERBS, *memory.VERBS, *changing.VERBS, *engine.VERBS, *overall.VERBS)


@cache
def grammar_for(front: Front) -> Grammar:
    """Return the grammar of these verbs for a front end."""
    return Grammar(front, VERBS)
