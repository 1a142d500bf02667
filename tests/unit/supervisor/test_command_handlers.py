"""Each command of the table is carried out or refused, and answered once."""

import inspect
import json
from types import SimpleNamespace

import pytest

from host.control.commands import COMMANDS, CommandError
from host.control.replies import Reply, pieces
from host.errors import PluginError
from host.ipc.protocol import Ask, Drain
from host.ipc.recent import Kind, RecentWriter
from host.runtime.steps import finish
from host.settings import AppliedSetting
from host.settings import Lifecycle as Limits
from host.supervisor import status
from host.supervisor.command_handlers import CommandHandlers, CommandParts
from host.supervisor.reload.reloader import ReloadError
from host.supervisor.workers.queries import ANSWER_SECONDS
from host.telemetry.events import SCHEDULER_SWAPPED, WORKER_HELD, WORKER_RECYCLED, WORKER_RESUMED
from support.generations import connect
from support.supervision import NO_PROCESS, site

STOPPED_BY = 12.3456


class Scene:
    """Two workers that serve, and the commands; `stops` and `reloads` are what was asked for."""

    def __init__(self, made):
        self.site = made
        made.start()
        self.first, self.second = made.workers
        self.told = made.told
        self.stops, self.reloads, self.loaded = [], [], []
        self.reloader = SimpleNamespace(starting=False, request=self._reload)
        self.schedulers = [("other", lambda _listener, workers: workers[-1])]
        self.handlers = CommandHandlers(
            CommandParts(
                telemetry=made.told.telemetry,
                state=made.state,
                lifecycle=made.lifecycle,
                queries=made.queries,
                reloader=self.reloader,
                load_schedulers=self._load,
                stop=self._stop,
                applied=lambda: [AppliedSetting("workers", "3", "host.toml:1")],
            )
        )

    def _stop(self, cause, **how):
        self.stops.append((cause, how))
        return STOPPED_BY

    def _reload(self, cause, done):
        self.reloads.append((cause, done))

    def _load(self, name):
        yield
        self.loaded.append(name)
        if isinstance(self.schedulers, Exception):
            raise self.schedulers
        return self.schedulers

    def ask(self, command, **args):
        """Give a command; return the list that its response comes into."""
        responses, names = [], {each.name: each.default for each in COMMANDS[command].arguments}
        args = names | args
        for _ in self.handlers.handle(command, args, Reply(responses.append, {})) or ():
            assert not responses
        return responses

    def result(self, command, **args):
        """Give a command that is answered at once; return the result."""
        [response] = self.ask(command, **args)
        assert response["ok"]
        return response["result"]

    def refusal(self, command, **args):
        """Give a command that is refused; return why."""
        with pytest.raises(CommandError) as caught:
            self.ask(command, **args)
        return str(caught.value)

    def question(self, handle):
        """Return the question that a worker was asked last."""
        return [each for each in self.site.ends(handle).told() if isinstance(each, Ask)][-1]

    def answer(self, handle, *items):
        number = self.question(handle).number
        self.site.report(handle, "answer", data={"number": number, "items": list(items)})


@pytest.fixture
def scene():
    with site() as made:
        yield Scene(made)


@pytest.mark.parametrize("command", COMMANDS.values(), ids=COMMANDS)
def test_each_command_has_a_method_with_its_name_and_arguments(command):
    parameters = list(inspect.signature(getattr(CommandHandlers, command.name)).parameters)
    assert parameters[:2] == ["self", "reply"]
    assert parameters[2:] == [argument.name for argument in command.arguments]


def test_each_public_method_is_a_command():
    public = {name for name in vars(CommandHandlers) if not name.startswith("_")}
    assert public - {"handle"} == set(COMMANDS)


def test_status_and_generations_are_told(scene):
    assert scene.result("status") == finish(status.status(scene.site.state))
    assert scene.result("generations") == status.generations(scene.site.state)


