"""What is printed and logged becomes events, with the name of the plugin that did it."""

import contextlib
import io
import logging
import subprocess
import sys
import threading
import types

import pytest

from host.telemetry.capture import MAX_LINE_CHARS, Capture
from host.telemetry.events import (
    ERROR_IGNORED,
    PLUGIN_LOGGED,
    PLUGIN_PRINTED,
    THREAD_FAILED,
    Level,
)
from host.testing.machine import patience
from support.fakes import Told


class Scene:
    """A capture that has begun, over a real file in the place of the streams."""

    def __init__(self, file):
        self.told, self.file = Told(), file
        self.capture = Capture(self.told.telemetry, Level.INFO)
        self.capture.owners = {"shop": "the shop", "shop.till": "the till"}

    def printed(self):
        return [(each["source"], each["text"]) for each in self.told.of_any(PLUGIN_PRINTED)]

    def texts(self):
        return [text for _, text in self.printed()]

    def real(self):
        self.file.flush()
        self.file.seek(0)
        return self.file.read()


@contextlib.contextmanager
def capturing(folder):
    """Put a file and a root logger without handlers in the place of pytest's own, and begin."""
    root, before = logging.getLogger(), (sys.stdout, sys.stderr)
    handlers, root.handlers = root.handlers, []
    with (folder / "real").open("w+", encoding="utf-8") as file:
        sys.stdout = sys.stderr = file
        scene = Scene(file)
        scene.capture.begin()
        try:
            yield scene
        finally:
            scene.capture.end()
            sys.stdout, sys.stderr = before
            root.handlers = handlers


def module(name, code):
    """Return a module of that name with this code in it."""
    made = types.ModuleType(name)
    exec(compile(code, f"{name}.py", "exec"), vars(made))
    return made


def test_a_print_is_told_line_by_line(tmp_path):
    with capturing(tmp_path) as scene:
        print("one\ntwo")
        print("th", end="")
        assert scene.texts() == ["one", "two"]
        print("ree", "four", sep="-")
        print()
        assert scene.texts() == ["one", "two", "three-four"]
        assert scene.real() == ""


def test_each_stream_has_its_level(tmp_path):
    with capturing(tmp_path) as scene:
        print("fine")
        print("not fine", file=sys.stderr)
        found = [(record.event.level, record.fields["stream"]) for record in scene.told]
        assert found == [(Level.INFO, "stdout"), (Level.WARNING, "stderr")]


@pytest.mark.parametrize(
    ("name", "plugin"),
    [
        ("shop", "the shop"),
        ("shop.till", "the till"),
        ("shop.till.drawer", "the till"),
        ("shop.shelf", "the shop"),
        ("shopping", None),
    ],
)
def test_the_plugin_is_named_by_its_modules(tmp_path, name, plugin):
    with capturing(tmp_path) as scene:
        module(name, "print('hello')")
        [event] = scene.told.of_any(PLUGIN_PRINTED)
        assert (event["plugin"], event["source"]) == (plugin, plugin or name)


def test_the_innermost_plugin_is_named_also_through_a_library(tmp_path):
    with capturing(tmp_path) as scene:
        library = module("library", "def say(text): print(text)")
        till = module("shop.till", "def say(library): library.say('hello')")
        module("shop", "def call(till, library): till.say(library)").call(till, library)
        assert scene.printed() == [("the till", "hello")]


def test_bytes_that_are_no_text_are_spelled_out(tmp_path):
    with capturing(tmp_path) as scene:
        sys.stdout.buffer.write(b"\xff\xfe\n")
        print("\udcff")
        assert scene.texts() == [r"\xff\xfe", r"\udcff"]


@pytest.mark.parametrize("end", ["\n", ""])
def test_a_line_that_is_too_long_is_shortened(tmp_path, end):
    with capturing(tmp_path) as scene:
        print("begins" + "x" * 1_000_000 + "ends", end=end)
        [text] = scene.texts()
        assert len(text) < MAX_LINE_CHARS + 100
        assert text.startswith("begins")
        assert text.endswith("ends")


def test_what_two_threads_print_is_not_mixed(tmp_path):
    with capturing(tmp_path) as scene:
        first, second = threading.Event(), threading.Event()

        def other():
            first.wait(patience(10))
            print("other", end=" ")
            second.set()
            print("thread")

        thread = threading.Thread(target=other)
        thread.start()
        print("this", end=" ")
        first.set()
        second.wait(patience(10))
        print("thread")
        thread.join()
        assert sorted(scene.texts()) == ["other thread", "this thread"]


def test_programs_that_are_started_have_the_real_stream(tmp_path):
    with capturing(tmp_path) as scene:
        subprocess.run([sys.executable, "-c", "print('raw')"], stdout=sys.stdout, check=True)
        assert scene.real() == "raw\n"
        assert scene.told == []


def test_a_message_has_level_logger_and_text(tmp_path):
    with capturing(tmp_path) as scene:
        logging.getLogger("shop.till").warning("%d left", 3)
        [record] = scene.told
        assert record.event.level == Level.WARNING
        assert record.fields == {
            "source": "the till",
            "plugin": "the till",
            "logger": "shop.till",
            "text": "3 left",
            "trace_id": None,
            "span_id": None,
            "traceback": None,
        }


@pytest.mark.parametrize(
    ("number", "level"),
    [(10, None), (20, 20), (25, 20), (30, 30), (35, 30), (40, 40), (50, 40), (1_000, 40)],
)
def test_levels_are_those_of_the_log(tmp_path, number, level):
    with capturing(tmp_path) as scene:
        logging.getLogger("anything").log(number, "x")
        assert [record.event.level for record in scene.told] == ([] if level is None else [level])


