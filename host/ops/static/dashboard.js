// Shows the state of the host that the server sends each second, and its log. It can only read.
"use strict";

const AGAIN_MS = 1000;
const CAN_BE_SENT = /^[!-~]+$/; // as a token, in a header
const SOON_SECONDS = 14 * 86400; // when the end of a certificate is near

let token = "";
let follows = false; // whether the host is followed, or it is tried again to
let before = null; // the last state
let workersBefore = new Map(); // those of the state before that, by pid
let opened = Infinity; // the age of the host when the page began to follow it
let order = { column: 0, down: false }; // of the workers

// The longest turn of a slot's loops since the last state, of those that ended, or of one that has
// not ended yet; 0 if there was none. A bucket tells what the turn took at most.
function longestTurn(slot, was, workers) {
  const bucket = was ? slot.turns.findLastIndex((count, index) => count > was.turns[index]) : -1;
  if (bucket >= 0) return 2 ** (10 + bucket) / 1e9;
  const going = workers.filter((each) => {
    const then = workersBefore.get(each.pid);
    return then && each.turn_seconds > then.turn_seconds;
  });
  return Math.max(0, ...going.map((each) => each.turn_seconds));
}

function showHead(state) {
  byId("ask").hidden = true;
  byId("all").hidden = false;
  document.title = `${state.name} – prefork`;
  text(byId("name"), state.name);
  const ready = state.ready ? "ready" : `not ready: ${state.not_ready}`;
  setState(`${state.state}, ${ready}`, state.ready);
  text(byId("facts"), `prefork ${state.version}, pid ${state.pid}, ` +
    `generation ${state.generation}, up ${seconds(state.uptime_seconds)}`);
}

function setState(words, good) {
  text(byId("state"), words);
  byId("state").className = good ? "good" : "bad";
}

// What should be looked at, as `top` has it, and what the state of a worker says.
function showTroubles(state) {
  const outs = [["The supervisor", state.plugins]].concat(
    state.workers.map((each) => [`Worker ${each.slot}`, each.plugins]));
  const items = outs.flatMap(([who, plugins]) => plugins.map((each) =>
    `${who} leaves out plugin ${each.plugin} (${each.state}): ${number(each.failures)} failures, ` +
    `last in ${each.hook}; for ${seconds(each.seconds_left)} more.`));
  for (const each of state.workers) {
    const of = `Worker ${each.slot} (pid ${each.pid})`;
    if (each.suspended) items.push(`${of} is suspended: it does not react, others are told.`);
    if (each.held) items.push(`${of} is held: it is told of no new connections.`);
  }
  for (const each of state.listeners) {
    if (each.file === "gone" || each.file === "replaced") {
      items.push(`Nobody can connect to ${each.address}: its socket file is ${each.file}; ` +
        "a reload makes it anew.");
    }
  }
  for (const each of state.certificates) {
    if (each.seconds_left < SOON_SECONDS) {
      const left = each.seconds_left > 0 ? `ends in ${seconds(each.seconds_left)}` : "is over";
      items.push(`Certificate ${each.certificate} ${left}.`);
    }
  }
  for (const each of state.hangs) {
    items.push(`Worker ${each.slot} (pid ${each.pid}) hung ${seconds(each.seconds_ago)} ago, ` +
      `${each.place}.`);
  }
  fillList("troubles", items);
  byId("troubles").closest("section").hidden = !items.length;
}