def test_the_settings_that_are_applied_are_told(scene):
    row = {"key": "workers", "value": "3", "origin": "host.toml:1"}
    assert scene.result("applied") == {"settings": [row]}


def test_a_reload_is_answered_when_it_is_certain(scene):
    responses = scene.ask("reload")
    [(cause, done)] = scene.reloads
    assert (cause, responses) == ("a command", [])
    done(None)
    assert responses == [{"v": 1, "ok": True, "result": {"generation": 1, "certificates": []}}]


def test_a_reload_that_fails_is_answered_with_the_reason(scene):
    responses = scene.ask("reload")
    scene.reloads[0][1](ReloadError("no such plugin", "details"))
    assert responses == [{"v": 1, "ok": False, "error": "no such plugin\ndetails"}]


def test_a_reload_is_refused_while_a_generation_starts_or_the_host_stops(scene):
    scene.reloader.starting = True
    assert scene.refusal("reload") == "a generation is starting; try again when it is ready"
    scene.site.shutdown.begin("SIGTERM")
    assert scene.refusal("reload") == "the host is stopping"
    assert scene.reloads == []


def test_a_stop_tells_how_long_it_may_take(scene):
    assert scene.result("stop", quick=False) == {"seconds": 12.346}
    assert scene.stops == [("a command", {"delayed": True})]


def test_a_quick_stop_takes_a_second(scene):
    assert scene.result("stop", quick=True) == {"seconds": 1.0}
    assert scene.stops == [("a command", {"quick": True})]


def test_workers_are_added_and_taken_away(scene):
    assert scene.result("scale", workers=3) == {"workers": 3, "before": 2}
    assert scene.result("scale", workers=1) == {"workers": 1, "before": 3}
    assert scene.site.ends(scene.second).told() == [Drain(130.0)]


def test_a_host_that_stops_is_not_scaled(scene):
    scene.site.shutdown.begin("SIGTERM")
    assert scene.refusal("scale", workers=3) == "the host is stopping"
    assert scene.site.pool.workers == 2


def test_a_worker_is_replaced_and_then_drained(scene):
    assert scene.result("drain", slot=0) == {"slot": 0, "pid": scene.first.record.pid}
    scene.site.report(scene.site.find(0), "ready")
    assert scene.site.ends(scene.first).told() == [Drain(130.0)]


def test_no_worker_is_replaced_by_itself_while_the_host_stops():
    with site(limits=Limits(shutdown_delay_seconds=5.0)) as made:
        scene = Scene(made)
        made.shutdown.begin("SIGTERM", delayed=True)
        assert scene.refusal("drain", slot=0) == "the host is stopping"
        assert scene.told.of(WORKER_RECYCLED) == []


def test_no_worker_is_replaced_by_itself_while_another_generation_is_to_take_over():
    with site(coming=True) as made:
        made.lifecycle.start_none()
        scene = Scene(made)
        said = scene.refusal("drain", slot=0)
        assert said == "generation 1 is to take over and replaces all workers"
        assert scene.told.of(WORKER_RECYCLED) == []


@pytest.mark.parametrize("command", ["drain", "hold", "resume"])
def test_a_slot_in_which_nobody_serves_is_refused(scene, command):
    assert scene.refusal(command, slot=7) == "no worker serves in slot 7; slots: 0, 1"
    scene.site.lifecycle.retire(scene.first, "a command")
    assert scene.refusal(command, slot=0) == "no worker serves in slot 0; slots: 0, 1"


def test_a_worker_is_kept_from_new_connections_and_given_them_again(scene):
    pid, answer = scene.first.record.pid, {"slot": 0, "pid": scene.first.record.pid}
    candidate = scene.first.generation.candidate(pid)
    assert scene.result("hold", slot=0) == answer
    assert (scene.first.held, candidate.held) == (True, True)
    assert scene.result("hold", slot=0) == answer
    assert scene.told.of(WORKER_HELD) == [answer]
    assert scene.result("resume", slot=0) == answer
    assert scene.result("resume", slot=0) == answer
    assert (scene.first.held, candidate.held) == (False, False)
    assert scene.told.of(WORKER_RESUMED) == [answer]


