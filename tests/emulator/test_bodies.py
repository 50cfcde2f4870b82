"""What a body may hold: what breaks a field's type is refused, and what is served can be read by the official SDK."""

from __future__ import annotations

import json
from typing import Any

import pytest
from pieces_os_client.models.model import Model

from tests.emulator.conftest import Started
from tests.emulator.support import SEEDED, Api

SCHEMA = {"migration": 0, "semantic": "MAJOR_0_MINOR_0_PATCH_1"}
SIZE = {"value": 5, "readable": "5 B"}
# Each breaks the type of one field, in a way that the official SDK does not read.
WRONG: list[tuple[str, object]] = [
    ("maxTokens", {"input": 5}),
    ("maxTokens", {"total": "5"}),
    ("maxTokens", {"total": True}),
    ("maxTokens", {"total": 5, "output": "5"}),
    ("maxTokens", {"total": 5, "schema": {"migration": "0"}}),
    ("maxTokens", 5),
    ("capabilities", {"images": 1}),
    ("capabilities", {"images": "yes"}),
    ("capabilities", {"schema": {}}),
    ("capabilities", [True]),
    ("organization", {}),
    ("organization", {"id": 7}),
    ("organization", {"id": "a", "reference": {"id": "b"}}),
    ("schema", {"semantic": "x"}),
    ("schema", {"migration": 1.5}),
    ("schema", {"migration": 0, "semantic": []}),
    ("score", {"automatic": 1}),
    ("score", {"automatic": 1, "manual": "0"}),
    ("ram", {"value": 1.5, "readable": "1 B"}),
    ("ram", {"value": True, "readable": "1 B"}),
    ("ram", {"value": 1}),
    ("ram", SIZE | {"schema": 1}),
    ("bytes", {"readable": "1 B"}),
    ("parameters", "7"),
    ("parameters", False),
    ("created", {"value": "yesterday"}),
    ("created", {"value": "2026-W01-1"}),
    ("created", {"value": "2026-01-01T10"}),
    ("created", {"value": "2026-13-01T10:00:00Z"}),
    ("created", {"value": 1767225600}),
    ("created", {"value": "2026-01-01T10:00:00Z", "readable": 5}),
    ("name", "\ud800"),
    ("description", "\udfff"),
    ("unique", 5),
    ("foundation", ["PHI_2"]),
    ("provider", {}),
    ("usage", None),
    ("type", "FAST"),
    ("cloud", "no"),
    ("version", 1),
]
RIGHT: list[tuple[str, object]] = [
    ("maxTokens", {"total": 5, "input": None, "output": 2.5, "schema": SCHEMA, "more": {"of": "it"}}),
    ("capabilities", {"images": True, "videos": None, "smells": "nice", "schema": SCHEMA}),
    ("organization", {"id": "a"}),
    ("schema", {"migration": 3}),
    ("ram", SIZE | {"schema": SCHEMA}),
    ("parameters", 7),
    ("parameters", 1.5),
    ("name", "\U0001f600 \x00"),
    ("foundation", "A_NEW_ONE"),
    ("provider", None),
    ("extra", ["anything", {"is": None}, -(2**63), 1e300]),
]


def is_read_by_the_sdk(model: dict[str, Any]) -> bool:
    return Model.from_dict(model) is not None


def listed(api: Api) -> list[dict[str, Any]]:
    """Return what is served, read as strictly as JSON demands."""

    def refuse(word: str) -> None:
        raise AssertionError(word)

    models: list[dict[str, Any]] = json.loads(api.get("/models").text, parse_constant=refuse)["iterable"]
    return models


@pytest.mark.parametrize(("field", "value"), WRONG)
def test_a_body_that_breaks_a_fields_type_is_refused_and_never_kept(
    started: Started, field: str, value: object
) -> None:
    _, api = started()
    before = listed(api)

    update = api.post("/model/update", json={"id": "mine", field: value})
    create = api.post("/models/create", json=SEEDED | {field: value})

    assert (update.status_code, create.status_code) == (422, 422)
    assert update.text.startswith(f"The field {field} must be ")
    assert listed(api) == before


@pytest.mark.parametrize(("field", "value"), RIGHT)
def test_what_is_kept_is_served_as_it_came_and_read_by_the_official_sdk(
    started: Started, field: str, value: object
) -> None:
    _, api = started()

    update = api.post("/model/update", json={"id": "mine", field: value})
    create = api.post("/models/create", json=SEEDED | {field: value})

    assert (update.status_code, create.status_code) == (200, 200), (update.text, create.text)
    assert update.json().get(field) == value
    assert all(is_read_by_the_sdk(model) for model in listed(api))


@pytest.mark.parametrize(
    "value", ["2026-01-02T03:04:05Z", "2026-01-02T03:04:05.123456789+05:30", "2026-01-02T03:04:05"]
)
def test_every_date_time_that_is_taken_is_read_by_the_official_sdk(started: Started, value: str) -> None:
    _, api = started()

    model = api.post("/models/create", json=SEEDED | {"created": {"value": value}}).json()

    assert model["created"]["value"] == value
    assert is_read_by_the_sdk(model)


@pytest.mark.parametrize("number", ["1e999", "-1e999", "9223372036854775808", "1" * 400])
@pytest.mark.parametrize("field", ["parameters", "extra"])
def test_a_number_too_large_is_refused_and_no_infinity_is_served(started: Started, field: str, number: str) -> None:
    _, api = started()
    before = listed(api)
    body = json.dumps({"id": "mine", "list": [{field: 0}], field: 0}).replace(f'"{field}": 0', f'"{field}": {number}')

    answer = api.post("/model/update", data=body)

    assert (answer.status_code, answer.text) == (422, "The body holds a number that is too large.")
    assert listed(api) == before


def test_nonsense_of_a_callers_catalogue_is_served_and_never_kept(started: Started) -> None:
    emulator, api = started(models=[{"id": "odd", "name": "Odd", "custom": True, "parameters": float("nan")}])
    state = (emulator.home / "state.json").read_bytes()

    answer = api.post("/model/update", json={"id": "odd", "description": "new"})

    assert (answer.status_code, answer.text.partition(":")[0]) == (500, "The emulator cannot store its state")
    assert (emulator.home / "state.json").read_bytes() == state
    assert "NaN" in api.get("/model/odd").text
    assert api.post("/model/update", json={"id": "odd", "parameters": 7}).status_code == 200
    assert "NaN" not in api.get("/model/odd").text
