"""Which interface an application has, told by its marks and arguments."""

from collections.abc import Iterator
from functools import partial, wraps
from pathlib import Path
from typing import Any

import flask
import pytest
from a2wsgi import ASGIMiddleware
from fastapi import FastAPI
from starlette.applications import Starlette
from tests.workers.wsgi.driver import Client, end_threads, scope_of

from gateway_layer.errors import ConfigError
from gateway_worker.apps import detect_interface, load_app
from gateway_worker.config import WorkerConfig
from gateway_worker.wsgi import WsgiBridge


async def asgi3(scope: Any, receive: Any, send: Any) -> None:
    """A coroutine function."""


class Asgi3:
    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """An object."""

    def method(self, scope: Any, receive: Any, send: Any) -> Any:
        """A function that returns a coroutine."""
        return self(scope, receive, send)


class Asgi2:
    def __init__(self, scope: Any) -> None:
        """A class."""


class Asgi2WithMore(Asgi2):
    def __init__(self, scope: Any, more: Any = None) -> None:
        """One with an argument of its own."""


def wsgi(environ: Any, start_response: Any) -> list[bytes]:
    return []


class Wsgi:
    def __call__(self, environ: Any, start_response: Any) -> list[bytes]:
        return []

    def method(self, environ: Any, start_response: Any, more: Any = None) -> list[bytes]:
        return []


class WsgiClass:
    def __init__(self, environ: Any, start_response: Any) -> None:
        """The result is the instance (PEP 3333, "The Application/Framework Side")."""

    def __iter__(self) -> Iterator[bytes]:
        return iter(())


@wraps(wsgi)
def decorated(*args: Any, **kwargs: Any) -> Any:
    return wsgi(*args, **kwargs)


class Single(Wsgi):
    _asgi_single_callable = True


class Double(Asgi3):
    _asgi_double_callable = True


def anything(*args: Any) -> Any:
    """Takes what comes."""


@pytest.mark.parametrize(
    ("interface", "app"),
    [
        ("asgi3", asgi3),
        ("asgi3", Asgi3()),
        ("asgi3", Asgi3().method),
        ("asgi3", partial(asgi3, send=None)),
        ("asgi3", Single()),
        ("asgi3", Starlette()),
        ("asgi3", FastAPI()),
        ("asgi2", Asgi2),
        ("asgi2", Asgi2WithMore),
        ("asgi2", Double()),
        ("asgi2", lambda scope: None),
        ("wsgi", wsgi),
        ("wsgi", Wsgi()),
        ("wsgi", Wsgi().method),
        ("wsgi", WsgiClass),
        ("wsgi", decorated),
        ("wsgi", partial(Wsgi().method, more=1)),
        ("wsgi", flask.Flask("site")),
        ("wsgi", ASGIMiddleware(asgi3)),
        ("", anything),
        ("", lambda: None),
        ("", lambda a, b, c, d: None),
        ("", lambda environ, start_response, *, key: None),
        ("", dict),
        ("", max),
    ],
)
def test_interfaces(interface: str, app: Any) -> None:
    assert detect_interface(app) == interface


SOURCE = """
def app(environ, start_response):
    start_response("200 OK", [("Content-Length", "4")])
    return [environ["PATH_INFO"].encode()]

async def both(*args):
    pass

def anything(*args):
    return app(*args)

def make():
    return app
"""


def load(folder: Path, name: str, **options: Any) -> Any:
    (folder / "wsgi_sample.py").write_text(SOURCE)
    return load_app(WorkerConfig(app=f"wsgi_sample:{name}", app_dir=str(folder), **options))


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.syspath_prepend(str(tmp_path))
    return tmp_path


async def test_a_wsgi_application_is_called_as_asgi_3(folder: Path) -> None:
    app = load(folder, "app", threads=3)
    assert isinstance(app, WsgiBridge)
    assert app.threads == 3
    client = Client()
    await app(scope_of(path="/abc"), client.receive, client.send)
    await end_threads(app)
    assert client.body == b"/abc"


def test_what_cannot_be_told_has_to_be_said(folder: Path) -> None:
    with pytest.raises(ConfigError, match="say --interface asgi3, asgi2 or wsgi") as caught:
        load(folder, "anything")
    assert "\n" not in str(caught.value)
    assert isinstance(load(folder, "anything", interface="wsgi"), WsgiBridge)


def test_a_factory_that_is_not_called_one_is_told_of_the_option(folder: Path) -> None:
    with pytest.raises(ConfigError, match="or --factory if it makes the application"):
        load(folder, "make")


def test_what_is_said_counts_more_than_what_is_seen(folder: Path) -> None:
    assert load(folder, "app", interface="asgi3").__name__ == "app"
    assert load(folder, "both").__name__ == "both"
    assert load(folder, "both", interface="asgi2").__name__ == "single"


@pytest.mark.parametrize("options", [{"interface": "cgi"}, {"threads": 0}])
def test_values_out_of_range_name_their_option(options: dict[str, Any]) -> None:
    (option,) = options
    with pytest.raises(ConfigError, match=f"--{option}"):
        WorkerConfig(app="a:b", **options)
