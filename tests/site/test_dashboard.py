"""The dashboard in a real browser: it shows what is so, and goes on whatever happens."""

from __future__ import annotations

import os
import signal
import socket
import threading
from itertools import pairwise
from pathlib import Path

import pytest

from host.testing import RunningHost
from host.testing.machine import patience
from support import datagrams
from support.hosting import helper_of

OVERFLOWING = (Path(__file__).parent / "overflowing.js").read_text(encoding="utf-8")


class Shown:
    """A host with a dashboard, and somebody who uses the host."""

    def __init__(self, folder: Path, *flags: str) -> None:
        given = ["--log-format", "json", "--plugin", "echo", "--workers", "2", *flags]
        given += ["--listen", "tcp://127.0.0.1:0", "--listen", "udp://127.0.0.1:0"]
        given += ["--ops", "tcp://127.0.0.1:0"]
        self.host = RunningHost([*given, "--name", f"shown-{os.getpid()}"], cwd=folder)
        self.host.wait_for("host_ready")
        (listening,) = self.host.events("ops_listening")
        self.home = listening["address"].replace("tcp://", "http://") + "/"
        self.connections = 0
        self._stopped = threading.Event()
        self._user = threading.Thread(target=self._use)
        self._user.start()

    def connect(self) -> socket.socket:
        """Return a connection of one more client."""
        self.connections += 1
        return self.host.connect(self.host.addresses[0])

    def _use(self) -> None:
        while not self._stopped.wait(0.01):
            with self.connect() as client:
                client.sendall(b"x" * 500)
                client.recv(500)

    def rest(self) -> None:
        """Have nobody use the host any more."""
        self._stopped.set()
        self._user.join()

    def close(self) -> None:
        self.rest()
        self.host.stop()
        self.host.clean_up()


@pytest.fixture
def shown(tmp_path):
    made = []

    def begin(*flags):
        made.append(Shown(tmp_path, *flags))
        return made[-1]

    yield begin
    for one in made:
        one.close()


def wait(visitor, words, argument=None):
    visitor.page.wait_for_function(words, arg=argument, timeout=patience(20) * 1000)


ACCEPTED = """() => {
  const cell = document.querySelector("#listeners td:nth-child(4)"); // there is none at first
  return Number(cell?.textContent.replace(/,/g, "") ?? 0);
}"""


def accepted(visitor):
    return visitor.page.evaluate(ACCEPTED)


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 390])
def test_it_fits_and_its_numbers_move(shown, look, width, scheme):
    one = shown()
    visitor = look(one.home, width, scheme)
    wait(visitor, "() => document.querySelector('#state').textContent === 'serving, ready'")
    before = accepted(visitor)
    wait(visitor, f"(before) => ({ACCEPTED})() > before", before)
    wait(visitor, "() => Number(document.querySelector('figure strong').textContent) > 0")
    assert visitor.page.evaluate(OVERFLOWING) == []
    assert visitor.faults == []


def test_it_goes_on_over_a_reload_and_the_death_of_its_process(shown, look):
    one = shown()
    visitor = look(one.home)
    wait(visitor, "() => document.querySelectorAll('#workers tbody tr').length === 2")
    one.host.signal(signal.SIGHUP)
    one.host.wait_for("generation_ready")
    wait(visitor, "() => document.querySelector('#facts').textContent.includes('generation 1')")
    assert visitor.faults == []
    os.kill(helper_of(one.host), signal.SIGKILL)
    one.host.wait_for("helper_ended")
    wait(visitor, "() => document.querySelector('#state').textContent === 'serving, ready'")
    before = accepted(visitor)
    wait(visitor, f"(before) => ({ACCEPTED})() > before", before)
    assert visitor.faults == []


NOTED = """() => {
  // Notes with each state what was accepted so far, and what its rate says that it was.
  window.noted = [];
  const real = show;
  window.show = (state) => {
    real(state);
    const { accepted, address } = state.totals.listeners.find((each) => each.address[0] === "t");
    const last = charts.get(`rates ${address}, connections a second`).past.at(-1);
    noted.push({ at: state.uptime_seconds, accepted, rate: last.values[0] });
  };
}"""


