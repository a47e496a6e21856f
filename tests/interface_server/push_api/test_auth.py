import pytest

from gateway_interface.config import InterfaceConfig
from gateway_interface.core.http1.head import RequestHead
from gateway_interface.push_api.answers import ApiError
from gateway_interface.push_api.auth import Authority, is_loopback
from gateway_layer.errors import ConfigError

OPEN = Authority({}, [], unix_socket=False)
TOKENS = Authority({}, ["first", "second"], unix_socket=False)


def head(**fields: str) -> RequestHead:
    headers = [(name.encode(), value.encode()) for name, value in fields.items()]
    return RequestHead("GET", "/", b"/", b"", "1.1", headers, True, 0, False, False)


@pytest.mark.parametrize("host", ["127.0.0.1", "127.9.9.9", "::1", "[::1]", "localhost"])
def test_address_of_loopback_is_known(host: str) -> None:
    assert is_loopback(host)


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "10.0.0.1", "localhost.example", ""])
def test_other_address_is_not_loopback(host: str) -> None:
    assert not is_loopback(host)


@pytest.mark.parametrize("host", ["127.0.0.1:8000", "localhost", "[::1]:80", "[::1]"])
def test_open_api_takes_requests_to_this_machine(host: str) -> None:
    assert OPEN.admit(head(host=host), 0.0) is None


def test_open_api_refuses_a_name_that_was_rebound_to_loopback() -> None:
    with pytest.raises(ApiError, match="loopback"):
        OPEN.admit(head(host="evil.example:8000"), 0.0)


def test_open_api_refuses_what_a_web_page_sends() -> None:
    with pytest.raises(ApiError, match="web pages"):
        OPEN.admit(head(host="127.0.0.1", origin="https://evil.example"), 0.0)


def test_on_a_unix_socket_the_host_means_nothing() -> None:
    assert Authority({}, [], unix_socket=True).admit(head(host="gateway"), 0.0) is None


@pytest.mark.parametrize("value", ["Bearer first", "bearer second", "BEARER  second"])
def test_each_token_is_taken(value: str) -> None:
    assert TOKENS.admit(head(authorization=value), 0.0) is None


@pytest.mark.parametrize(
    "value", ["Bearer third", "Bearer", "Bearer firs", "Basic first", "first", "Bearer f\xe9"]
)
def test_wrong_token_is_refused(value: str) -> None:
    with pytest.raises(ApiError) as refused:
        TOKENS.admit(head(authorization=value), 0.0)
    assert refused.value.status == 403


def test_missing_token_is_refused() -> None:
    with pytest.raises(ApiError, match="Authorization"):
        TOKENS.admit(head(host="127.0.0.1"), 0.0)


# What may be configured.


@pytest.mark.parametrize("bind", ["127.0.0.1:0", "[::1]:0", "localhost:0", "unix:/run/push"])
def test_without_credentials_only_this_machine_may_push(bind: str) -> None:
    assert InterfaceConfig(push_bind=bind).push_bind == bind


@pytest.mark.parametrize("bind", ["0.0.0.0:0", "[::]:0", "10.0.0.1:1", "gateway.example:80"])
def test_address_that_others_reach_needs_credentials(bind: str) -> None:
    with pytest.raises(ConfigError, match="--push-key and --push-token"):
        InterfaceConfig(push_bind=bind)


def test_address_that_others_reach_may_have_a_token() -> None:
    InterfaceConfig(push_bind="0.0.0.0:0", push_tokens=("secret",))


def test_address_that_others_reach_may_have_a_key() -> None:
    InterfaceConfig(push_bind="0.0.0.0:0", push_keys=(("access", "secret"),))


def test_credentials_need_a_listener() -> None:
    with pytest.raises(ConfigError, match="need --push-bind"):
        InterfaceConfig(push_tokens=("secret",))


@pytest.mark.parametrize("token", ["", "two words", "line\n"])
def test_token_that_no_client_can_send_is_refused(token: str) -> None:
    with pytest.raises(ConfigError, match="--push-token"):
        InterfaceConfig(push_bind="127.0.0.1:0", push_tokens=(token,))


@pytest.mark.parametrize("keys", [(("", "s"),), (("a", ""),), (("a", "s"), ("a", "t"))])
def test_key_that_cannot_be_used_is_refused(keys: tuple[tuple[str, str], ...]) -> None:
    with pytest.raises(ConfigError, match="--push-key"):
        InterfaceConfig(push_bind="127.0.0.1:0", push_keys=keys)


def test_address_that_is_none_is_named() -> None:
    with pytest.raises(ConfigError, match="--push-bind 8000"):
        InterfaceConfig(push_bind="8000")


def test_secrets_are_not_shown() -> None:
    config = InterfaceConfig(
        push_bind="127.0.0.1:0", push_keys=(("access", "hidden"),), push_tokens=("hidden",)
    )
    assert "hidden" not in repr(config)
