"""The rules of the doctor, and what it finds by them: codes, severities and cures."""

from __future__ import annotations

from collections.abc import Collection
from enum import StrEnum
from typing import NamedTuple


class Severity(StrEnum):
    """How bad a finding is: errors end the command with the exit code 1."""

    ERROR = "error"
    ADVICE = "advice"


class Rule(NamedTuple):
    """One thing that can be wrong with a plugin.

    Attributes:
        code: its name, which stays the same from release to release.
        severity: an error if the plugin cannot be used, or will fail or hold up others.
        meaning: what is wrong, as the table of the documentation says it.
        cure: what to do about it; a finding may know better.
    """

    code: str
    severity: Severity
    meaning: str
    cure: str


class Finding(NamedTuple):
    """One thing that is wrong with one plugin.

    Attributes:
        code: the rule's code.
        message: what is wrong, in a sentence.
        place: `file:line`, a file, or None where there is no place.
        subject: what is at that place, or None.
        cure: what to do about it, or None for the rule's own cure.
    """

    code: str
    message: str
    place: str | None = None
    subject: str | None = None
    cure: str | None = None

    @property
    def rule(self) -> Rule:
        """The rule that it was found by."""
        return RULES[self.code]

    def as_dict(self) -> dict[str, str | None]:
        """Return the finding as JSON has it."""
        rule = self.rule
        return self._asdict() | {"severity": rule.severity, "cure": self.cure or rule.cure}


class Report(NamedTuple):
    """What was found about one plugin.

    Attributes:
        plugin: the plugin's name.
        origin: where it comes from, or "" if it is nowhere to be found.
        findings: all that is wrong with it; errors come first.
        notes: what could not be examined, and why.
    """

    plugin: str
    origin: str
    findings: tuple[Finding, ...]
    notes: tuple[str, ...] = ()

    def without(self, codes: Collection[str]) -> Report:
        """Return the report without the findings of some rules."""
        kept = tuple(each for each in self.findings if each.code not in codes)
        return self._replace(findings=kept)

    def count(self, severity: Severity) -> int:
        """Return how many findings are that bad."""
        return sum(each.rule.severity is severity for each in self.findings)


_ERROR, _ADVICE = Severity.ERROR, Severity.ADVICE
_FOR_EACH_WORKER = "Do it in on_worker_start: each worker then has its own."
_OFF_THE_LOOP = "Have a pool do it, by worker.pool().apply_async; to wait, use call_later."

