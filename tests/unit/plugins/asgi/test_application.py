"""What is no app is told before anything starts, in words that say what to do."""

import sys
from functools import partial

import pytest
from a2wsgi import WSGIMiddleware
from fastapi import FastAPI
from pydantic import ValidationError

from host import PluginError
from host.plugins.asgi.application import check_factory, find, interface_of
from host.plugins.asgi.options import Options


async def app(scope, receive, send):
    pass


def plain(scope, receive, send):
    return app(scope, receive, send)


class Doubled:
    """An app of ASGI 2."""

    def __init__(self, scope):
        pass

    async def __call__(self, receive, send):
        pass


def wsgi(environ, start_response):
    return [b""]


def make():
    return app


@pytest.mark.parametrize("each", [app, plain, partial(app), FastAPI(), WSGIMiddleware(wsgi)])
def test_what_takes_scope_receive_and_send_speaks_asgi_3(each):
    assert interface_of(each, "it") == "asgi3"


def test_what_takes_a_scope_alone_speaks_asgi_2():
    assert interface_of(Doubled, "it") == "asgi2"


@pytest.mark.parametrize(
    ("each", "cause", "hint"),
    [
        ("text", "it cannot be called (it is: str)", None),
        (make, "it takes ()", "--factory"),
        (wsgi, "it takes (environ, start_response)", "a2wsgi"),
    ],
)
def test_what_is_no_app_is_refused(each, cause, hint):
    with pytest.raises(PluginError) as refused:
        interface_of(each, "main:it")
    assert refused.value.cause.startswith("main:it is no ASGI app")
    assert refused.value.cause.endswith(f": {cause}")
    assert (hint or "") in (refused.value.hint or "")


def test_a_factory_is_called_without_arguments():
    check_factory(make, "main:make")
    for wrong in (app, "text"):
        with pytest.raises(PluginError, match="main:app is no factory") as refused:
            check_factory(wrong, "main:app")
        assert "--factory" in refused.value.hint


@pytest.mark.parametrize(
    ("text", "line", "cause"),
    [
        ("def (", 1, "SyntaxError"),
        ("\nraise ValueError('bad')", 2, "ValueError: bad"),
        ("raise SystemExit(3)", 1, "SystemExit: 3"),
        ("import there_is_no_such_thing", 1, "No module named 'there_is_no_such_thing'"),
    ],
)
def test_an_app_that_cannot_be_imported_says_where(tmp_path, monkeypatch, text, line, cause):
    name = f"broken_{tmp_path.name}"
    (tmp_path / f"{name}.py").write_text(text)
    monkeypatch.setattr(sys, "path", [*sys.path])
    with pytest.raises(PluginError) as refused:
        find(f"{name}:app", str(tmp_path))
    assert f"{name}.py:{line}  {text.strip()}" in refused.value.where
    assert f"importing the app {name}:app failed: " in refused.value.cause
    assert cause in refused.value.cause


def test_who_names_a_file_is_told_to_name_the_module():
    with pytest.raises(PluginError) as refused:
        find("main_of_mine.py:app", "")
    assert refused.value.cause == 'there is no module "main_of_mine.py"'
    assert refused.value.hint == "Name the module, not its file: main_of_mine:app."


@pytest.mark.parametrize("path", ["", "/api", "/a/b"])
def test_a_root_path(path):
    assert Options(app="main:app", root_path=path).root_path == path


@pytest.mark.parametrize("wrong", ["api", "/", "/api/", "//", "/ö", "/a b"])
def test_no_root_path(wrong):
    with pytest.raises(ValidationError, match="root_path"):
        Options(app="main:app", root_path=wrong)
