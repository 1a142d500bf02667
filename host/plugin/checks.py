"""Checks what a plugin implements, and refuses what pluggy would pass over in silence."""

from __future__ import annotations

import difflib
import inspect
import linecache
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from types import FunctionType, MethodType, ModuleType
from typing import Any, cast

from host import hookspecs
from host.errors import PluginError
from host.plugin.binding import HOOKS, Implementation
from host.plugin.discovery import Source
from host.settings import nearest
from host.text import listed, shorten, suggest

Hooks = Mapping[str, tuple[str, ...]]

_MARK = f"{hookspecs.NAMESPACE}_impl"

# An undecorated `on_data` is the author's own affair, though it looks a little like `on_drain`
# (difflib: 0.67); `on_acept` and `on_closed` are slips (0.94).
SLIP = 0.85

_OF_WHO_SERVES = {"on_drain": "to drain it", "on_tls": "that it has TLS now"}
"""Hooks that only the plugin is told which serves a connection, and what it is told."""


@dataclass(frozen=True, slots=True)
class _Member:
    """An attribute of a plugin that is a function.

    Attributes:
        name: the attribute's name.
        function: what is called, bound if it is a method.
        raw: the function as written.
        mark: the keywords that `hookimpl` was given, or None without it.
        method: whether the first parameter is the plugin itself.
    """

    name: str
    function: Callable[..., object]
    raw: FunctionType
    mark: Mapping[str, Any] | None
    method: bool


def implementations(
    source: Source, plugin: object, hooks: Hooks = HOOKS
) -> tuple[tuple[Implementation, ...], tuple[PluginError, ...]]:
    """Return what `plugin`, a module or an instance, implements, and all that is wrong with it.

    Args:
        source: where it came from, for messages.
        plugin: the module or instance.
        hooks: every hook that there is, with its arguments.
    """
    found: list[Implementation] = []
    wrong: list[PluginError] = []
    for name in dir(plugin):
        try:
            member = _member(plugin, name)
            if member is None:
                _check_value(source, plugin, name, hooks)
            elif member.mark is None:
                _check_unmarked(source, plugin, member, hooks)
            elif (one := _implementation(source, member, member.mark, hooks)) is not None:
                found.append(one)
        except PluginError as error:
            wrong.append(error)
    if not found and not wrong:
        cause = f"it implements no hook\nhooks: {listed(hooks)}"
        hint = "Mark each function with @hookimpl (from host import hookimpl)."
        none = PluginError(source.name, cause, origin=source.origin, hint=hint, code="no-hook")
        wrong.append(none)
    return tuple(found), tuple(wrong)


def unheard(source: Source, found: Iterable[Implementation]) -> tuple[PluginError, ...]:
    """Return what is wrong with hooks that would never be called, though each is in order."""
    plain = {each.hook: each.function for each in found if not each.wrapper}
    if "on_readable" in plain:
        return ()
    return tuple(
        PluginError(
            source.name,
            f"it implements {hook} but not on_readable: only the plugin that serves a connection is"
            f" told {what}",
            hook=hook,
            origin=source.origin,
            where=_place(cast("FunctionType", getattr(function, "__func__", function))),
            hint="Implement on_readable as well, or mark it @hookimpl(wrapper=True).",
            code="never-called",
        )
        for hook, what in _OF_WHO_SERVES.items()
        if (function := plain.get(hook)) is not None
    )


def plugin_class(source: Source, module: ModuleType) -> type | None:
    """Return the class in a module that is the plugin, or None if the module itself is.

    Raises:
        PluginError: if it cannot be told.
    """
    classes = [
        value
        for value in vars(module).values()
        if inspect.isclass(value) and value.__module__ == module.__name__
    ]
    marked = [each for each in classes if any(member.mark for member in _members(each))]
    functions = any(member.mark for member in _members(module))
    if not marked and not functions:
        # Nothing is marked; where the marks were forgotten says what was meant.
        named = {member.name for member in _members(module)} & HOOKS.keys()
        marked = [each for each in classes if not named and vars(each).keys() & HOOKS.keys()]
    if not marked:
        return None
    if len(marked) == 1 and not functions:
        return marked[0]
    names = sorted(each.__name__ for each in marked)
    home = source.target
    if functions:
        cause = f"it has hooks both at module level and in a class: {listed(names)}"
        hint = f"Name the class ({home}:{names[0]}), or move all hooks to one place."
    else:
        cause = f"it has {len(names)} classes with hooks: {listed(names)}"
        hint = f"Name one: {home}:{names[0]}"
    raise PluginError(source.name, cause, origin=source.origin, hint=hint, code="ambiguous")


