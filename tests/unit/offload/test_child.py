"""What a process of a pool makes of a task; the module is run as a program by the process tests."""

import ast
import functools
import pickle
import sys
import textwrap

import pytest

from host import PicklingError
from host.offload import child, packing, pools, printing
from host.offload.child import LAST, RAISED, UNPICKLABLE, VALUE, Files, perform
from host.offload.packing import RemoteTraceback, packed, unpacked


class Untransportable(Exception):
    """It cannot be made again of its arguments."""

    def __init__(self, first, second):
        super().__init__(first)
        self.second = second


class Bomb:
    def __reduce__(self):
        return sys.exit, ("when it is unpickled",)


class TooMuch:
    def __reduce__(self):
        raise MemoryError


class OddMemoryError(MemoryError):
    def __init__(self, first, second):
        super().__init__(first)


def run_out_oddly():
    raise OddMemoryError(1, 2)


def give_what_takes_too_much():
    return TooMuch()


def give(value):
    return value


def bomb():
    return Bomb()


def fail(error):
    raise error


def fail_oddly():
    raise Untransportable(1, 2)


def a_function_within():
    return lambda: 1


def done(func, *args, items=None):
    kind, answer = perform(b"".join(packed("p", func, args, {}, items)))
    return kind, answer, unpacked("p", kind & ~LAST, answer)


def test_it_imports_the_standard_library_alone():
    tree = ast.parse(pools.program())
    names = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {each.name for each in node.names}
        elif isinstance(node, ast.ImportFrom):
            names.add(node.module)
    assert {name.partition(".")[0] for name in names} <= {*sys.stdlib_module_names}


def test_a_task_returns_a_value():
    assert done(give, 5) == (VALUE, pickle.dumps(5, pickle.HIGHEST_PROTOCOL), (True, 5))
    assert done(give, items=[1, 2])[2] == (True, [1, 2])


class Holder:
    def is_same(self, other):
        return other is self


def test_the_object_of_a_method_is_the_one_among_its_arguments():
    holder = Holder()
    assert done(holder.is_same, holder)[2] == (True, True)


def test_only_so_many_pickled_functions_are_kept(monkeypatch):
    monkeypatch.setattr(packing, "_functions", kept := {})
    monkeypatch.setattr(packing, "_MOST_FUNCTIONS", 2)
    for _ in range(2):
        assert done(give, 5)[2] == (True, 5)
        assert done(textwrap.dedent, " a")[2] == (True, "a")
        assert done(textwrap.fill, "a")[2] == (True, "a")
        assert done(functools.partial(give, 7))[2] == (True, 7)
        assert len(kept) <= 2


def test_a_function_is_pickled_once(monkeypatch):
    monkeypatch.setattr(packing, "_functions", {})
    first = packed("p", give, (1,), {}, None)
    monkeypatch.setattr(packing, "_pickled", None)
    assert packed("p", give, (1,), {}, None) == first


def test_a_task_raises_and_its_stack_is_the_cause():
    kind, _, (fine, error) = done(fail, KeyError("lost"))
    assert (kind, fine) == (RAISED, False)
    assert isinstance(error, KeyError)
    assert isinstance(error.__cause__, RemoteTraceback)
    assert "in fail" in str(error.__cause__)


def test_after_a_lack_of_memory_a_process_is_replaced():
    kind, _, (_, error) = done(fail, MemoryError())
    assert kind == RAISED | LAST
    assert isinstance(error, MemoryError)


def test_memory_may_run_out_as_a_result_is_pickled():
    kind, _, (_, error) = done(give_what_takes_too_much)
    assert kind == RAISED | LAST
    assert isinstance(error, MemoryError)
    assert "__reduce__" in str(error.__cause__)


def test_a_process_is_also_replaced_when_its_lack_of_memory_cannot_be_told_as_it_is():
    kind, _, (_, error) = done(run_out_oddly)
    assert kind == UNPICKLABLE | LAST
    assert "OddMemoryError" in str(error)


@pytest.mark.parametrize("error", [SystemExit(3), KeyboardInterrupt()])
def test_no_exception_ends_the_process(error):
    assert isinstance(done(fail, error)[2][1], type(error))


def test_a_result_that_cannot_be_pickled_is_one_clear_error():
    kind, _, (_, error) = done(a_function_within)
    assert kind == UNPICKLABLE
    assert isinstance(error, PicklingError)
    assert str(error).startswith(f"the result of {__name__}.a_function_within cannot be pickled: ")


