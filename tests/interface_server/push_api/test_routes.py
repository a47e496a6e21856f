import pytest

from gateway_interface.push_api.routes import AWS, CONNECTION, GROUP, MEMBERS, find_resource

FOUND = {
    b"/@connections/a!b": (AWS, "a!b"),
    b"/prod/x/@connections/a%21b": (AWS, "a!b"),
    b"/%40connections/a%3D": (AWS, "a="),
    b"/@connections/a%2Fb": (AWS, "a/b"),
    b"/v1/connections/a%21b": (CONNECTION, "a!b"),
    b"/v1/groups/n%65ws": (GROUP, "news"),
    b"/v1/groups/a/connections": (MEMBERS, "a"),
}
NOT_FOUND = (
    *(b"/", b"*", b"/@connections", b"/@connections/", b"/@connections/a/", b"/@connections/a/b"),
    *(b"/v1/groups/", b"/v1/groups//connections", b"/v1/groups/a/other", b"/prod/v1/push"),
    *(b"/v1%2Fpush", b"/V1/push"),
)


@pytest.mark.parametrize(("raw_path", "resource"), FOUND.items())
def test_resource_is_found(raw_path: bytes, resource: tuple[str, str]) -> None:
    assert find_resource(raw_path) == resource


@pytest.mark.parametrize("raw_path", NOT_FOUND)
def test_other_path_is_not_found(raw_path: bytes) -> None:
    assert find_resource(raw_path) is None