def test_rates_and_totals_are_exact_over_a_reload(shown, look):
    one = shown()
    visitor = look(one.home)
    wait(visitor, f"() => ({ACCEPTED})() > 0")
    visitor.page.evaluate(NOTED)
    wait(visitor, "() => noted.length > 0")
    one.host.signal(signal.SIGHUP)
    one.host.wait_for("generation_ready")
    wait(visitor, "() => document.querySelector('#facts').textContent.includes('generation 1')")
    one.rest()
    wait(visitor, f"(whole) => ({ACCEPTED})() === whole", one.connections)
    noted = visitor.page.evaluate("() => noted")
    for before, after in pairwise(noted):
        came = after["rate"] * (after["at"] - before["at"])
        assert came == pytest.approx(after["accepted"] - before["accepted"], abs=0.01)


def test_each_worker_has_its_lines_and_bytes(shown, look):
    one = shown()
    visitor = look(one.home)
    moving = """() => [...document.querySelectorAll("#slots figure")].filter((figure) => {
      const { width, height } = figure.querySelector("canvas");
      const { data } = figure.querySelector("canvas").getContext("2d")
        .getImageData(0, 0, width, height);
      const words = figure.textContent;
      return data.some((each) => each) && /: [1-9].*\\/s, [1-9].*KiB\\/s/.test(words);
    }).length === 2"""
    wait(visitor, moving)
    assert visitor.page.locator("#slots figcaption").first.inner_text().startswith("Worker 0:")


def test_a_udp_listener_shows_its_datagrams(shown, look):
    one = shown()
    visitor = look(one.home)
    with datagrams.client(one.host.addresses[1]) as sock:
        for _ in range(3):
            datagrams.ask(sock, b"x" * 100)
        cells = "() => [4, 6, 11].map((place) => document.querySelector("
        cells += "`#datagrams td:nth-child(${place})`).textContent).join()"
        wait(visitor, f"() => before && ({cells})() === '3,3,300 B'")
    figure = visitor.page.get_by_role("figure", name="datagrams a second")
    assert "received" in figure.inner_text()


def of_state(visitor, part, differs):
    """Return the text of a part of the page when the last state differs so; a next one comes."""
    return visitor.page.evaluate(
        f"""(part) => {{
      show({{ ...before, ...({differs})(structuredClone(before)) }});
      return document.getElementById(part).innerText;
    }}""",
        part,
    )


def test_it_shows_what_top_shows(shown, look):
    one = shown()
    visitor = look(one.home)
    wait(visitor, "() => before !== null")
    troubled = """({ workers: [first, second], listeners: [listener] }) => ({
      workers: [
        { ...first, suspended: true, tasks: { ...first.tasks, running: 2, lost: 1 } },
        { ...second, held: true, plugins: [{ plugin: "census", state: "open", failures: 10,
          hook: "on_accept", seconds_left: 12 }] },
      ],
      listeners: [{ ...listener, file: "gone" }],
      hangs: [{ slot: 1, pid: 7, place: "in hook on_close", seconds_ago: 61, stacks: [] }],
      certificates: [{ tls: "web", certificate: "a.pem", names: ["a.example"], key_type: "EC",
        not_after: "2030-01-01", seconds_left: 86400, fingerprint: "" }],
      bus: { broker: "redis://b", connected: false, cause: "refused", seconds: 5, queued_bytes: 9 },
      last_reload: { generation: 4, outcome: "failed", reason: "no file\\nmore", seconds_ago: 3 },
    })"""
    troubles = of_state(visitor, "troubles", troubled)
    for words in (
        "is suspended",
        "is held",
        "plugin census (open): 10",
        "is gone",
        "hung 61 s ago",
    ):
        assert words in troubles
    assert "a.pem ends in 24 h" in troubles
    facts = of_state(visitor, "host", troubled)
    for words in ("2 running, 1 lost", "away for 5 s, redis://b: refused", "failed, 3 s ago: no"):
        assert words in facts
    assert "a.example" in of_state(visitor, "certificates", troubled)
    assert "suspended" in of_state(visitor, "workers", troubled)
    drained = """({ workers: [first, ...others] }) => ({
      workers: [{ ...first, pid: 1, state: "draining" }, { ...first, held: true }, ...others],
    })"""
    slots = of_state(visitor, "slots", drained)
    assert "held" in slots
    assert "draining" not in slots
    counted = """({ totals }) => {
      totals.slots[0].restarts.hung = 3;
      totals.listeners.forEach((each) => { each.refusals.per_client = 4; });
      return { totals };
    }"""
    assert "3 hung" in of_state(visitor, "host", counted)
    assert "4 per client" in of_state(visitor, "listeners", counted)