def test_what_waits_for_a_worker_that_was_kept_from_it_is_handed_out_at_once(scene):
    for slot in range(2):
        scene.result("hold", slot=slot)
    with connect(scene.first.generation.sockets[0]):
        scene.site.generations.run_passes()
        assert scene.site.ends(scene.first).told() == []
        scene.result("resume", slot=0)
        assert scene.site.ends(scene.first).told() == [(0, 1)]


def test_recent_events_of_one_slot_or_of_all_are_told(scene):
    for handle, serials in ((scene.first, 50), (scene.second, 40)):
        writer = RecentWriter(handle.row, scene.site.loop, handle.record.pid)
        for serial in range(serials):
            writer.note(Kind.ACCEPTED, serial)
    mine = scene.result("recent", slot=1)["events"]
    assert {each["slot"] for each in mine} == {1}
    assert [each["event"] for each in mine] == ["accepted"] * 40
    assert mine[-1]["text"].startswith(f"connection {scene.second.record.pid}-39 accepted on ")
    assert len(scene.result("recent")["events"]) == 64
    assert "no worker is in slot 9" in scene.refusal("recent", slot=9)


def listing(response):
    """Return the result of `connections` as a client reads it."""
    return json.loads(b"".join(pieces(response)))["result"]


def test_connections_of_all_workers_are_listed(scene):
    responses = scene.ask("connections", limit=10)
    assert scene.question(scene.second).args == {"limit": 11}
    scene.answer(scene.first, {"slot": 0, "id": "5000000-1"})
    assert responses == []
    scene.site.end(scene.second)
    assert listing(responses[0]) == {
        "connections": [{"slot": 0, "id": "5000000-1"}],
        "unanswered": [],
        "truncated": False,
    }


def test_of_more_connections_than_asked_for_the_first_are_listed(scene):
    responses = scene.ask("connections", limit=2)
    scene.answer(scene.first, {"id": "a"}, {"id": "b"}, {"id": "c"})
    scene.site.loop.advance(100.0 + ANSWER_SECONDS)
    assert listing(responses[0]) == {
        "connections": [{"id": "a"}, {"id": "b"}],
        "unanswered": [1],
        "truncated": True,
    }


@pytest.mark.parametrize("limit", [3, 4, 5, 6])
def test_a_list_may_end_amid_what_a_worker_has_answered(scene, limit):
    responses = scene.ask("connections", limit=limit)
    scene.answer(scene.first, *({"id": f"a{number}"} for number in range(3)))
    scene.answer(scene.second, *({"id": f"b{number}"} for number in range(3)))
    result = listing(responses[0])
    assert "".join(each["id"] for each in result["connections"]) == "a0a1a2b0b1b2"[: 2 * limit]
    assert result["truncated"] == (limit < 6)


def put_in_order(scene, responses):
    """Let turns pass until there is an answer; return the ids in it, and how many turns it took."""
    turns = 0
    while not responses:
        assert scene.site.loop.calls
        scene.site.loop.run_calls()
        turns += 1
    return [each["id"] for each in listing(responses[0])["connections"]], turns


