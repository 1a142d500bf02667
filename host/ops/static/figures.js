// Figures: lines of what was so before, the turns of loops, and the spread over workers.
"use strict";

const SECONDS_KEPT = 180;
const charts = new Map(); // by group and name: the figure, and what it showed
const heat = new Map(); // by slot: how long turns took, and when

// Begins anew: another host is shown.
function forget() {
  charts.forEach((one) => one.figure.remove());
  charts.clear();
  heat.clear();
}

function colour(name) {
  return getComputedStyle(document.documentElement).getPropertyValue(name).trim();
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

function write(context, words, x, y, scale) {
  context.fillStyle = colour("--soft");
  context.font = `${11 * scale}px system-ui, sans-serif`;
  context.textBaseline = "middle";
  context.fillText(words, x, y);
}

// A figure of a group: its caption says what is so now, its lines what was so before.
function chart(group, name, at, write, words, ...values) {
  const key = `${group} ${name}`;
  if (!charts.has(key)) {
    const canvas = made("canvas");
    canvas.setAttribute("aria-hidden", "true"); // the caption says the same
    const now = made("strong");
    const figure = made("figure", made("figcaption", `${name}: `, now), canvas);
    byId(group).append(figure);
    charts.set(key, { group, write, figure, canvas, now, past: [] });
  }
  const one = charts.get(key);
  text(one.now, words);
  one.at = at;
  if (!values.includes(null)) one.past.push({ at, values });
  while (one.past.length && one.past[0].at <= at - SECONDS_KEPT) one.past.shift();
}

// Draws the figures of a group, without those that were not told of. Either all of them have one
// scale for each line, so that they can be compared, or each has one for its lines.
function drawCharts(group, at, together) {
  for (const [key, one] of charts) {
    if (one.group === group && one.at !== at) {
      one.figure.remove();
      charts.delete(key);
    }
  }
  const shown = [...charts.values()].filter((one) => one.group === group);
  const highest = (some, line) =>
    Math.max(1e-9, ...some.flatMap((one) => one.past.map((each) => each.values[line] ?? 0)));
  const common = together && [0, 1].map((line) => highest(shown, line));
  for (const one of shown) {
    const own = Math.max(highest([one], 0), highest([one], 1));
    drawLines(one, at, common || [own, own], common || own < 1e-6 ? "" : one.write(own));
  }
  return common;
}

function drawLines(one, at, most, above) {
  const { context, width, height, scale } = prepared(one.canvas);
  write(context, above, 0, 6 * scale, scale);
  ["--one", "--two"].forEach((name, line) => {
    context.strokeStyle = colour(name);
    context.lineWidth = (line ? 1 : 1.5) * scale;
    context.setLineDash(line ? [3 * scale, 2 * scale] : []); // colours alone would not do
    context.beginPath();
    for (const each of one.past) {
      if (each.values.length <= line) continue;
      const x = width - (at - each.at) * (width / SECONDS_KEPT);
      const share = each.values[line] / most[line];
      context.lineTo(x, height - 2 * scale - share * (height - 4 * scale));
    }
    context.stroke();
  });
}

// Notes the longest turn of a slot's loops between two times.
function noteTurn(slot, from, at, longest) {
  const past = heat.get(slot) ?? [];
  past.push({ from, at, longest });
  while (past[0].at <= at - SECONDS_KEPT) past.shift();
  heat.set(slot, past);
}

function drawHeat(slots, at) {
  for (const slot of heat.keys()) if (!slots.includes(slot)) heat.delete(slot);
  const canvas = byId("heat");
  canvas.style.height = `${slots.length * Math.min(24, Math.max(8, 256 / slots.length))}px`;
  const { context, width, height, scale } = prepared(canvas);
  const tall = height / Math.max(1, slots.length);
  const step = width / SECONDS_KEPT;
  slots.forEach((slot, row) => {
    context.fillStyle = colour("--two");
    for (const each of heat.get(slot)) {
      // 0.1 ms is little, a second is all.
      const strength = (Math.log10(Math.max(each.longest, 1e-9)) + 4) / 4;
      context.globalAlpha = each.longest ? Math.min(1, Math.max(0.06, strength)) : 0;
      const wide = (each.at - each.from) * step + 1; // states may have been missed
      context.fillRect(width - (at - each.from) * step, row * tall, wide, tall - scale);
    }
    context.globalAlpha = 1;
    const middle = (row + 0.5) * tall;
    if (tall >= 12 * scale || row % 4 === 0) write(context, slot, 4 * scale, middle, scale);
  });
}

// How many connections each worker has: as bars, and in words.
function drawSpread(state) {
  const serving = state.workers.filter((each) => each.state === "serving");
  const active = serving.map((each) => each.active);
  text(byId("spread"), serving.length
    ? `Connections of the ${serving.length} workers that serve, by slot: from ` +
      `${number(Math.min(...active))} to ${number(Math.max(...active))}.`
    : "No worker serves.");
  const { context, width, height, scale } = prepared(byId("bars"));
  const step = Math.min(48 * scale, width / Math.max(1, serving.length));
  context.fillStyle = colour("--one");
  active.forEach((each, index) => {
    const tall = Math.max(scale, (each / Math.max(1, ...active)) * height);
    context.fillRect(index * step, height - tall, step - 2 * scale, tall);
  });
}