function showFacts(state, elapsed) {
  const { workers, totals, bus, last_reload: reload } = state;
  const add = (rows, key) =>
    rows.reduce((all, each) => {
      for (const [name, count] of Object.entries(each[key])) all[name] = (all[name] ?? 0) + count;
      return all;
    }, {});
  const serving = workers.filter((each) =>
    each.state === "serving" && each.generation === state.generation).length;
  const cpu = perSecond(state.cpu_seconds, before?.cpu_seconds, elapsed);
  const facts = {
    Workers: `${serving} of ${state.workers_wanted} serve`,
    Connections: `${number(sum(workers.map((each) => each.active)))} open, ` +
      `${number(sum(totals.listeners.map((each) => each.accepted)))} accepted`,
    Replaced: counted(add(totals.slots, "restarts")) || "no worker",
    Suspensions: number(sum(totals.slots.map((each) => each.suspensions))),
    Scheduler: state.schedulers.join(", "),
    Supervisor: cpu === null ? "" : `${number(cpu * 100)} % of a CPU`,
    "Tasks of pools": counted(add(workers, "tasks")),
    Bus: bus && `${bus.connected ? "connected" : "away"} for ${seconds(bus.seconds)}, ` +
      `${bus.broker}${bus.cause && `: ${bus.cause}`}; ${bytes(bus.queued_bytes)} queued`,
    "Last reload": reload && `generation ${reload.generation} ${reload.outcome}, ` +
      `${seconds(reload.seconds_ago)} ago${reload.reason && `: ${reload.reason.split("\n")[0]}`}`,
  };
  const rows = Object.entries(facts).filter(([, value]) => value);
  const list = byId("host");
  while (list.children.length > rows.length) list.lastChild.remove();
  rows.forEach(([name, value], index) => {
    const pair = list.children[index] || list.appendChild(made("div", made("dt"), made("dd")));
    text(pair.firstChild, name);
    text(pair.lastChild, value);
  });
}

const sameListener = (one) => (other) =>
  other.address === one.address && other.plugin === one.plugin;

// Rates are those of all generations: a reload begins nothing anew.
function showListeners(state, at, elapsed) {
  const rows = [];
  const datagrams = [];
  for (const each of state.listeners) {
    const all = state.totals.listeners.find(sameListener(each)) ?? each;
    const was = before?.totals.listeners.find(sameListener(each));
    const rate = (key) => perSecond(all[key], was?.[key], elapsed);
    const came = each.datagrams
      ? ["received", "replies"].map((key) =>
        perSecond(all.datagrams[key], was?.datagrams[key], elapsed))
      : [rate("accepted")];
    const moved = [rate("bytes_in"), rate("bytes_out")];
    if (each.datagrams) {
      chart("rates", `${each.address}, datagrams a second`, at, number,
        `${number(came[0])} received, ${number(came[1])} replies (dashed)`, ...came);
      datagrams.push([
        each.address, each.plugin, number(each.datagrams.shards), number(all.datagrams.received),
        number(came[0]), number(all.datagrams.replies), bytes(each.datagrams.waiting_bytes),
        number(each.datagrams.lost), number(all.datagrams.dropped_replies),
        number(all.datagrams.refused_replies), bytes(all.bytes_in), bytes(all.bytes_out),
      ]);
    } else {
      chart("rates", `${each.address}, connections a second`, at, number, number(came[0]), ...came);
      rows.push([
        each.address, each.plugin, number(each.waiting), number(all.accepted), number(came[0]),
        number(all.spurious), number(all.refused), counted(all.refusals) || "0",
        number(all.lost_writes), number(all.cut_answers), bytes(all.bytes_in), bytes(all.bytes_out),
      ]);
    }
    chart("rates", `${each.address}, bytes a second`, at, bytes,
      `${bytes(moved[0])} in, ${bytes(moved[1])} out (dashed)`, ...moved);
  }
  const open = sum(state.workers.map((each) => each.active));
  chart("rates", "All, open connections", at, number, number(open), open);
  drawCharts("rates", at, false);
  fill("listeners", rows);
  fill("datagrams", datagrams);
}

function workerState(each) {
  if (each.state !== "serving") return each.state;
  return each.held ? "held" : each.suspended ? "suspended" : "serving";
}

// What is to be told of a slot: nothing if a worker serves, whoever drains beside it.
function stateOfSlot(workers) {
  const states = new Set(workers.map(workerState));
  if (states.size > 1) states.delete("draining");
  states.delete("serving");
  return workers.length ? [...states] : ["gone"];
}

