"""Whatever a server puts into a field of a model, it can be read, shown and found."""

from __future__ import annotations

import inspect
import json
import re
from html import unescape
from typing import Any

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from pieces_nb import rows
from pieces_nb.model.models import Model, ModelDownloadProgress, models_from_wire
from pieces_nb.model.resolve import nearest_names, resolve
from pieces_nb.model.rules import Filter
from pieces_nb.rows import Rows
from pieces_nb.text import Front, printable
from pieces_nb.views.frames import Table, frame_of
from pieces_nb.views.table_text import records_of, text_of

KNOWN_FIELDS = (
    *("id", "name", "unique", "cloud", "custom", "downloaded", "downloading", "loaded", "bytes", "ram"),
    *("parameters", "quantization", "provider", "description", "created", "version", "schema"),
)
PROPERTIES = [name for name, value in inspect.getmembers(Model) if isinstance(value, property)]

# What json.loads can make: it takes NaN and Infinity, integers of any length and lone surrogates too.
ODD_TEXT = st.one_of(
    st.text(st.characters(), max_size=20),
    st.text(st.characters(categories=["Cs", "Cc", "Cf", "Zs", "Zl"]), max_size=5),
    st.sampled_from(["<script>alert(1)</script>", "</td><script>", "$x^2$", "&lt;script&gt;", "\u202eevil", "\x1b[2J"]),
    st.sampled_from(["2025-01-01T00:00:00.000Z", "0001-01-01T00:00:00+23:59", "9999-12-31", "2025-W01", "NaN"]),
)
SCALARS = st.one_of(
    st.none(), st.booleans(), st.integers(), st.sampled_from([10**400, -(2**63)]), st.floats(), ODD_TEXT
)
JSON = st.recursive(
    SCALARS,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.dictionaries(st.one_of(st.sampled_from(["value", "readable", "schema"]), ODD_TEXT), inner, max_size=3),
    ),
    max_leaves=6,
)
UNPRINTABLE = re.compile(
    "[\\x00-\\x09\\x0b-\\x1f\\x7f-\\x9f\\u200e\\u200f\\u202a-\\u202e\\u2066-\\u2069\\ud800-\\udfff]"
)
FIELDS = st.one_of(st.sampled_from(KNOWN_FIELDS), ODD_TEXT)
MODELS = st.dictionaries(FIELDS, JSON, max_size=8).map(Model)


def shown(found: Rows) -> tuple[str, str]:
    table = Table.of(found)
    return repr(table), table._repr_html_()


@settings(max_examples=150, deadline=None)
@given(model=MODELS)
def test_every_property_of_a_model_of_anything_reads(model: Model) -> None:
    for name in PROPERTIES:
        getattr(model, name)
    assert isinstance(model.title, str)
    assert isinstance(model.argument, str)
    assert model.size_bytes is None or 0 <= model.size_bytes < 2**63
    assert model.created is None or model.created.tzinfo is not None
    assert repr(model).isprintable()
    assert hash(model) == hash(model.id)


@settings(max_examples=40, deadline=None)
@given(models=st.lists(MODELS, max_size=3))
def test_tables_of_models_of_anything_show(models: list[Model]) -> None:
    listed, wide = rows.models(models, server="here"), rows.models(models, server="here", wide=True)
    for found in (listed, wide, rows.snapshot(models, server="here")):
        text, html = shown(found)
        json.dumps(records_of(found, Front.TERMINAL), allow_nan=False)
        assert not UNPRINTABLE.search(text_of(found, front=Front.TERMINAL, width=80))
        assert "\x1b" not in text
        assert "<script" not in html.lower()
        assert not UNPRINTABLE.search(text + html)


@settings(max_examples=100, deadline=None)
@given(name=ODD_TEXT, other=ODD_TEXT)
def test_a_change_of_anything_shows(name: str, other: str) -> None:
    found = rows.changes(Model({name: other}), Model({other: name}), [name, other, "x.y"], server="here")
    _, html = shown(found)
    assert "<script" not in html.lower()


@settings(max_examples=100, deadline=None)
@given(name=ODD_TEXT)
def test_any_name_survives_the_table_and_its_html(name: str) -> None:
    model = Model({"id": "one", "name": name})
    found = rows.models([model], server="here")
    frame = frame_of(found)
    assert frame["name"].iloc[0] == (name or "one")
    assert frame["id"].iloc[0] == "one"
    _, html = shown(found)
    assert "<script" not in html.lower()
    assert printable(name) in unescape(html)


@settings(max_examples=200, deadline=None)
@given(name=ODD_TEXT, beginnings=st.booleans())
def test_any_name_that_is_not_blank_finds_its_model(name: str, beginnings: bool) -> None:
    assume(name.strip())
    model, other = Model({"id": "one id", "name": name}), Model({"id": "another id", "name": f"not {name} either"})
    assert resolve(name, [model, other], beginnings=beginnings) is model
    assert model in Filter(name).of([model, other])
    assert nearest_names(name, [model, other])


@pytest.mark.parametrize("name", [" Phi-2", "Phi-2 ", "\tPhi-2\n", "\u3000Phi-2"])
def test_a_name_with_blanks_around_it_is_found(name: str) -> None:
    model, other = Model({"id": "one id", "name": name}), Model({"id": "another id", "name": "Phi-2 too"})
    assert resolve(name, [other, model], beginnings=False) is model


@settings(max_examples=150, deadline=None)
@given(value=JSON)
def test_any_list_of_models_is_models_or_a_named_error(value: Any) -> None:
    assert all(isinstance(model, Model) for model in models_from_wire({"iterable": [value, {"id": "one"}]}))


@settings(max_examples=150, deadline=None)
@given(status=JSON, percentage=JSON)
def test_any_frame_is_a_progress_with_a_percentage_or_none(status: Any, percentage: Any) -> None:
    for value in (status, {"status": status, "percentage": percentage}):
        progress = ModelDownloadProgress.from_wire(value)
        assert progress.percentage is None or 0 <= progress.percentage <= 100
