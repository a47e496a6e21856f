import pytest
from tests.workers.middleware.asgi import Application, exchange, http, status_of, websocket

from gateway_worker.apps import ASGI3App, Receive, Scope, Send
from gateway_worker.routing import ChannelNameRouter, ProtocolTypeRouter


@pytest.mark.parametrize("scope", [http(), websocket(), {"type": "lifespan"}, {"type": "line"}])
async def test_application_for_the_type_gets_the_connection(scope: Scope) -> None:
    app = Application()
    await exchange(ProtocolTypeRouter({scope["type"]: app, "other": Application()}), scope)
    assert app.scope is scope


async def test_http_without_an_application_is_404() -> None:
    start, body = await exchange(ProtocolTypeRouter({}), http())
    assert start["status"] == 404
    assert dict(start["headers"])[b"content-length"] == str(len(body["body"])).encode()


async def test_websocket_without_an_application_is_refused() -> None:
    assert await status_of(ProtocolTypeRouter({}), websocket()) == 403


async def test_websocket_that_has_left_is_told_nothing() -> None:
    async def receive() -> Scope:
        return {"type": "websocket.disconnect", "code": 1006}

    async def send(_message: Scope) -> None:
        raise AssertionError("nobody is there")

    await ProtocolTypeRouter({})(websocket(), receive, send)


@pytest.mark.parametrize("kind", ["lifespan", "line"])
async def test_other_type_without_an_application_is_an_error_that_names_it(kind: str) -> None:
    router = ProtocolTypeRouter({"http": Application()})
    with pytest.raises(ValueError, match=f"no application for scopes of type '{kind}'.*'http'"):
        await exchange(router, {"type": kind})


async def test_application_for_the_channel_gets_its_messages() -> None:
    app = Application()
    scope = {"type": "channel", "channel": "mail"}
    await exchange(ChannelNameRouter({"thumbnails": Application(), "mail": app}), scope)
    assert app.scope is scope


async def test_channel_without_an_application_is_an_error_that_names_it() -> None:
    router = ChannelNameRouter({"thumbnails": Application()})
    with pytest.raises(ValueError, match=r"no application for channel 'mail'.*'thumbnails'"):
        await exchange(router, {"type": "channel", "channel": "mail"})


async def test_scope_that_is_no_channel_is_an_error() -> None:
    with pytest.raises(ValueError, match="'http' has no 'channel'"):
        await exchange(ChannelNameRouter({}), http())


async def test_error_of_an_application_passes() -> None:
    async def app(_scope: Scope, _receive: Receive, _send: Send) -> None:
        raise KeyError("theirs")

    routers: list[ASGI3App] = [ProtocolTypeRouter({"http": app})]
    with pytest.raises(KeyError, match="theirs"):
        await exchange(routers[0], http())
