"""The chaos kit: a protocol is put through all scenes, in memory and by real hosts."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from copy import copy
from pathlib import Path

from host.errors import RealWorkerNeededError
from host.testing.checks import Subject
from host.testing.conformance import problem_of
from host.testing.conversation import Conversation, Exchange, NotConformingError
from host.testing.harness import Options
from host.testing.machine import patience
from host.testing.outcomes import Outcome, problems
from host.testing.running import RunningHost
from host.testing.scenes import SCENES, Scene
from host.testing.stage import Stage
from host.testing.transports import MEMORY, Transport, check_names, opened


class Chaos:
    """Puts protocols through chaos: the fixture `chaos`.

    Args:
        start: starts a host, as the fixture `host_server` does, and ends it in any case.

    Attributes:
        outcomes: how each scene went so far.
    """

    def __init__(self, start: Callable[..., RunningHost]) -> None:
        self._start = start
        self.outcomes: list[Outcome] = []
        self._over: tuple[str, ...] = ("tcp", "unix")

    def over(self, *transports: str) -> Chaos:
        """Return what puts protocols through chaos over these transports; outcomes are kept here.

        `chaos.over("tls", "proxy")("echo", [(b"hello", b"hello")])`.

        Args:
            transports: of `tcp`, `unix`, `tls` with a certificate that the command openssl makes,
                and `proxy` for a client that a proxy names first (PROXY protocol, version 2).

        Raises:
            ValueError: there is no such transport.
        """
        check_names(transports)
        other = copy(self)
        other._over = transports
        return other

    def __call__(
        self,
        selection: str | Sequence[str],
        conversation: Conversation | Sequence[Exchange],
        *,
        options: Options | None = None,
        settings: Mapping[str, object] | None = None,
        workers: int = 1,
        seconds: float = 5.0,
        only: Sequence[str] = (),
    ) -> None:
        """Hold a conversation in every scene: over each transport, and in memory where that can be.

        A plugin that needs real sockets, files or processes cannot be played in memory.

        Args:
            selection: the plugin, or all the plugins that are needed, as with `--plugin`; the first
                protocol among them serves.
            conversation: a `Conversation`, or its exchanges alone.
            options: options by the name of the plugin.
            settings: any other settings by their dotted names, as with `--set`.
            workers: how many workers the hosts have.
            seconds: how long a reply may take on an idle machine. A handler that takes half of it
                is taken for one that hangs.
            only: the names of the scenes that are played; all if there are none.

        Raises:
            AssertionError: with each scene that did not hold, and why; or a host does not start.
            ValueError: a scene does not exist, or there is no exchange in the conversation.
        """
        talk = (
            conversation if isinstance(conversation, Conversation) else Conversation(conversation)
        )
        plugins = (selection,) if isinstance(selection, str) else tuple(selection)
        scenes = _chosen(only)
        order = [scene.name for scene in scenes]
        subject = Subject(plugins, talk, options or {}, settings or {}, most_seconds=4 * seconds)
        found: list[Outcome] = []
        with opened(self._over) as chosen:
            for transport in chosen:
                run = _Run(self._start, subject, transport, workers, seconds)
                found += [Outcome(scene.name, transport.name, run.play(scene)) for scene in scenes]
                run.end()
        # What never held might hang the tests: in memory there is nobody who ends it.
        safe = {outcome.scene for outcome in found if not outcome.problem}
        playable = [scene for scene in scenes if scene.name in safe]
        found = [*_in_memory(playable, subject), *found]
        found.sort(key=lambda outcome: order.index(outcome.scene))
        self.outcomes += found
        if wrong := problems(found):
            title = f"{' '.join(plugins)} does not hold:"
            raise AssertionError("\n  ".join([title, *wrong]))


class _Run:
    """The hosts of one transport, one after the other."""

    def __init__(
        self,
        start: Callable[..., RunningHost],
        subject: Subject,
        transport: Transport,
        workers: int,
        seconds: float,
    ) -> None:
        self._start, self._subject, self._transport = start, subject, transport
        self._workers, self._seconds = workers, seconds
        # A handler that hangs is told of while its reply is still waited for.
        self._hang_seconds, self._least = patience(seconds) / 2, patience(seconds)
        self._hosts: dict[str, RunningHost] = {}

    def play(self, scene: Scene) -> str:
        """Play a scene; return why it did not hold, or nothing."""
        key = repr(scene.settings)
        host = self._hosts.pop(key, None) or self._new_host(scene)
        talk, seconds = self._subject.talk, self._seconds
        stage = Stage(host, self._transport, talk, seconds, self._least)
        said = []
        try:
            scene.play(stage)
        except NotConformingError as error:
            said.append(str(error))
        except OSError as error:
            said.append(f"{type(error).__name__}: {error}")
        if said:
            host.clean_up(seconds=0)  # so that all is read that it has told of until now
        said += stage.complaints()
        if said:
            host.clean_up(seconds=0)  # it may have connections that do not end
        elif talk.once:
            host.clean_up()
        else:
            self._hosts[key] = host
        return "; ".join(said)

    def end(self) -> None:
        """End the hosts that are left."""
        for host in self._hosts.values():
            host.clean_up()

    def _new_host(self, scene: Scene) -> RunningHost:
        return self._start(
            *self._subject.plugins,
            listen=(),
            workers=self._workers,
            options=self._subject.options,
            settings={
                "lifecycle.hang_seconds": self._hang_seconds,
                **self._transport.settings(),
                **scene.settings,
                **self._subject.settings,
            },
            cwd=Path.cwd(),
        )


def _chosen(names: Sequence[str]) -> list[Scene]:
    """Return the scenes of these names, or all."""
    there = {scene.name: scene for scene in SCENES}
    if unknown := [name for name in names if name not in there]:
        raise ValueError(f"no scene is called {unknown[0]!r}: there are {', '.join(there)}")
    return [there[name] for name in names or there]


def _in_memory(scenes: Sequence[Scene], subject: Subject) -> list[Outcome]:
    """Play what can be played without a host."""
    try:
        with subject.harness():
            pass
    except RealWorkerNeededError:
        return []
    except Exception:  # what is wrong is told of each scene
        pass
    return [
        Outcome(scene.name, MEMORY, problem_of(scene.in_memory, subject) or "")
        for scene in scenes
        if scene.in_memory is not None
    ]
