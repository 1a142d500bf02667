"""What plugins declare in `host_plugin` is kept to, or refused when they are loaded."""

from textwrap import dedent

import pytest

from host.errors import PluginError
from host.plugin.loading import PluginErrors, load
from support.plugin_files import HOOK, loaded, names, refusal, write

pytestmark = pytest.mark.usefixtures("own_folder")


def declare(name, declaration, hook=HOOK):
    write(f"{name}.py", f"{hook}\nhost_plugin = {declaration}\n")


def order(*plugins):
    return [each.plugin for each in load(loaded(*plugins)).calls["on_accept"]]


def test_a_module_declares_its_place():
    write("a.py", HOOK)
    declare("b", {"before": ["a"]})
    declare("c", {"after": ["b", "not_selected"], "before": ("a",)})
    assert order("./a.py", "./b.py", "./c.py") == ["b", "c", "a"]


@pytest.mark.parametrize("beside", [True, False])
def test_a_class_declares_it_or_its_module_does(beside):
    write("a.py", HOOK)
    declaration = 'host_plugin = {"before": ["a"]}'
    text = """
    from host import hookimpl

    class Watch:
        inside = True

        @hookimpl
        def on_accept(self, connection): ...
    """
    text = dedent(text).replace("inside = True", "pass" if beside else declaration)
    write("b.py", f"{text}\n{declaration if beside else ''}")
    assert order("./a.py", "./b.py") == ["b", "a"]


def test_a_declaration_is_stronger_than_tryfirst_and_trylast():
    write("eager.py", HOOK.replace("@hookimpl", "@hookimpl(tryfirst=True)"))
    late = HOOK.replace("@hookimpl", "@hookimpl(trylast=True)")
    declare("late", {"before": ["eager"]}, late)
    write("plain.py", HOOK)
    assert order("./plain.py", "./eager.py", "./late.py") == ["late", "eager", "plain"]


@pytest.mark.parametrize(
    ("declaration", "wrong"),
    [
        ("['a']", "host_plugin is no dictionary (it is: list)"),
        ({"affter": ["a"]}, "has the unknown key 'affter'; did you mean \"after\"?"),
        ({"after": "a"}, "has no list of names in \"after\": 'a'"),
        ({"before": [1]}, 'has no list of names in "before": [1]'),
        ({"requires": ["a==1"]}, 'requires "a==1", which is not of the form "NAME", "NAME>=1.2"'),
        ({"after": ["wrong"]}, 'names the plugin itself: "wrong"'),
        ({"requires": ["wrong>=1"]}, 'names the plugin itself: "wrong"'),
    ],
)
def test_what_is_no_declaration_is_refused_with_its_form(declaration, wrong):
    declare("wrong", declaration)
    said = refusal("./wrong.py")
    assert wrong in said
    assert 'Write host_plugin = {"after": [NAME, ...], ' in said


def test_a_requirement_that_is_not_met_is_told_and_not_what_follows_from_it():
    # `on_line` is a hook only while the plugin `line` is selected.
    reader = HOOK.replace("on_accept(connection)", "on_line(line)")
    declare("reader", {"requires": ["line"]}, reader)
    said = refusal("./reader.py")
    assert 'it requires "line", which is not selected' in said
    assert "Select it as well: --plugin line" in said
    assert "no hook is named" not in said
    assert names(load(loaded("./reader.py", "line"))) == ["reader", "line"]


def test_a_required_plugin_that_is_itself_broken_is_not_told_to_be_missing():
    declare("reader", {"requires": ["broken"]})
    write("broken.py", "raise OSError('no database')")
    said = refusal("./reader.py", "./broken.py")
    assert "no database" in said
    assert "requires" not in said


def test_circles_are_told_all_at_once_and_with_who_declares_them():
    declare("a", {"before": ["b"]})
    declare("b", {"before": ["c"]})
    declare("c", {"before": ["a"]})
    declare("x", {"after": ["y"]})
    declare("y", {"after": ["x"]})
    with pytest.raises(PluginErrors) as caught:
        load(loaded(*(f"./{name}.py" for name in "ycxab")))
    first, second = caught.value.errors
    assert "each before the next: a -> b -> c -> a" in first.cause
    assert '"c" declares before "a"' in first.cause
    assert "x -> y -> x" in second.cause
    assert "Take one of these names out of host_plugin" in first.hint


def test_the_order_of_installation_does_not_matter(install, monkeypatch):
    def installed(*distributions):
        folder = "-".join(distributions)
        for name in distributions:
            site = install(f"sample-{name}", folder=folder, **{name: f"sample_{name}"})
            declaration = {"a": {"after": ["c"]}, "b": {}, "c": {"before": ["b"]}}[name]
            write(site / f"sample_{name}.py", f"{HOOK}\nhost_plugin = {declaration}\n")
        found = order("a", "b", "c")
        monkeypatch.undo()
        return found

    assert installed("a", "b", "c") == installed("c", "b", "a") == ["c", "a", "b"]


def test_other_errors_are_told_beside_it():
    declare("a", {"requires": ["chat>=99"]})
    write("b.py", "from host import hookimpl\n@hookimpl\ndef on_acept(connection): ...")
    with pytest.raises(PluginError) as caught:
        load(loaded("./a.py", "./b.py", "chat"))
    assert 'it requires "chat>=99", and it is of prefork ' in str(caught.value)
    assert 'did you mean "on_accept"' in str(caught.value)
