"""Who is in which group, without I/O."""

from typing import Any

import pytest

from gateway_layer.groups import Memberships, check_group


@pytest.fixture
def groups() -> Memberships[str]:
    return Memberships()


def test_first_member_is_told(groups: Memberships[str]) -> None:
    assert groups.add("g", "a")
    assert not groups.add("g", "b")
    assert list(groups.members("g")) == ["a", "b"]


def test_joining_twice_is_joining_once(groups: Memberships[str]) -> None:
    groups.add("g", "a")
    assert not groups.add("g", "a")
    assert list(groups.members("g")) == ["a"]
    assert groups.discard("g", "a")
    assert not groups.members("g")


def test_last_member_is_told(groups: Memberships[str]) -> None:
    groups.add("g", "a")
    groups.add("g", "b")
    assert not groups.discard("g", "a")
    assert groups.discard("g", "b")
    assert list(groups.names()) == []


def test_leaving_what_was_never_joined_is_nothing(groups: Memberships[str]) -> None:
    groups.add("g", "a")
    assert not groups.discard("g", "b")
    assert not groups.discard("other", "a")
    assert groups.of("a") == ["g"]


def test_connection_that_ends_leaves_all_its_groups(groups: Memberships[str]) -> None:
    for group in ("x", "y"):
        groups.add(group, "a")
    groups.add("y", "b")
    assert groups.leave_all("a") == ["x"]
    assert groups.of("a") == []
    assert list(groups.members("y")) == ["b"]


def test_ending_twice_is_nothing(groups: Memberships[str]) -> None:
    groups.add("g", "a")
    groups.leave_all("a")
    assert groups.leave_all("a") == []


def test_groups_of_a_connection_are_sorted(groups: Memberships[str]) -> None:
    for group in ("b", "a", "c"):
        groups.add(group, "x")
    assert groups.of("x") == ["a", "b", "c"]


@pytest.mark.parametrize("name", ["a", "A.b-c_9", "x" * 99])
def test_names_that_groups_may_have(name: str) -> None:
    assert check_group(name) == name


@pytest.mark.parametrize("name", ["", "x" * 100, "a b", "ü", "a!b", "a\n", b"a", None, 5])
def test_names_that_no_group_may_have(name: Any) -> None:
    with pytest.raises(TypeError, match="group name"):
        check_group(name)
