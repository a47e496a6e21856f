import re
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from gateway_layer.errors import ConfigError
from gateway_worker.apps import LoadError, is_double_callable, load_app
from gateway_worker.config import WorkerConfig


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    """A folder of modules; afterwards the interpreter knows nothing of them."""
    path, modules = sys.path.copy(), set(sys.modules)
    yield tmp_path
    sys.path[:] = path
    for name in set(sys.modules) - modules:
        del sys.modules[name]


def load(folder: Path, source: str, app: str = "sample:app", **options: Any) -> Any:
    (folder / "sample.py").write_text(source)
    return load_app(WorkerConfig(app=app, app_dir=str(folder), **options))


ASGI_3 = "async def app(scope, receive, send):\n    await send(scope)\n"


async def call(app: Any, scope: object = "scope") -> list[object]:
    """What the application sends for a scope."""
    sent: list[object] = []

    async def receive() -> object:
        raise AssertionError("nothing to receive")

    async def send(message: object) -> None:
        sent.append(message)

    await app(scope, receive, send)
    return sent


async def test_an_asgi_3_function_is_returned_as_it_is(folder: Path) -> None:
    app = load(folder, ASGI_3)
    assert app is sys.modules["sample"].app
    assert await call(app) == ["scope"]


async def test_the_attribute_may_be_dotted(folder: Path) -> None:
    source = f"{ASGI_3}\nclass box:\n    class inner:\n        app = staticmethod(app)\n"
    assert await call(load(folder, source, "sample:box.inner.app")) == ["scope"]


async def test_the_module_may_be_in_a_package(folder: Path) -> None:
    (folder / "pkg").mkdir()
    (folder / "pkg" / "site.py").write_text(ASGI_3)
    assert await call(load(folder, "", "pkg.site:app")) == ["scope"]


def test_the_folder_comes_first_on_the_path(folder: Path) -> None:
    load(folder, ASGI_3)
    load(folder, ASGI_3)
    assert sys.path[0] == str(folder)
    assert sys.path.count(str(folder)) == 1


async def test_a_factory_is_called(folder: Path) -> None:
    source = f"{ASGI_3}\ndef make():\n    return app\n"
    assert await call(load(folder, source, "sample:make", factory=True)) == ["scope"]


ASGI_2_CLASS = """
class app:
    made = []
    def __init__(self, scope):
        self.scope = scope
        self.made.append(self)
    async def __call__(self, receive, send):
        await send(self.scope)
"""
ASGI_2_FUNCTION = """
def app(scope):
    async def instance(receive, send):
        await send(scope)
    return instance
"""


@pytest.mark.parametrize("source", [ASGI_2_CLASS, ASGI_2_FUNCTION])
async def test_an_asgi_2_application_is_called_as_asgi_3(folder: Path, source: str) -> None:
    assert await call(load(folder, source), "its scope") == ["its scope"]


async def test_an_asgi_2_class_has_one_instance_for_each_connection(folder: Path) -> None:
    app = load(folder, ASGI_2_CLASS)
    await call(app, 1)
    await call(app, 2)
    assert [instance.scope for instance in sys.modules["sample"].app.made] == [1, 2]


class Single:
    async def __call__(self, scope: object, receive: object, send: object) -> None:
        """An ASGI 3 application with state of its own."""


async def single(scope: object, receive: object, send: object) -> None:
    """An ASGI 3 function."""


def wrapped(scope: object, receive: object, send: object) -> object:
    """A plain function that returns a coroutine: only a mark tells that it is ASGI 3."""
    return single(scope, receive, send)


@pytest.mark.parametrize("app", [single, Single(), Single().__call__, partial(single, 1)])
def test_asgi_3_is_recognised(app: Any) -> None:
    assert not is_double_callable(app)


@pytest.mark.parametrize("app", [Single, wrapped, lambda scope: single])
def test_asgi_2_is_recognised(app: Any) -> None:
    assert is_double_callable(app)


def test_a_mark_decides() -> None:
    class Marked(Single):
        _asgi_single_callable = True

    class Double(Single):
        _asgi_double_callable = True

    assert not is_double_callable(Marked)
    assert is_double_callable(Double())