def test_the_longest_turn_of_a_second_is_shown_and_one_that_goes_on(shown, look):
    one = shown()
    visitor = look(one.home)
    wait(visitor, "() => before !== null")
    long = """({ totals, uptime_seconds }) => {
      totals.slots[1].turns[18] += 1; // 0.13 to 0.27 s
      return { totals, uptime_seconds: uptime_seconds + 1 };
    }"""
    assert "worker 1: 268 ms" in of_state(visitor, "longest", long)
    hanging = """({ workers, uptime_seconds }) => {
      workers[0].turn_seconds += 3;
      return { workers, uptime_seconds: uptime_seconds + 1 };
    }"""
    assert "worker 0: 3 s" in of_state(visitor, "longest", hanging)
    missed = """({ totals, uptime_seconds }) => {
      totals.slots.forEach((each) => { each.turns[9] += 1; });
      return { totals, uptime_seconds: uptime_seconds + 5 };
    }"""
    assert "of the last 5 s" in of_state(visitor, "longest", missed)
    spanned = visitor.page.evaluate("() => heat.get(0).at(-1).at - heat.get(0).at(-1).from")
    assert spanned == pytest.approx(5)
    idle = "({ uptime_seconds }) => ({ uptime_seconds: uptime_seconds + 1 })"
    assert "No loop had a turn" in of_state(visitor, "longest", idle)


def test_the_keyboard_puts_workers_in_order(shown, look):
    one = shown()
    visitor = look(one.home)
    slots = (
        "() => [...document.querySelectorAll('#workers tbody th')].map((e) => e.innerText).join()"
    )
    wait(visitor, f"() => ({slots})() === '0,1'")
    visitor.page.get_by_role("button", name="Slot").press("Enter")
    assert visitor.page.evaluate(slots) == "1,0"
    heading = visitor.page.get_by_role("columnheader", name="Slot")
    assert heading.get_attribute("aria-sort") == "descending"
    visitor.page.get_by_role("button", name="Memory").press("Enter")
    assert heading.get_attribute("aria-sort") is None


UNNAMED = """() => [...document.querySelectorAll(
    "section, [role=group], [role=img], button, input")]
  .filter((each) => {
    const by = each.getAttribute("aria-labelledby");
    return by ? !document.getElementById(by).textContent : !each.innerText && !each.labels?.length;
  }).map((each) => each.outerHTML.slice(0, 80))"""


def test_a_screen_reader_has_names_for_all_and_hears_only_what_is_bad(shown, look):
    one = shown()
    visitor = look(one.home)
    wait(visitor, "() => before !== null")
    assert visitor.page.evaluate(UNNAMED) == []
    landmarks = """() => [...document.querySelectorAll("section, [role=region]")].map((each) =>
      each.getAttribute("aria-labelledby"))"""
    names = visitor.page.evaluate(landmarks)
    assert len(names) == len(set(names))
    visitor.page.evaluate("""() => {
      window.heard = [];
      const live = document.querySelectorAll("[role=status], [role=alert], [aria-live]");
      const hear = () => heard.push(...[...live].map((each) => each.textContent).filter(Boolean));
      for (const each of live) new MutationObserver(hear).observe(each, { childList: true });
    }""")
    seen = visitor.page.evaluate("() => before.uptime_seconds")
    wait(visitor, "(seen) => before.uptime_seconds > seen + 2.5", seen)
    assert visitor.page.evaluate("() => heard") == []
    pid = one.host.kill_worker(0)
    wait(visitor, "(pid) => heard.some((each) => each.includes(`(pid ${pid}) died`))", pid)