@pytest.mark.parametrize(
    ("sort", "reverse", "expected"),
    [
        ("idle", False, ["b", "c", "a"]),
        ("idle", True, ["d", "a", "c"]),
        ("peer", False, ["c", "d", "a"]),
        ("worker", True, ["c", "d", "a"]),
    ],
)
def test_the_first_in_an_order_are_listed_whoever_has_them(scene, sort, reverse, expected):
    responses = scene.ask("connections", limit=3, sort=sort, reverse=reverse)
    told = [("a", 3, "10.0.0.9:1"), ("b", 7, "unix"), ("c", 5, "9.0.0.1:1"), ("d", 1, "9.0.0.1:1")]
    items = [
        {"id": id, "idle_seconds": idle, "peer": peer, "slot": int(id in "cd")}
        for id, idle, peer in told
    ]
    scene.answer(scene.first, *items[:2])
    scene.answer(scene.second, *items[2:])
    assert put_in_order(scene, responses) == (expected, 0)
    assert listing(responses[0])["truncated"]
    scene.ask("connections", limit=3, sort=sort, reverse=reverse)
    assert scene.question(scene.first).args == {"limit": 4, "sort": sort, "reverse": reverse}


def test_many_are_put_in_order_a_few_in_each_turn(scene):
    responses = scene.ask("connections", limit=1000, sort="out")
    amounts = [(7 * number) % 500 for number in range(500)]
    number = scene.question(scene.first).number
    for start in range(0, 500, 50):
        part = amounts[start : start + 50]
        items = [{"id": each, "bytes_out": each} for each in part]
        data = {"number": number, "items": items, "last": False}
        scene.site.report(scene.first, "answer", data=data)
    scene.site.end(scene.first)
    scene.answer(scene.second)
    ids, turns = put_in_order(scene, responses)
    assert ids == sorted(amounts, reverse=True)
    assert turns == 2
    assert not listing(responses[0])["truncated"]


@pytest.mark.parametrize("value", [None, "x", [], {}, float("nan"), 10**400])
def test_what_cannot_be_put_in_order_is_listed_all_the_same(scene, value):
    responses = scene.ask("connections", limit=10, sort="age")
    scene.answer(scene.first, {"id": "a", "age_seconds": value}, {"id": "b"})
    scene.answer(scene.second, {"id": "c", "age_seconds": 1.0})
    assert set(put_in_order(scene, responses)[0]) == {"a", "b", "c"}


def test_only_the_workers_in_a_slot_are_asked(scene):
    responses = scene.ask("connections", limit=10, worker=1)
    assert scene.site.ends(scene.first).told() == []
    scene.answer(scene.second, {"id": "b"})
    assert [each["id"] for each in listing(responses[0])["connections"]] == ["b"]
    said = scene.refusal("connections", limit=10, worker=7)
    assert said == "no worker is in slot 7; slots: 0, 1"


def test_workers_are_asked_for_a_listener_and_for_peers(scene):
    [view] = scene.first.generation.listeners
    for text, whole in ((view.address, True), (view.address[:-1], False)):
        scene.ask("connections", limit=10, listener=text)
        asked = {"limit": 11, "listener": text, "whole": whole}
        assert scene.question(scene.first).args == asked
    scene.ask("connections", limit=10, peer="10.0.0.0/8")
    assert scene.question(scene.first).args == {"limit": 11, "peer": "10.0.0.0/8"}
    said = scene.refusal("connections", limit=10, listener="udp")
    assert said == f'no listener is "udp"; there is: {view.address}'
    said = scene.refusal("connections", limit=10, peer="10.0.0.0/40")
    assert said == "no such network: '10.0.0.0/40' does not appear to be an IPv4 or IPv6 network"
    said = scene.refusal("connections", limit=10, reverse=True)
    assert said == '"reverse" needs an order to turn around: "sort"'


def test_a_connection_is_closed_by_its_worker(scene):
    id = f"{scene.second.record.pid}-17"
    responses = scene.ask("close", id=id)
    question = scene.question(scene.second)
    assert (question.question, question.args) == ("close", {"id": id})
    scene.site.report(
        scene.second, "answer", data={"number": question.number, "items": [{"id": id}]}
    )
    assert responses == [{"v": 1, "ok": True, "result": {"id": id}}]


