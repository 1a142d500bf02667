// The events of the log, as they come.
"use strict";

const EVENTS_KEPT = 200;
const TELL_MS = 300;
const SAY_MS = 5000;
const told = []; // what is about to be shown
const known = new Set(); // the last events that were told
const said = []; // what is about to be said by a screen reader

// Events of the log wait a moment, so that many at once are shown at once.
function tell(words, bad) {
  told.push({ words, bad });
  if (told.length > 1) return;
  setTimeout(() => {
    const items = told.splice(0).slice(-EVENTS_KEPT).map((each) => {
      const item = made("li", each.words);
      if (each.bad) item.className = "bad";
      return item;
    });
    byId("events").prepend(...items.reverse());
    while (byId("events").children.length > EVENTS_KEPT) byId("events").lastChild.remove();
  }, TELL_MS);
}

// A screen reader says what is bad, once, and not more than the last of it every few seconds.
function say(words) {
  said.push(words);
  if (said.length > 1) return;
  setTimeout(() => {
    const others = said.length - 1;
    byId("said").textContent = said.pop() + (others ? ` And ${others} more before it.` : "");
    said.length = 0;
  }, SAY_MS);
}

function tellEvent(event, isNews) {
  const key = JSON.stringify(event);
  if (known.has(key)) return; // it was told before the page was connected anew
  known.add(key);
  if (known.size > EVENTS_KEPT) known.delete(known.values().next().value);
  const lost = event.dropped ? ` (${number(event.dropped)} events before it were lost)` : "";
  const bad = event.level === "error" || event.level === "warning";
  const time = new Date(event.time * 1000).toLocaleTimeString();
  tell(`${time} ${event.level}: ${event.message}${lost}`, bad);
  if (bad && isNews) say(event.message);
}