def _members(holder: object) -> Iterator[_Member]:
    return (member for name in dir(holder) if (member := _member(holder, name)) is not None)


def _member(holder: object, name: str) -> _Member | None:
    """Return an attribute if it is a function; evaluates no property and no `__getattr__`."""
    value = inspect.getattr_static(holder, name, None)
    kind = holder if inspect.isclass(holder) else type(holder)
    own = isinstance(holder, ModuleType) or name in getattr(holder, "__dict__", {})
    function: Callable[..., object]
    match value:
        case staticmethod() | classmethod():
            raw = value.__func__
            function = value.__get__(holder, kind)
        case MethodType():
            raw, function = value.__func__, value
        case FunctionType() if own or inspect.isclass(holder):
            raw, function = value, value
        case FunctionType():
            raw, function = value, value.__get__(holder, kind)
        case _:
            return None
    if not isinstance(raw, FunctionType):
        return None
    mark = _mark(value)
    method = not own and isinstance(value, FunctionType | classmethod)
    return _Member(name, function, raw, mark if mark is not None else _mark(raw), method)


def _mark(function: object) -> Mapping[str, Any] | None:
    mark = getattr(function, "__dict__", {}).get(_MARK)
    return mark if isinstance(mark, dict) else None


def _check_value(source: Source, plugin: object, name: str, hooks: Hooks) -> None:
    """Refuse what has a hook's name and is no function."""
    value = inspect.getattr_static(plugin, name, None)
    if name in hooks and value is not None:
        kind = type(value).__name__
        raise PluginError(
            source.name,
            f'"{name}" has the name of a hook but is not a function (it is: {kind})',
            hook=name,
            origin=source.origin,
            hint="Define it with def and @hookimpl, or give it another name.",
            code="not-a-function",
        )


def _check_unmarked(source: Source, plugin: object, member: _Member, hooks: Hooks) -> None:
    """Refuse a function that was probably meant as a hook: pluggy would never call it."""
    name = member.name
    foreign = [key[:-5] for key in vars(member.raw) if key.endswith("_impl") and key != _MARK]
    if name in hooks:
        cause = f'"{name}" has the name of a hook but is not marked: @hookimpl is missing'
        if foreign:
            cause = f'"{name}" is marked as a hook of the project "{foreign[0]}", not of this host'
        raise _refusal(
            source,
            member,
            name,
            cause,
            "Put @hookimpl above it (from host import hookimpl), or give it another name.",
            code="unmarked-hook",
        )
    near = difflib.get_close_matches(name, hooks, 1, SLIP)
    home = plugin.__name__ if isinstance(plugin, ModuleType) else type(plugin).__module__
    private = name.startswith("_")
    if near and not private and not foreign and member.raw.__module__ == home:
        raise _refusal(
            source,
            member,
            near[0],
            f'"{name}" is not marked as a hook and no hook has that name{suggest(near[0])}',
            f"If it is not meant as a hook, let its name begin with an underscore: _{name}.",
            code="near-miss",
        )