GROUPS: dict[str, tuple[Rule, ...]] = {
    "Found and loaded": (
        Rule(
            "not-found",
            _ERROR,
            "there is no such plugin, module, file or class",
            "Correct the name, or install what is missing.",
        ),
        Rule(
            "refused",
            _ERROR,
            "the host refuses it for another reason",
            "Change what the message names.",
        ),
        Rule(
            "import-failed",
            _ERROR,
            "importing it raises an exception",
            "Change the line that raises it, or what that line needs.",
        ),
        Rule(
            "construct-failed",
            _ERROR,
            "its class cannot be called with its options",
            "Let __init__ take the options and nothing else, and raise nothing.",
        ),
        Rule(
            "import-hangs",
            _ERROR,
            "importing or constructing it takes longer than `--timeout`",
            "Leave what waits to on_worker_start, which has a limit of its own.",
        ),
        Rule(
            "import-ends",
            _ERROR,
            "the process that imports or constructs it ends: a crash, a signal, an exit",
            "Run python -X faulthandler -c 'import MODULE' to see where.",
        ),
        Rule(
            "ambiguous",
            _ERROR,
            "a name or module stands for several plugins",
            "Name the class: package.module:Class.",
        ),
    ),
    "Hooks": (
        Rule("no-hook", _ERROR, "it implements no hook", "Mark functions with @hookimpl."),
        Rule(
            "unknown-hook", _ERROR, "`@hookimpl` is on what no hook is called", "Correct the name."
        ),
        Rule(
            "unmarked-hook",
            _ERROR,
            "a function has the name of a hook and no `@hookimpl`",
            "Put @hookimpl above it, or give it another name.",
        ),
        Rule(
            "near-miss",
            _ERROR,
            "a function without `@hookimpl` is called almost as a hook is",
            "Correct the name and mark it, or let it begin with an underscore.",
        ),
        Rule(
            "looks-like-hook",
            _ADVICE,
            "a function that nobody calls looks like a hook, of this host or of another framework",
            "Mark the hook that is meant with @hookimpl, or remove it.",
        ),
        Rule(
            "not-a-function",
            _ERROR,
            "what has the name of a hook is no function",
            "Define it with def, or give it another name.",
        ),
        Rule(
            "wrong-kind",
            _ERROR,
            "a hook is async, a generator that is no wrapper, or a wrapper of an old kind",
            "Write def, without yield unless it is a wrapper.",
        ),
        Rule(
            "wrong-argument",
            _ERROR,
            "a hook takes what the host does not pass",
            "Take arguments of the specification only, without default values.",
        ),
        Rule(
            "wrong-annotation",
            _ERROR,
            "an annotation contradicts the hook's specification",
            "Annotate it as the specification does, or not at all.",
        ),
        Rule(
            "ignored-answer",
            _ADVICE,
            "an `on_` hook is annotated to return something, which nobody looks at",
            "Annotate it with -> None.",
        ),
        Rule(
            "never-called",
            _ERROR,
            "a hook is in order but can never be called",
            "Implement on_readable as well.",
        ),
    ),
    "Order": (
        Rule(
            "first-and-last",
            _ADVICE,
            "a hook asks to be called both first and last",
            "Choose one of tryfirst and trylast.",
        ),
        Rule(
            "declaration",
            _ERROR,
            "what it declares in `host_plugin` is not understood",
            "See the page about the order of plugins.",
        ),
        Rule(
            "misspelt-order",
            _ADVICE,
            "a name in `after` or `before` is nearly that of an installed plugin",
            "Correct the name in host_plugin.",
        ),
        Rule(
            "requirement",
            _ERROR,
            "a plugin that it requires is not there, or is of another version",
            "Install it, or require less.",
        ),
        Rule(
            "order-cycle",
            _ERROR,
            "it and installed plugins would have to be called in a circle",
            "Take one of the names out of host_plugin.",
        ),
    ),
    "Options": (
        Rule(
            "options-model",
            _ERROR,
            "`Options` is nothing that the host can hand over",
            "Make it a pydantic model in the class, or beside it.",
        ),
        Rule(
            "options-invalid",
            _ERROR,
            "the options that are set are invalid",
            "Correct the setting.",
        ),
        Rule(
            "options-default",
            _ERROR,
            "the default of an option is not valid itself",
            "Correct the default, or its type and limits.",
        ),
        Rule(
            "options-schema",
            _ERROR,
            "no JSON Schema can be made of the options: `settings schema` fails",
            "Give the type a schema: see pydantic's WithJsonSchema.",
        ),
    ),
    "What it does before the fork, when it is imported and constructed": (
        Rule(
            "leaves-thread",
            _ERROR,
            "it starts a thread, which no worker has (fork(2))",
            _FOR_EACH_WORKER,
        ),
        Rule(
            "native-threads",
            _ADVICE,
            "a library of it starts threads, which no worker has (fork(2))",
            "See what the library says of fork, or import it in on_worker_start.",
        ),
        Rule(
            "leaves-socket",
            _ERROR,
            "it opens a socket, which all workers would share",
            _FOR_EACH_WORKER,
        ),
        Rule(
            "leaves-event-loop",
            _ERROR,
            "it makes an event loop or epoll instance, which all workers would share",
            _FOR_EACH_WORKER,
        ),
        Rule(
            "leaves-file",
            _ADVICE,
            "it opens a file or pipe: all workers share its position",
            _FOR_EACH_WORKER,
        ),
        Rule(
            "leaves-process",
            _ERROR,
            "it starts a process, once at each start, check and reload",
            _FOR_EACH_WORKER,
        ),
        Rule(
            "closes-descriptors",
            _ERROR,
            "it closes or replaces descriptors that are not its own",
            "Close what was opened, and nothing by number.",
        ),
        Rule(
            "changes-signals",
            _ERROR,
            "it sets a signal's handler, though signals are the host's",
            "Use on_worker_stop and on_drain, which the host calls.",
        ),
        Rule(
            "changes-process",
            _ADVICE,
            "it changes the working directory, the file mode mask or the time-out of all sockets",
            "Leave what belongs to the whole process alone.",
        ),
        Rule(
            "takes-epoll",
            _ERROR,
            "it replaces `select.epoll`, as monkey patching does",
            "Do not patch: nothing of gevent or eventlet can be used here.",
        ),
        Rule(
            "takes-functions",
            _ERROR,
            "it takes away or replaces functions that the host itself needs, as `os.fork`",
            "Put what is yours in their place in on_worker_start, or nowhere.",
        ),
        Rule(
            "leaves-timer",
            _ERROR,
            "it leaves `signal.alarm` or `setitimer` running, whose signal ends the host",
            "Use worker.call_later.",
        ),
        Rule(
            "lowers-limits",
            _ERROR,
            "it lowers the recursion limit, or the CPU time of the whole host",
            "Limit a worker in on_worker_start, where it is its own.",
        ),
        Rule(
            "prints",
            _ADVICE,
            "it prints: that is in the log at each start, check and reload",
            "Remove the print, or use the module logging in a hook.",
        ),
    ),
    "What a hook does that must not block": (
        Rule("blocking-call", _ERROR, "a call that waits: nothing else is served", _OFF_THE_LOOP),
        Rule("may-block", _ADVICE, "a call that may wait: nothing else is served", _OFF_THE_LOOP),
        Rule(
            "endless-loop",
            _ERROR,
            "a loop that nothing ends",
            "Return to the loop; go on later with connection.call_next_turn.",
        ),
        Rule(
            "pool-waits",
            _ERROR,
            "`apply` or `map` of a pool outside of a coroutine: it raises `WouldBlockError`",
            "Call apply_async or map_async with a callback, or await it in a coroutine.",
        ),
    ),
    "What it does with connections": (
        Rule(
            "reads-nothing",
            _ERROR,
            "`on_readable` does nothing with the connection, and would be called for ever",
            "Call connection.read().",
        ),
        Rule(
            "writes-text",
            _ERROR,
            "text is written to a connection, which takes bytes",
            'Write b"...", or encode the text: connection.write(text.encode()).',
        ),
    ),
    "Its source and its package": (
        Rule(
            "not-read",
            _ADVICE,
            "the source cannot be looked through: it is too large or too deep",
            "Divide it into modules.",
        ),
        Rule(
            "no-py-typed",
            _ADVICE,
            "a distribution's package has no `py.typed`, so type checkers ignore its annotations",
            "Add an empty file py.typed to the package and to the package data (PEP 561).",
        ),
        Rule(
            "no-test",
            _ADVICE,
            "no test of its project names it",
            "Begin with host.testing.check_protocol, as new-plugin does.",
        ),
    ),
}
"""All rules, by what they are about, in the order of the documentation."""

RULES = {rule.code: rule for rules in GROUPS.values() for rule in rules}
"""The same by code."""