def test_an_exception_that_cannot_be_made_again_is_told_as_text():
    kind, _, (_, error) = done(fail_oddly)
    assert kind == UNPICKLABLE
    assert "Untransportable: 1" in str(error)


def test_a_result_that_does_something_when_it_is_unpickled_is_an_error():
    _, answer = perform(b"".join(packed("p", bomb, (), {}, None)))
    fine, error = unpacked("p", VALUE, answer)
    assert not fine
    assert str(error) == (
        "the result of a task of pool p cannot be unpickled: SystemExit: when it is unpickled"
    )


def test_a_task_that_cannot_be_pickled_says_so_and_what_to_do():
    with pytest.raises(PicklingError, match=r"pool p .*<lambda>.* imported by its name"):
        packed("p", lambda: 1, (), {}, None)
    with pytest.raises(PicklingError, match="give or its arguments"):
        packed("p", give, (sys.stdout,), {}, None)
    with pytest.raises(PicklingError, match="process: give or its arguments"):
        packed("p", functools.partial(give, sys.stdout), (), {}, None)


def test_a_file_is_found_under_the_name_that_the_host_gave_it(tmp_path):
    file = tmp_path / "work.py"
    file.write_text("x = 1\n")
    files = Files({"prefork_file_work_1": str(file)})
    assert files.find_spec("work", None) is None
    spec = files.find_spec("prefork_file_work_1", None)
    assert spec is not None
    assert spec.origin == str(file)
    exec(spec.loader.get_code(spec.name), names := {})
    assert names["x"] == 1
    assert [each.name for each in tmp_path.iterdir()] == ["work.py"]


class Sent:
    """What is sent of what was printed."""

    def __init__(self):
        self.text = b""

    def is_fork(self):
        return False

    def send(self, kind, data):
        self.text += data if data.endswith(b"\n") else data + b"|"


@pytest.mark.parametrize(
    ("pieces", "told"),
    [
        (["a\nb", "\n"], b"a\nb\n"),  # as print() writes it
        (["a", "\n"], b"a\n"),
        (["\n", "\n"], b"\n\n"),
        (["a\n\nb", None], b"a\n\nb|"),
        (["a", None, None, "\n", "b\n"], b"a|b\n"),
        (["a", None, "b\nc", "\n"], b"a|b\nc\n"),
        (["x" * 70_000, "\n", "\n"], b"x" * 70_000 + b"|" + b"\n"),
        ([*"abc", None], b"abc|"),
    ],
)
def test_what_is_printed_is_told_in_its_lines(pieces, told):
    stream = printing.Stream(printing.Output(child.STDOUT, sent := Sent()))
    for piece in pieces:
        if piece is None:
            stream.flush()
        else:
            stream.write(piece)
    assert sent.text == told


class TextlessError(Exception):
    def __str__(self):
        raise KeyError("no text")


class ErrorOfAnotherKind(Exception):
    def __reduce__(self):
        return int, (5,)


class TextlessResult:
    def __reduce__(self):
        return fail, (TextlessError(),)


def fail_as_another_kind():
    raise ErrorOfAnotherKind


def textless_result():
    return TextlessResult()


def test_an_error_whose_text_cannot_be_made_is_one_as_any_other():
    kind, _, (fine, error) = done(fail, TextlessError())
    assert (kind, fine, type(error)) == (RAISED, False, TextlessError)
    assert child.text_of(error) == "TextlessError: (its text cannot be made: KeyError)"


def test_a_result_that_raises_such_an_error_when_it_is_unpickled():
    _, _, (fine, error) = done(textless_result)
    assert (fine, type(error)) == (False, PicklingError)
    assert "TextlessError: (its text cannot be made: KeyError)" in str(error)


def test_arguments_that_raise_such_an_error_when_they_are_pickled():
    class Argument:
        def __reduce__(self):
            raise TextlessError

    with pytest.raises(PicklingError, match="its text cannot be made"):
        packed("p", give, (Argument(),), {}, None)


def test_what_was_raised_and_is_no_error_any_more_is_told():
    _, _, (fine, error) = done(fail_as_another_kind)
    assert (fine, type(error)) == (False, PicklingError)
    assert "what was raised is no error here, but int" in str(error)