// Cells of the table of workers: what is shown, and what they are put in order by.
function workerCells(each, was) {
  const elapsed = was ? each.age_seconds - was.age_seconds : 0;
  const rate = (key) => perSecond(each[key], was?.[key], elapsed);
  const cpu = rate("cpu_seconds");
  const plain = (value, write = number) => [write(value), value];
  return [
    plain(each.slot), [each.pid, each.pid], plain(each.generation),
    [workerState(each), workerState(each)], plain(each.active), plain(each.accepted),
    plain(each.outstanding), plain(rate("accepted")), plain(rate("reads")),
    [cpu === null ? "" : `${number(cpu * 100)} %`, cpu], plain(each.memory_bytes, bytes),
    plain(each.turn_seconds, seconds), plain(each.age_seconds, seconds),
  ];
}

function showWorkerTable(workers) {
  const cells = workers.map((each) => workerCells(each, workersBefore.get(each.pid)));
  const { column, down } = order;
  const compare = (one, other) => {
    const [left, right] = [one[column][1] ?? -1, other[column][1] ?? -1];
    return left < right ? -1 : Number(left > right);
  };
  cells.sort((one, other) => (down ? compare(other, one) : compare(one, other)));
  fill("workers", cells.map((row) => row.map(([shown]) => shown)));
}

function showWorkers(state, at, elapsed) {
  workersBefore = new Map((before?.workers ?? []).map((each) => [each.pid, each]));
  const slots = [];
  let longest = null;
  for (const slot of state.totals.slots) {
    const workers = state.workers.filter((each) => each.slot === slot.slot);
    if (!workers.length && slot.slot >= state.workers_wanted) continue;
    const was = before?.totals.slots.find((each) => each.slot === slot.slot);
    const together = (row, keys) => row && sum(keys.map((key) => row[key]));
    const rate = (...keys) => perSecond(together(slot, keys), together(was, keys), elapsed);
    const came = rate("accepted", "received");
    const moved = rate("bytes_in", "bytes_out");
    const states = stateOfSlot(workers);
    const open = `${number(sum(workers.map((each) => each.active)))} open`;
    const rates = came === null ? [] : [`${number(came)}/s`, `${bytes(moved)}/s`];
    const parts = [...rates, open].map((each) => each.replace(" ", "\u00a0"));
    const words = [...parts, ...states].join(", ");
    chart("slots", `Worker ${slot.slot}`, at, number, words, came, moved);
    const turn = longestTurn(slot, was, workers);
    noteTurn(slot.slot, at - elapsed, at, turn);
    slots.push(slot.slot);
    if (turn > (longest?.turn ?? 0)) longest = { turn, slot: slot.slot };
  }
  const [came, moved] = drawCharts("slots", at, true);
  text(byId("scale"), `${number(came)}/s and ${bytes(moved)}/s`);
  drawHeat(slots, at);
  text(byId("longest"), longest
    ? `The longest turn of the last ${seconds(elapsed)} was one of worker ${longest.slot}: ` +
      `${seconds(longest.turn)} at most.`
    : `No loop had a turn in the last ${seconds(elapsed)}.`);
  drawSpread(state);
  showWorkerTable(state.workers);
}

function showCertificates(certificates) {
  fill("certificates", certificates.map((each) => [
    each.certificate, each.tls, each.names.join(", "), each.key_type, each.not_after,
    each.seconds_left > 0 ? seconds(each.seconds_left) : "over",
  ]));
}

function show(state) {
  if (before && (before.pid !== state.pid || before.uptime_seconds > state.uptime_seconds)) {
    before = null; // another host has the address now
    opened = Infinity;
    forget();
  }
  const at = state.uptime_seconds;
  const elapsed = before ? at - before.uptime_seconds : 0;
  showHead(state);
  showTroubles(state);
  showFacts(state, elapsed);
  showListeners(state, at, elapsed);
  showWorkers(state, at, elapsed);
  showCertificates(state.certificates);
  opened = Math.min(opened, at);
  before = state;
}

function ask(path) {
  const headers = token ? { Authorization: `Bearer ${token}` } : {};
  return fetch(path, { headers, cache: "no-store" });
}