def _implementation(
    source: Source, member: _Member, mark: Mapping[str, Any], hooks: Hooks
) -> Implementation | None:
    """Check a marked function; None if it is optional and this host has no such hook."""
    hook = mark.get("specname") or member.name
    if hook not in hooks:
        if mark.get("optionalhook"):
            return None
        near = nearest(hook, hooks)
        cause = f'no hook is named "{hook}"{suggest(near)}\nhooks: {listed(hooks)}'
        hint = "A hook that another plugin brings is there only if that plugin is selected, too."
        raise _refusal(source, member, None, cause, None if near else hint, code="unknown-hook")
    wrapper = bool(mark.get("wrapper"))
    if mark.get("hookwrapper"):
        cause = "hookwrapper=True is pluggy's old kind of wrapper, which is not supported"
        hint = (
            "Use wrapper=True: yield gives the result itself or raises, and what is returned is "
            "the hook's result."
        )
        raise _refusal(source, member, hook, cause, hint, code="wrong-kind")
    _check_kind(source, member, hook, wrapper)
    return Implementation(
        source.name,
        hook,
        member.function,
        _arguments(source, member, hook, hooks[hook]),
        hooks[hook],
        member.name,
        wrapper=wrapper,
        tryfirst=bool(mark.get("tryfirst")),
        trylast=bool(mark.get("trylast")),
    )


def _check_kind(source: Source, member: _Member, hook: str, wrapper: bool) -> None:
    """Refuse functions whose call would do nothing but return a coroutine or a generator."""
    function = member.raw
    cause = None
    if inspect.iscoroutinefunction(function) or inspect.isasyncgenfunction(function):
        cause = "it is async, but hooks are plain calls: nothing would await it"
        hint = "Write def; to wait for something, use worker.call_later or a thread of your own."
    elif wrapper and not inspect.isgeneratorfunction(function):
        cause = "it is marked wrapper=True but does not yield"
        hint = "A wrapper yields exactly once, where the wrapped implementations run."
    elif not wrapper and inspect.isgeneratorfunction(function):
        cause = "it yields, so a call would only make a generator and run nothing"
        hint = "Remove the yield, or mark it @hookimpl(wrapper=True) if it is to wrap the others."
    if cause:
        raise _refusal(source, member, hook, cause, hint, code="wrong-kind")


def _arguments(
    source: Source, member: _Member, hook: str, expected: tuple[str, ...]
) -> tuple[str, ...]:
    """Return the arguments that a function takes, if they are some of the hook's."""
    parameters = list(inspect.signature(member.raw).parameters.values())
    allowed = f"{hook} has these arguments: {listed(expected)}"
    if member.method:
        first = parameters.pop(0) if parameters else None
        if first is None or first.name in expected:
            cause = "its first parameter must be self"
            raise _refusal(source, member, hook, cause, allowed, code="wrong-argument")
    for parameter in parameters:
        name, cause = parameter.name, ""
        if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
            stars = "*" if parameter.kind is parameter.VAR_POSITIONAL else "**"
            cause = f"it takes {stars}{name}, but arguments are passed by the names it lists"
        elif parameter.kind is parameter.KEYWORD_ONLY:
            cause = f'"{name}" can be given by keyword only, but arguments are passed by position'
        elif name not in expected:
            cause = f'there is no argument "{name}"{suggest(nearest(name, expected))}'
        elif parameter.default is not parameter.empty:
            cause = f'the argument "{name}" has a default value, which hooks cannot have'
        if cause:
            hint = f"{allowed}; any may be left out."
            raise _refusal(source, member, hook, cause, hint, code="wrong-argument")
    return tuple(parameter.name for parameter in parameters)


def _refusal(
    source: Source,
    member: _Member,
    hook: str | None,
    cause: str,
    hint: str | None = None,
    *,
    code: str,
) -> PluginError:
    return PluginError(
        source.name,
        cause,
        hook=hook,
        origin=source.origin,
        where=_place(member.raw),
        hint=hint,
        code=code,
    )


def _place(function: FunctionType) -> str:
    """Return `file:line  name(parameters)` of a function's own definition."""
    function = cast("FunctionType", inspect.unwrap(function))
    code = function.__code__
    line = code.co_firstlineno
    # The code begins at its first decorator; the reader looks for the def.
    for offset in range(10):
        text = linecache.getline(code.co_filename, line + offset)
        if re.match(rf"\s*(async\s+)?def\s+{re.escape(code.co_name)}\b", text):
            line += offset
            break
    written = inspect.signature(function)
    bare = [each.replace(annotation=each.empty) for each in written.parameters.values()]
    signature = inspect.Signature(bare)
    return f"{shorten(code.co_filename)}:{line}  {function.__name__}{signature}"
