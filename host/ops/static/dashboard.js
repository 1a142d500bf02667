// Shows the state of the host that the server sends each second, and its log. It can only read.
"use strict";

const SECONDS_KEPT = 180;
const EVENTS_KEPT = 200;
const TELL_MS = 300;
const AGAIN_MS = 1000;

const byId = (id) => document.getElementById(id);
let token = "";
let before = null; // the state a second ago
const lines = new Map(); // by name: the figure, its values, and how a value is written
const told = []; // what is about to be shown
const known = new Set(); // the last events that were told
const heat = new Map(); // by slot: the times of the last turns

function number(value) {
  return new Intl.NumberFormat("en", { maximumFractionDigits: value < 10 ? 1 : 0 }).format(value);
}

function bytes(value) {
  const units = ["B", "KiB", "MiB", "GiB", "TiB"];
  let unit = 0;
  while (value >= 1024 && unit < units.length - 1) {
    value /= 1024;
    unit += 1;
  }
  return `${number(value)} ${units[unit]}`;
}

function seconds(value) {
  if (value === null || value === undefined) return "";
  if (value < 0.001) return `${number(value * 1e6)} µs`;
  if (value < 1) return `${number(value * 1000)} ms`;
  if (value < 120) return `${number(value)} s`;
  if (value < 7200) return `${number(value / 60)} min`;
  return value < 172800 ? `${number(value / 3600)} h` : `${number(value / 86400)} days`;
}

function colour(name) {
  return getComputedStyle(document.documentElement).getPropertyValue(name).trim();
}

// Tables are changed cell by cell: what is selected or has the focus stays.
function fill(id, rows) {
  const body = byId(id).tBodies[0];
  while (body.rows.length > rows.length) body.deleteRow(-1);
  rows.forEach((cells, index) => {
    const row = body.rows[index] || body.insertRow();
    cells.forEach((cell, place) => {
      const shown = row.cells[place] || row.insertCell();
      if (cell instanceof Node) shown.replaceChildren(cell);
      else if (shown.textContent !== String(cell)) shown.textContent = cell;
    });
  });
}

function prepared(canvas) {
  const scale = window.devicePixelRatio || 1;
  const width = Math.round(canvas.clientWidth * scale);
  const height = Math.round(canvas.clientHeight * scale);
  if (canvas.width !== width || canvas.height !== height) Object.assign(canvas, { width, height });
  const context = canvas.getContext("2d");
  context.clearRect(0, 0, width, height);
  return { context, width, height, scale };
}

function addToLine(name, value, write) {
  let line = lines.get(name);
  if (!line) {
    const figure = document.createElement("figure");
    const canvas = document.createElement("canvas");
    const caption = document.createElement("figcaption");
    const now = document.createElement("strong");
    canvas.setAttribute("aria-hidden", "true"); // the number beside it says the same
    caption.append(`${name}: `, now);
    figure.append(caption, canvas);
    byId("rates").append(figure);
    line = { figure, canvas, now, values: [] };
    lines.set(name, line);
  }
  line.values.push(value);
  if (line.values.length > SECONDS_KEPT) line.values.shift();
  line.now.textContent = write(value);
  line.seen = true;
  const { context, width, height, scale } = prepared(line.canvas);
  const most = Math.max(...line.values, 1e-9);
  context.strokeStyle = colour("--one");
  context.lineWidth = 1.5 * scale;
  context.beginPath();
  line.values.forEach((each, index) => {
    const x = width - (line.values.length - 1 - index) * (width / (SECONDS_KEPT - 1));
    const y = height - 2 * scale - (each / most) * (height - 4 * scale);
    if (index) context.lineTo(x, y);
    else context.moveTo(x, y);
  });
  context.stroke();
}

