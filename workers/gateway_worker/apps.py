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
from gateway_worker.wsgi import WsgiBridge

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
        wrapped so that every connection gets an instance of its own; one of WSGI is the `app`
        of a WsgiBridge with `config.threads` threads.

    Raises:
        ConfigError: The path names no callable, or with `config.interface` "auto" one whose
            interface cannot be told; the text is one line that says which part.
        LoadError: The code of the application raised an exception.
    """
    try:
        app = _find(config)
    except ConfigError:
        raise
    except Exception as error:
        raise LoadError(config.app, error) from error
    interface = config.interface
    if interface == "auto":
        interface = detect_interface(app)
    if interface == "wsgi":
        return WsgiBridge(app, config.threads)
    if interface == "asgi2":
        return double_to_single_callable(app)
    if interface == "asgi3":
        return app
    raise ConfigError(
        f"application {config.app!r}: its arguments do not tell what it is;"
        " say --interface asgi3, asgi2 or wsgi, or --factory if it makes the application"
    )


def detect_interface(app: Callable[..., Any]) -> str:
    """Tell by its marks and arguments which interface an application has.

    In this order: the marks of asgiref.compatibility; a coroutine function, or an object whose
    call is one, is ASGI 3; else what counts is how many arguments it takes, 3 for ASGI 3
    (`scope, receive, send`), 2 for WSGI (`environ, start_response`), 1 for ASGI 2 (`scope`),
    where those of a class are the arguments of its constructor.

    Returns:
        `asgi3`, `asgi2`, `wsgi`, or "" if it cannot be told.
    """
    if getattr(app, "_asgi_single_callable", False):
        return "asgi3"
    if getattr(app, "_asgi_double_callable", False):
        return "asgi2"
    is_class = inspect.isclass(app)
    if not is_class and not is_double_callable(app):
        return "asgi3"
    return ("", "asgi2", "wsgi", "" if is_class else "asgi3")[_count_arguments(app)]


def _count_arguments(app: Callable[..., Any]) -> int:
    """Return how many positional arguments, 1 to 3, a callable wants; 0 if that is not clear."""
    try:
        parameters = inspect.signature(app).parameters.values()
    except (TypeError, ValueError):  # one in C that does not say
        return 0
    positional = [p for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    if any(p.kind is p.VAR_POSITIONAL for p in parameters):
        return 0
    if any(p.kind is p.KEYWORD_ONLY and p.default is p.empty for p in parameters):
        return 0
    needed = sum(p.default is p.empty for p in positional)
    return needed if needed <= 3 else 0


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