@pytest.mark.parametrize("path", ["sample", "sample:", ":app", "sample:a..b", ".sample:app", ""])
def test_a_path_that_is_no_path_is_one_clear_line(folder: Path, path: str) -> None:
    with pytest.raises(ConfigError, match="written as module:attribute") as caught:
        load(folder, ASGI_3, path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("path", "missing"),
    [
        ("no_such:app", "no_such"),
        ("no_such.module:app", "no_such"),
        ("sample.deeper:app", "sample.deeper"),
    ],
)
def test_a_missing_module_is_named(folder: Path, path: str, missing: str) -> None:
    with pytest.raises(ConfigError, match=f"no module '{missing}' in {re.escape(str(folder))} "):
        load(folder, ASGI_3, path)


def test_a_missing_module_is_told_with_the_real_folder(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(folder)
    with pytest.raises(ConfigError, match=f" in {re.escape(str(folder))} .*--app-dir"):
        load_app(WorkerConfig(app="no_such:app"))


@pytest.mark.parametrize(
    ("path", "better"),
    [("sample.py:app", "sample:app"), ("site/sample.py:app", "site.sample:app")],
)
def test_a_file_in_the_place_of_a_module_is_answered_with_the_module(
    folder: Path, path: str, better: str
) -> None:
    with pytest.raises(ConfigError, match=f"name the module, not its file: {better}$"):
        load(folder, ASGI_3, path)


@pytest.mark.parametrize(("path", "missing"), [("sample:nope", "nope"), ("sample:app.x", "x")])
def test_a_missing_attribute_is_named(folder: Path, path: str, missing: str) -> None:
    with pytest.raises(ConfigError, match=f"no attribute '{missing}'"):
        load(folder, ASGI_3, path)


def test_a_missing_folder_is_named(folder: Path) -> None:
    with pytest.raises(ConfigError, match="--app-dir"):
        load_app(WorkerConfig(app="sample:app", app_dir=str(folder / "nowhere")))


def test_what_cannot_be_called_is_refused(folder: Path) -> None:
    with pytest.raises(ConfigError, match="a int cannot be called"):
        load(folder, "app = 3")


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("def app():\n    return None\n", "returned a NoneType"),
        ("async def app():\n    return None\n", "coroutine function"),
        ("app = 3", "cannot be called"),
    ],
)
def test_a_factory_that_makes_no_application_is_refused(
    folder: Path, source: str, words: str
) -> None:
    with pytest.raises(ConfigError, match=words):
        load(folder, source, factory=True)


@pytest.mark.parametrize(
    ("source", "error"),
    [
        ("import no_such_dependency", ModuleNotFoundError),
        ("import sample.no_such_part", ModuleNotFoundError),
        ("from os import no_such_name", ImportError),
        ("1 / 0", ZeroDivisionError),
        ("def f(:", SyntaxError),
    ],
)
def test_an_error_of_the_applications_own_import_passes(
    folder: Path, source: str, error: type[Exception]
) -> None:
    with pytest.raises(LoadError, match=r"^importing sample:app failed$") as caught:
        load(folder, source)
    assert type(caught.value.__cause__) is error


def test_an_attribute_error_within_the_lookup_is_the_applications(folder: Path) -> None:
    source = "def __getattr__(name):\n    return (3).no_such_thing\n"
    with pytest.raises(LoadError) as caught:
        load(folder, source)
    assert "no_such_thing" in caught.value.details


def test_an_error_within_a_factory_is_the_applications(folder: Path) -> None:
    with pytest.raises(LoadError) as caught:
        load(folder, "def app():\n    1 / 0\n", factory=True)
    assert caught.value.details.endswith("ZeroDivisionError: division by zero\n")


FILE_IN_TRACEBACK = re.compile(r'^  File "(.*)", line', re.M)


def test_the_traceback_of_an_import_begins_in_the_application(folder: Path) -> None:
    (folder / "deeper.py").write_text("1 / 0\n")
    with pytest.raises(LoadError) as caught:
        load(folder, "import deeper\n")
    details = caught.value.details
    files = FILE_IN_TRACEBACK.findall(details)
    assert details.startswith("Traceback (most recent call last):\n")
    assert files == [str(folder / "sample.py"), str(folder / "deeper.py")]


def test_a_syntax_error_is_shown_at_its_place_alone(folder: Path) -> None:
    with pytest.raises(LoadError) as caught:
        load(folder, "def f(:\n")
    details = caught.value.details
    assert FILE_IN_TRACEBACK.findall(details) == [str(folder / "sample.py")]
    assert details.splitlines()[-1].startswith("SyntaxError: ")
