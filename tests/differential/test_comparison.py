"""A comparison that overlooks something would find everything alike."""

import pytest
from tests.differential.comparison import Found, compare, is_one
from tests.differential.differences.difference import ANY, Difference


@pytest.mark.parametrize(
    ("uvicorn", "gateway", "found"),
    [
        ({"a": 1}, {"a": 2}, [Found("a", "1", "2")]),
        ({"a": {"b": [1, 2]}}, {"a": {"b": [1, 3]}}, [Found("a.b[1]", "2", "3")]),
        ({"a": 1}, {}, [Found("a", "1", "absent")]),
        ({}, {"a": {"b": 1}}, [Found("a", "absent", "{'b': 1}")]),
        ([], ["x"], [Found("[0]", "absent", "'x'")]),
        ({"a": {}}, {"a": []}, [Found("a", "{}", "[]")]),
        ({"a": None}, {}, [Found("a", "None", "absent")]),
        ({"a": "absent"}, {}, [Found("a", "'absent'", "absent")]),
        ({"a": [1, {"b": None}]}, {"a": [1, {"b": None}]}, []),
    ],
)
def test_every_value_that_differs_is_found(
    uvicorn: object, gateway: object, found: list[Found]
) -> None:
    assert compare(uvicorn, gateway) == found


LISTED = Difference(
    name="one",
    uvicorn="",
    gateway="",
    why="",
    exchanges=("get*",),
    sometimes=("head_it",),
    sites=("flask",),
    at={"headers[*].x": ("1", "absent"), "other": ANY},
)


@pytest.mark.parametrize(
    ("site", "exchange", "found", "is_listed"),
    [
        ("flask", "get_it", Found("headers[7].x", "1", "absent"), True),
        ("flask", "get_it", Found("other", "anything", "else"), True),
        ("flask", "head_it", Found("headers[7].x", "1", "absent"), True),
        ("quart", "get_it", Found("headers[7].x", "1", "absent"), False),
        ("flask", "put_it", Found("headers[7].x", "1", "absent"), False),
        ("flask", "get_it", Found("headers[7].y", "1", "absent"), False),
        ("flask", "get_it", Found("headers7.x", "1", "absent"), False),
        ("flask", "get_it", Found("headers[7].x", "2", "absent"), False),
        ("flask", "get_it", Found("headers[7].x", "1", "2"), False),
    ],
)
def test_only_what_is_listed_is_explained(
    site: str, exchange: str, found: Found, is_listed: bool
) -> None:
    assert is_one(LISTED, site, exchange, found) is is_listed