def test_a_logger_of_nobody_is_told_by_its_name(tmp_path):
    with capturing(tmp_path) as scene:
        logging.getLogger("library").error("x")
        [event] = scene.told.of_any(PLUGIN_LOGGED)
        assert (event["source"], event["plugin"], event["logger"]) == ("library", None, "library")


def test_a_message_comes_with_its_traceback(tmp_path):
    with capturing(tmp_path) as scene:
        try:
            raise ValueError("bad")
        except ValueError:
            logging.getLogger("shop").exception("failed", stack_info=True)
        [event] = scene.told.of_any(PLUGIN_LOGGED)
        assert "ValueError: bad" in event["traceback"]
        assert "Stack (most recent call last)" in event["traceback"]


class Silent:
    """An argument that has no text, and says so where it is asked."""

    def __str__(self):
        print("asked")
        logging.getLogger("inner").error("asked")
        raise RuntimeError("no text")


@pytest.mark.parametrize(("message", "args"), [("%d", ("x",)), ("%s", (Silent(),)), (Silent(), ())])
def test_a_message_that_has_no_text_is_told_all_the_same(tmp_path, message, args):
    with capturing(tmp_path) as scene:
        logging.getLogger("shop").error(message, *args)
        event = scene.told.of_any(PLUGIN_LOGGED)[-1]
        assert event["logger"] == "shop"
        assert "has no text" in event["text"]


def test_a_message_whose_text_logs_for_ever_ends(tmp_path):
    class Endless:
        def __str__(self):
            logging.getLogger("shop").error("%s", self)
            return "done"

    with capturing(tmp_path) as scene:
        logging.getLogger("shop").error("%s", Endless())
        assert scene.told


def test_a_thread_that_fails_is_told(tmp_path):
    with capturing(tmp_path) as scene:
        fail = module("shop.till", "def fail(): raise ValueError('bad\\nworse')").fail
        thread = threading.Thread(target=fail, name="counter")
        thread.start()
        thread.join()
        [event] = scene.told.of(THREAD_FAILED)
        assert (event["source"], event["plugin"], event["thread"]) == (
            "the till",
            "the till",
            "counter",
        )
        assert event["error"] == "ValueError: bad; worse"
        assert "in fail" in event["traceback"]


def test_a_thread_that_exits_is_no_failure(tmp_path):
    with capturing(tmp_path) as scene:
        thread = threading.Thread(target=sys.exit)
        thread.start()
        thread.join()
        assert scene.told == []


DESTRUCTOR = """
class Thing:
    def __del__(self): raise ValueError("bad")
    def __repr__(self): raise ValueError("worse")
Thing()
"""


def test_an_error_of_a_destructor_is_told(tmp_path):
    with capturing(tmp_path) as scene:
        module("shop", DESTRUCTOR)
        [event] = scene.told.of(ERROR_IGNORED)
        assert (event["source"], event["error"]) == ("the shop", "ValueError: bad")
        assert "__del__" in event["place"]


def test_after_the_end_everything_is_as_before(tmp_path):
    root = logging.getLogger()

    def state():
        streams = (sys.stdout, sys.stderr, threading.excepthook, sys.unraisablehook)
        return (*streams, root.level, list(root.handlers))

    with capturing(tmp_path) as scene:
        scene.capture.end()
        before = state()
        scene.capture.begin()
        assert all(one != other for one, other in zip(before, state(), strict=True))
        kept = sys.stdout
        print("one", end="")
        for _ in range(2):
            scene.capture.end()
            assert state() == before
        assert scene.texts() == ["one"]
        print("late", file=kept)
        assert (scene.texts(), scene.real()) == (["one"], "late\n")


def test_all_else_is_as_before_where_a_plugin_has_broken_logging(tmp_path, monkeypatch):
    with capturing(tmp_path) as scene:
        captured = sys.stdout
        with monkeypatch.context() as broken:
            broken.setattr(logging.Logger, "manager", None)  # which a change of the level needs
            scene.capture.end()
        assert sys.stdout is not captured


def test_what_a_plugin_has_put_in_its_place_stays(tmp_path):
    mine = io.StringIO()
    with capturing(tmp_path) as scene, contextlib.redirect_stdout(mine):
        print("x")
        scene.capture.end()
        assert sys.stdout is mine
        assert (scene.texts(), mine.getvalue()) == ([], "x\n")


def test_in_a_fork_of_a_plugin_nothing_is_told_any_more(tmp_path):
    with capturing(tmp_path) as scene:
        print("begun", end="")
        scene.capture.end_in_fork()
        print("raw")
        assert (scene.told, scene.real()) == ([], "raw\n")


def test_a_child_forgets_what_its_parent_has_begun(tmp_path):
    with capturing(tmp_path) as scene:
        print("the parent's", end="")
        scene.capture.forget()
        print("the child's")
        assert scene.texts() == ["the child's"]


def test_other_telemetry_and_another_level_may_take_over(tmp_path):
    with capturing(tmp_path) as scene:
        first, scene.told = scene.told, Told()
        print("begun ", end="")
        scene.capture.change(scene.told.telemetry, Level.ERROR)
        print("and ended")
        logging.getLogger("shop").warning("too low")
        assert (first, scene.texts()) == ([], ["begun and ended"])
        logging.getLogger().setLevel(Level.DEBUG)  # as a plugin may
        scene.capture.change(scene.told.telemetry, Level.INFO)
        logging.getLogger("shop").debug("as the plugin wants it")
        assert [each["text"] for each in scene.told.of_any(PLUGIN_LOGGED)] == [
            "as the plugin wants it"
        ]