function drawHeat(workers) {
  const slots = [...new Set(workers.map((each) => each.slot))];
  for (const slot of heat.keys()) if (!slots.includes(slot)) heat.delete(slot);
  for (const slot of slots) {
    const turns = workers.filter((each) => each.slot === slot).map((each) => each.turn_seconds);
    const times = heat.get(slot) || [];
    times.push(Math.max(...turns));
    if (times.length > SECONDS_KEPT) times.shift();
    heat.set(slot, times);
  }
  const { context, width, height } = prepared(byId("heat"));
  const step = width / SECONDS_KEPT;
  const tall = height / Math.max(1, slots.length);
  context.fillStyle = colour("--two");
  slots.forEach((slot, row) => {
    const times = heat.get(slot);
    times.forEach((time, index) => {
      // 10 µs is nothing, 10 ms is all.
      const strength = Math.min(1, Math.max(0, (Math.log10(Math.max(time, 1e-6)) + 5) / 3));
      context.globalAlpha = strength;
      context.fillRect(width - (times.length - index) * step, row * tall, step + 1, tall - 1);
    });
  });
  context.globalAlpha = 1;
}

// Events of the log wait a moment, so that a screen reader is told of many at once and of each once.
function tell(text, bad) {
  told.push({ text, bad });
  if (told.length > 1) return;
  setTimeout(() => {
    const items = told.splice(0).slice(-EVENTS_KEPT).map((each) => {
      const item = document.createElement("li");
      item.textContent = each.text;
      if (each.bad) item.className = "bad";
      return item;
    });
    byId("events").prepend(...items.reverse());
    while (byId("events").children.length > EVENTS_KEPT) byId("events").lastChild.remove();
  }, TELL_MS);
}

function tellEvent(event) {
  const key = JSON.stringify(event);
  if (known.has(key)) return; // it was told before the page was connected anew
  known.add(key);
  if (known.size > EVENTS_KEPT) known.delete(known.values().next().value);
  const lost = event.dropped ? ` (${number(event.dropped)} events before it were lost)` : "";
  const bad = event.level === "error" || event.level === "warning";
  const time = new Date(event.time * 1000).toLocaleTimeString();
  tell(`${time} ${event.level}: ${event.message}${lost}`, bad);
}

function perSecond(now, then, elapsed) {
  return elapsed > 0 ? Math.max(0, now - then) / elapsed : 0;
}

function show(state) {
  byId("ask").hidden = true;
  byId("all").hidden = false;
  document.title = `${state.name} – prefork`;
  byId("name").textContent = state.name;
  setState(state.ready ? `${state.state}, ready` : `${state.state}, not ready: ${state.not_ready}`, state.ready);
  byId("facts").textContent =
    `prefork ${state.version}, pid ${state.pid}, generation ${state.generation}, ` +
    `up ${seconds(state.uptime_seconds)}, restarts: ${state.restarts}, ${state.schedulers.join(", ")}`;
  const elapsed = before ? state.uptime_seconds - before.uptime_seconds : 0;
  const workersBefore = new Map((before ? before.workers : []).map((each) => [each.pid, each]));
  const listenersBefore = new Map((before ? before.listeners : []).map((each) => [each.address, each]));

  for (const listener of state.listeners) {
    const was = listenersBefore.get(listener.address);
    const same = was && before.generation === state.generation;
    const rate = (key) => (same ? perSecond(listener[key], was[key], elapsed) : 0);
    addToLine(`${listener.address}, connections a second`, rate("accepted"), number);
    addToLine(`${listener.address}, bytes in a second`, rate("bytes_in"), bytes);
    addToLine(`${listener.address}, bytes out a second`, rate("bytes_out"), bytes);
  }
  addToLine("open connections", state.workers.reduce((sum, each) => sum + each.active, 0), number);

  const serving = state.workers.filter((each) => each.state === "serving").map((each) => each.active);
  byId("spread").textContent = serving.length
    ? `${serving.length} of ${state.workers_wanted} serve; from ${Math.min(...serving)} to ` +
      `${Math.max(...serving)} connections each`
    : "no worker serves";
  fill("workers", state.workers.map((each) => {
    const was = workersBefore.get(each.pid);
    const flags = [each.suspended && "suspended", each.held && "held"].filter(Boolean);
    return [
      each.slot, each.pid, [each.state, ...flags].join(", "), number(each.active),
      number(was ? perSecond(each.accepted, was.accepted, elapsed) : 0), seconds(each.turn_seconds),
      each.memory_bytes === null ? "" : bytes(each.memory_bytes),
      was && each.cpu_seconds !== null
        ? `${number(100 * perSecond(each.cpu_seconds, was.cpu_seconds, elapsed))} %` : "",
      seconds(each.age_seconds),
    ];
  }));
  drawHeat(state.workers);
  fill("listeners", state.listeners.map((each) => [
    each.address, each.plugin, each.waiting === null ? "" : number(each.waiting), number(each.accepted),
    number(Object.values(each.refusals).reduce((sum, value) => sum + value, 0)),
    bytes(each.bytes_in), bytes(each.bytes_out),
  ]));
  before = state;
}