function handle(kind, data) {
  // Those of before the page was opened are no news.
  if (kind === "log") tellEvent(data, before?.uptime_seconds > opened + 2);
  else if (kind === "dropped") {
    tell(`${number(data.count)} events were lost: too many came at once`, true);
  }
  else if (data.error) setState(data.error, false);
  else if (kind === "generations") {
    fill("generations", data.generations.map((each) => [
      each.generation, each.state, each.workers, each.ready, number(each.active),
      seconds(each.seconds_left),
    ]));
  } else show(data);
}

function askForToken() {
  byId("ask").hidden = false;
  byId("all").hidden = true;
  byId("refused").textContent = token ? "That is not the token." : "";
  setState("a token is asked for", false);
  byId("token").focus();
}

async function follow() {
  const answer = await ask("/events");
  if (answer.status === 401) {
    askForToken();
    return false;
  }
  if (!answer.ok) throw new Error(`${answer.status}: ${await answer.text()}`);
  const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return true;
    const events = (rest + value).split("\n\n");
    rest = events.pop();
    for (const event of events) {
      const [first, second] = event.split("\n");
      handle(first.slice("event: ".length), JSON.parse(second.slice("data: ".length)));
    }
  }
}

async function run() {
  if (follows) return; // somebody has pressed Enter twice
  follows = true;
  for (;;) {
    try {
      if (!(await follow())) break; // until a token is typed
      setState("the page is connected anew", false);
    } catch (error) {
      setState(`no answer from the host: ${error.message}`, false);
    }
    await new Promise((resolve) => setTimeout(resolve, AGAIN_MS));
  }
  follows = false;
}

// Headings of the table of workers are buttons that put it in order: numbers from above.
function orderBy(column) {
  const first = column !== order.column;
  order = { column, down: first ? column > 0 && column !== 3 : !order.down };
  [...byId("workers").tHead.rows[0].cells].forEach((cell, place) => {
    if (place === column) cell.setAttribute("aria-sort", order.down ? "descending" : "ascending");
    else cell.removeAttribute("aria-sort");
  });
  if (before) showWorkerTable(before.workers);
}

// Returns what the host answers to a click; null if it does not, and the page says why.
async function answerTo(path) {
  let why;
  try {
    const answer = await ask(path);
    if (answer.ok) return await answer.json();
    why = await answer.text();
  } catch (error) {
    why = `No answer from the host: ${error.message}.`;
  }
  byId("why").textContent = why;
  return null;
}

async function explain(id) {
  const found = await answerTo(`/why.json?id=${encodeURIComponent(id)}`);
  if (!found) return;
  const others = found.candidates.map((each) => `${each.slot} (${each.active} active)`).join(", ");
  const more = found.omitted ? ` and ${found.omitted} more` : "";
  byId("why").textContent =
    `Connection ${id}: ${found.scheduler} chose worker ${found.slot} ` +
    `${seconds(found.seconds_ago)} ago, among ${others}${more}.`;
}

byId("ask").addEventListener("submit", (event) => {
  event.preventDefault();
  token = byId("token").value.trim();
  if (!CAN_BE_SENT.test(token)) {
    askForToken(); // each try would fail as one of a host that does not answer does
    return;
  }
  byId("ask").hidden = true;
  setState("connecting", false);
  run();
});

byId("list").addEventListener("click", async () => {
  const found = await answerTo("/connections.json");
  if (!found) return;
  const { connections, unanswered } = found;
  byId("why").textContent = [
    connections.length ? "" : "No connection is open.",
    unanswered.length ? `No answer from worker ${unanswered.join(", ")}.` : "",
  ].join(" ");
  fill("connections", connections.map((each) => {
    const button = made("button", each.id);
    button.type = "button";
    button.title = "Why is it with its worker?";
    button.addEventListener("click", () => explain(each.id));
    return [
      button, each.slot, each.peer, each.listener, each.tls?.version ?? "", seconds(each.age_seconds),
      seconds(each.idle_seconds), bytes(each.bytes_in), bytes(each.bytes_out),
      bytes(each.unsent_bytes), each.doing && `${each.doing} (${seconds(each.doing_seconds)})`,
    ];
  }));
});

byId("workers").tHead.querySelectorAll("button").forEach((button, column) => {
  button.addEventListener("click", () => orderBy(column));
});

if ("token" in document.documentElement.dataset) askForToken();
else run();
