// Numbers as people read them.
"use strict";

const sum = (values) => values.reduce((total, each) => total + (each ?? 0), 0);
const whole = new Intl.NumberFormat("en", { maximumFractionDigits: 0 });
const tenths = new Intl.NumberFormat("en", { maximumFractionDigits: 1 });

function number(value) {
  if (value === null || value === undefined) return "";
  return (value < 10 ? tenths : whole).format(value);
}

function bytes(value) {
  if (value === null || value === undefined) return "";
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

// Counts that are not 0, with their names: "2 died, 1 hung".
function counted(counts, join = ", ") {
  const some = Object.entries(counts).filter(([, count]) => count);
  return some.map(([name, count]) => `${number(count)} ${name.replaceAll("_", " ")}`).join(join);
}

function perSecond(now, then, elapsed) {
  const known = [now, then].every((each) => each !== null && each !== undefined);
  return known && elapsed > 0 ? Math.max(0, now - then) / elapsed : null;
}
