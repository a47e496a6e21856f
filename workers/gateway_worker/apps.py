"""Finds the application that a worker was told to run, and gives it the shape of ASGI 3."""

import importlib
import inspect
import os
import sys
import traceback
from collections.abc import Awaitable, Callable, MutableMapping
from types import TracebackType
from typing import Any, TypeAlias

from gateway_layer.errors import ConfigError, GatewayError
from gateway_worker.config import WorkerConfig

if sys.version_info >= (3, 12):
    from inspect import iscoroutinefunction
else:
    # Before 3.12 only asyncio's knows the mark that asgiref puts on synchronous wrappers.
    from asyncio import iscoroutinefunction

Scope: TypeAlias = MutableMapping[str, Any]
Message: TypeAlias = MutableMapping[str, Any]
Receive: TypeAlias = Callable[[], Awaitable[Message]]
Send: TypeAlias = Callable[[Message], Awaitable[None]]
ASGI3App: TypeAlias = Callable[[Scope, Receive, Send], Awaitable[None]]


class LoadError(GatewayError):
    """The application's own code raised while it was imported, looked up or made; its cause.

    Attributes:
        details: The traceback of that, from the first line of the application on.
    """

    def __init__(self, app: str, error: Exception) -> None:
        """Name the application, and keep what its author needs to see."""
        super().__init__(f"importing {app} failed")
        theirs = error.with_traceback(_without_ours(error.__traceback__))
        self.details = "".join(traceback.format_exception(theirs))


def load_app(config: WorkerConfig) -> ASGI3App:
    """Import the application of `config.app`, with `config.app_dir` first on the import path.

    Args:
        config: `app` is `module:attribute`, where the attribute may be dotted; with `factory`
            the attribute is called without arguments and returns the application.

    Returns:
        The application; one of ASGI 2, which takes the scope and returns an instance, is
        wrapped so that every connection gets an instance of its own.

    Raises:
        ConfigError: The path names no callable; the text is one line that says which part.
        LoadError: The code of the application raised an exception.
    """
    try:
        app = _find(config)
    except ConfigError:
        raise
    except Exception as error:
        raise LoadError(config.app, error) from error
    return double_to_single_callable(app) if is_double_callable(app) else app


def is_double_callable(app: Callable[..., Any]) -> bool:
    """Tell whether this is an ASGI 2 application, by the rules of asgiref.compatibility.

    A mark on the application decides. Else a class is one, and so is anything whose call does
    not give a coroutine.
    """
    if getattr(app, "_asgi_single_callable", False):
        return False
    if getattr(app, "_asgi_double_callable", False):
        return True
    if inspect.isclass(app):
        return True
    return not (iscoroutinefunction(getattr(app, "__call__", None)) or iscoroutinefunction(app))  # noqa: B004


def double_to_single_callable(app: Callable[..., Any]) -> ASGI3App:
    """Wrap an ASGI 2 application: each call makes one instance for one connection."""

    async def single(scope: Scope, receive: Receive, send: Send) -> None:
        await app(scope)(receive, send)

    return single


def _find(config: WorkerConfig) -> Callable[..., Any]:
    """Import, look up and, with `factory`, make the application."""
    module_name, attributes = _split(config.app)
    _put_first_on_path(config.app_dir)
    app = _look_up(_import(module_name, config), attributes, config.app)
    if not callable(app):
        raise ConfigError(f"application {config.app!r}: a {type(app).__name__} cannot be called")
    return _call_factory(app, config.app) if config.factory else app


def _split(path: str) -> tuple[str, list[str]]:
    """Split `module:attribute.attribute`, none of whose parts may be empty."""
    module_name, colon, attribute = path.partition(":")
    attributes = attribute.split(".")
    if not colon or not all(attributes) or not all(module_name.split(".")):
        raise ConfigError(f"application {path!r}: written as module:attribute, as in main:app")
    if module_name.endswith(".py") or "/" in module_name:
        module_name = module_name.removesuffix(".py").replace("/", ".")
        raise ConfigError(
            f"application {path!r}: name the module, not its file: {module_name}:{attribute}"
        )
    return module_name, attributes


def _put_first_on_path(app_dir: str) -> None:
    """Let modules of the application's folder be found before all others."""
    if not os.path.isdir(app_dir):
        raise ConfigError(f"--app-dir {app_dir}: there is no such folder")
    path = os.path.abspath(app_dir)  # the application may change its working folder
    if path not in sys.path[:1]:
        sys.path.insert(0, path)


def _import(module_name: str, config: WorkerConfig) -> object:
    """Import the module; that this very one does not exist is the only error of ours."""
    try:
        return importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        # For a.b.c the import stops at the first of a, a.b, a.b.c that does not exist. Any
        # other name is what the application itself failed to import.
        if error.name is None or not f"{module_name}.".startswith(f"{error.name}."):
            raise
        raise ConfigError(
            f"application {config.app!r}: no module {error.name!r} in"
            f" {os.path.abspath(config.app_dir)} or elsewhere on the import path;"
            " --app-dir names its folder"
        ) from None


def _look_up(module: object, attributes: list[str], path: str) -> Any:
    """Follow the dotted attribute; one that is missing is the only error of ours."""
    found = module
    for attribute in attributes:
        try:
            found = getattr(found, attribute)
        except AttributeError as error:
            if error.name != attribute or error.obj is not found:
                raise  # from within a property or a module's __getattr__
            raise ConfigError(
                f"application {path!r}: there is no attribute {attribute!r}"
            ) from None
    return found


def _call_factory(factory: Callable[..., Any], path: str) -> Callable[..., Any]:
    """Call a factory and make sure that what it returns can be called."""
    if iscoroutinefunction(factory):
        raise ConfigError(f"application {path!r}: a factory cannot be a coroutine function")
    app: Callable[..., Any] = factory()
    if not callable(app):
        raise ConfigError(
            f"application {path!r}: the factory returned a {type(app).__name__},"
            " which cannot be called"
        )
    return app


def _without_ours(frames: TracebackType | None) -> TracebackType | None:
    """Drop the frames above the application's: of this file, and of the import system."""
    ours = (__file__, importlib.__file__)
    while frames is not None:
        file = frames.tb_frame.f_code.co_filename
        if file not in ours and not file.startswith("<frozen importlib"):
            break
        frames = frames.tb_next
    return frames