@pytest.mark.parametrize("command", ["close", "why"])
@pytest.mark.parametrize("id", [f"{NO_PROCESS + 9}-1", "x-1", f"{NO_PROCESS}-x", "1", ""])
def test_a_connection_of_no_worker_is_refused(scene, command, id):
    said = scene.refusal(command, id=id)
    assert said == f"no connection {id}: no worker here has that process id"


@pytest.mark.parametrize("command", ["close", "why"])
def test_a_connection_that_is_not_open_is_not_found(scene, command):
    id = f"{NO_PROCESS}-17"
    responses = scene.ask(command, id=id)
    scene.answer(scene.first)
    assert responses == [{"v": 1, "ok": False, "error": f"no connection {id} is open"}]


@pytest.mark.parametrize("command", ["close", "why"])
def test_a_worker_that_does_not_answer_is_named(scene, command):
    responses = scene.ask(command, id=f"{NO_PROCESS}-17")
    scene.site.loop.advance(100.0 + ANSWER_SECONDS)
    assert responses == [{"v": 1, "ok": False, "error": "worker 0 does not answer"}]


def test_why_a_connection_is_with_its_worker_is_told(scene):
    with connect(scene.first.generation.sockets[0]):
        scene.site.generations.run_passes()
    scene.site.loop.now = 102.5
    pid = scene.first.record.pid
    responses = scene.ask("why", id=f"{pid}-1")
    item = {"id": f"{pid}-1", "listener": "tcp://127.0.0.1:7000", "index": 0, "claim": 1}
    item |= {"doing": "GET /", "tasks": ["task 1"]}
    scene.answer(scene.first, item)
    assert responses[0]["result"] == {
        "id": f"{pid}-1",
        "listener": "tcp://127.0.0.1:7000",
        "slot": 0,
        "pid": pid,
        "scheduler": "first",
        "seconds_ago": 2.5,
        "candidates": [
            {"slot": 0, "active": 0, "outstanding": 0},
            {"slot": 1, "active": 0, "outstanding": 0},
        ],
        "omitted": 0,
        "doing": "GET /",
        "tasks": ["task 1"],
    }


@pytest.mark.parametrize("item", [{}, {"index": 0}, {"claim": 1}, {"index": [], "claim": {}}])
def test_an_answer_that_lacks_what_was_asked_for_does_no_harm(scene, item):
    responses = scene.ask("why", id=f"{NO_PROCESS}-1")
    scene.answer(scene.first, item)
    assert responses[0]["error"] == "how it came to its worker is no longer remembered"


def test_an_answer_without_the_listener_still_tells_who_has_chosen(scene):
    with connect(scene.first.generation.sockets[0]):
        scene.site.generations.run_passes()
    responses = scene.ask("why", id=f"{NO_PROCESS}-1")
    scene.answer(scene.first, {"index": 0, "claim": 1})
    assert responses[0]["result"]["scheduler"] == "first"


def test_a_choice_that_is_forgotten_is_told_as_such(scene):
    responses = scene.ask("why", id=f"{NO_PROCESS}-1")
    scene.answer(scene.first, {"id": "a", "listener": "b", "index": 0, "claim": 1})
    assert responses[0]["error"] == "how it came to its worker is no longer remembered"


def test_another_scheduler_is_asked_from_now_on(scene):
    assert scene.result("scheduler", name="other") == {"scheduler": "other", "before": ["first"]}
    assert scene.loaded == ["other"]
    assert scene.told.of(SCHEDULER_SWAPPED) == [{"plugin": "other", "before": "first"}]
    with connect(scene.first.generation.sockets[0]):
        scene.site.generations.run_passes()
    assert scene.site.ends(scene.second).told() == [(0, 1)]


def test_a_scheduler_that_cannot_be_loaded_changes_nothing(scene):
    scene.schedulers = PluginError("other", "it does not implement choose_worker")
    assert "it does not implement choose_worker" in scene.refusal("scheduler", name="other")
    assert scene.result("status")["schedulers"] == ["first"]
    assert scene.told.of(SCHEDULER_SWAPPED) == []