function setState(text, good) {
  if (byId("state").textContent !== text) byId("state").textContent = text;
  byId("state").className = good ? "good" : "bad";
}

function ask(path) {
  return fetch(path, { headers: token ? { Authorization: `Bearer ${token}` } : {}, cache: "no-store" });
}

function handle(kind, data) {
  if (kind === "log") tellEvent(data);
  else if (kind === "dropped") tell(`${number(data.count)} events were lost: too many came at once`, true);
  else if (data.error) setState(data.error, false);
  else if (kind === "generations") {
    fill("generations", data.generations.map((each) => [
      each.generation, each.state, `${each.ready} of ${each.workers} ready`, number(each.active),
      seconds(each.seconds_left),
    ]));
  } else show(data);
}

async function follow() {
  const answer = await ask("/events");
  if (answer.status === 401) {
    byId("ask").hidden = false;
    byId("all").hidden = true;
    byId("refused").textContent = token ? "That is not the token." : "";
    setState("a token is asked for", false);
    byId("token").focus();
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
  for (;;) {
    try {
      if (!(await follow())) return; // until a token is typed
      setState("the page is connected anew", false);
    } catch (error) {
      setState(`no answer from the host: ${error.message}`, false);
    }
    await new Promise((resolve) => setTimeout(resolve, AGAIN_MS));
  }
}

async function explain(id) {
  const answer = await ask(`/why.json?id=${encodeURIComponent(id)}`);
  if (!answer.ok) {
    byId("why").textContent = await answer.text();
    return;
  }
  const found = await answer.json();
  const others = found.candidates.map((each) => `${each.slot} (${each.active} active)`).join(", ");
  byId("why").textContent =
    `Connection ${id}: ${found.scheduler} chose worker ${found.slot} ${seconds(found.seconds_ago)} ago, ` +
    `among ${others}.`;
}

byId("ask").addEventListener("submit", (event) => {
  event.preventDefault();
  token = byId("token").value.trim();
  run();
});

byId("list").addEventListener("click", async () => {
  const answer = await ask("/connections.json");
  if (!answer.ok) {
    byId("why").textContent = await answer.text();
    return;
  }
  const { connections } = await answer.json();
  byId("connections").hidden = false;
  byId("why").textContent = connections.length ? "" : "No connection is open.";
  fill("connections", connections.map((each) => {
    const button = document.createElement("button");
    button.type = "button";
    button.textContent = each.id;
    button.title = "Why is it with its worker?";
    button.addEventListener("click", () => explain(each.id));
    return [
      button, each.peer, each.listener, seconds(each.age_seconds), seconds(each.idle_seconds),
      bytes(each.bytes_in), bytes(each.bytes_out),
      each.doing && `${each.doing} (${seconds(each.doing_seconds)})`,
    ];
  }));
});

run();