def test_what_happens_is_told_as_it_happens(shown, look):
    one = shown()
    visitor = look(one.home)
    wait(visitor, "() => document.querySelectorAll('#workers tbody tr').length === 2")
    pid = one.host.kill_worker(0)
    told = "(pid) => document.querySelector('#events').textContent.includes(`(pid ${pid}) died`)"
    wait(visitor, told, pid)


def test_a_connection_is_explained_by_the_keyboard_alone(shown, look):
    one = shown()
    with one.connect() as client:
        client.sendall(b"x")
        visitor = look(one.home)
        visitor.page.locator("#list").focus()
        visitor.page.keyboard.press("Enter")
        button = visitor.page.locator("#connections tbody button").first
        button.focus()
        visitor.page.keyboard.press("Enter")
        wait(visitor, "() => document.querySelector('#why').textContent.includes('round_robin')")


def test_a_click_that_the_host_does_not_answer_says_so(shown, look):
    one = shown()
    with one.connect() as client:
        client.sendall(b"x")
        visitor = look(one.home)
        visitor.page.locator("#list").click()
        button = visitor.page.locator("#connections tbody button").first
        button.wait_for()
        visitor.page.route("**/*.json*", lambda route: route.abort())
        for asked in (button, visitor.page.locator("#list")):
            visitor.page.evaluate("() => { byId('why').textContent = ''; }")
            asked.click()
            wait(visitor, "() => byId('why').textContent.startsWith('No answer from the host')")
    assert all("ERR_FAILED" in each for each in visitor.faults)  # of the answers, and none of ours


def test_a_token_is_typed(shown, look):
    one = shown("--set", "ops.token=0123456789abcdef")
    visitor = look(one.home)
    visitor.page.locator("#token").wait_for(state="visible")
    assert not visitor.faults  # nothing is asked for without the token
    visitor.page.locator("#token").fill("not-the-token-at-all")
    visitor.page.keyboard.press("Enter")
    wait(visitor, "() => document.querySelector('#refused').textContent !== ''")
    visitor.page.locator("#token").fill("0123456789abcdef")
    visitor.page.keyboard.press("Enter")
    wait(visitor, "() => document.querySelector('#state').textContent === 'serving, ready'")
    assert all("401" in each for each in visitor.faults)  # of the wrong one


def test_a_token_that_is_typed_twice_is_used_once(shown, look):
    one = shown("--set", "ops.token=0123456789abcdef")
    visitor = look(one.home)
    asked = []
    visitor.page.on("request", lambda request: asked.append(request.url))
    visitor.page.locator("#token").fill("0123456789abcdef")
    visitor.page.evaluate("() => { for (let n = 0; n < 2; n += 1) byId('ask').requestSubmit(); }")
    wait(visitor, "() => document.querySelector('#state').textContent === 'serving, ready'")
    assert asked.count(f"{one.home}events") == 1
    assert not visitor.page.locator("#ask").is_visible()


def test_a_token_that_no_header_can_have_is_refused_at_once(shown, look):
    one = shown("--set", "ops.token=0123456789abcdef")
    visitor = look(one.home)
    visitor.page.locator("#token").fill("0123456789abcde\u20ac")
    visitor.page.keyboard.press("Enter")
    wait(visitor, "() => document.querySelector('#refused').textContent !== ''")
    visitor.page.locator("#token").fill("0123456789abcdef")
    visitor.page.keyboard.press("Enter")
    wait(visitor, "() => document.querySelector('#state').textContent === 'serving, ready'")
    assert visitor.faults == []
