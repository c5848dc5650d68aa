// What happens in the fleet, as it happens: parts of the page that it concerns are
// fetched anew. Says when the connection is lost, and when it is back.

const WAIT_MS = 400;
const RETRY_MS = [500, 1000, 2000, 5000, 10000, 20000];
const LOGIN_NEEDED = 4401;
const SWAP_PATIENCE_MS = 10000;

const mark = document.getElementById("connection");
const announcement = document.getElementById("announcement");
let cursor = document.body.dataset.cursor;
let attempts = 0;
let lost = false;
let socket = null;
let retry = null;
const due = new Map();
const spent = new Map();

function parts() {
  return [...document.querySelectorAll("[data-live]")];
}

function concerns(part, event) {
  const { live, liveOperation, liveAgent } = part.dataset;
  if (liveOperation !== undefined) return event.operation === liveOperation;
  if (liveAgent !== undefined) return event.agent === liveAgent;
  if ("liveAnyOperation" in part.dataset && event.operation) return true;
  return live.split(" ").some((kind) => kind === "*" || (kind && event.kind.startsWith(kind)));
}

// Several events one after the other are one refresh; while one is under way the next
// one waits, so that a busy fleet does not keep the page from being read.
function refreshSoon(part) {
  if (!part.id || due.has(part.id)) return;
  // A table that takes long to be made is made less often.
  const wait = Math.max(WAIT_MS, 3 * (spent.get(part.id) || 0));
  due.set(part.id, setTimeout(() => refresh(part.id), wait));
}

function refresh(id) {
  const part = document.getElementById(id);
  if (part === null || document.hidden) {
    due.delete(id);
    if (part !== null) part.dataset.stale = "";
    return;
  }
  const began = performance.now();
  const done = () => {
    spent.set(id, Math.min(performance.now() - began, SWAP_PATIENCE_MS));
    document.removeEventListener("htmx:afterRequest", finished);
    clearTimeout(patience);
    due.delete(id);
    if (again.has(id)) {
      again.delete(id);
      const newer = document.getElementById(id);
      if (newer !== null) refreshSoon(newer);
    }
  };
  const finished = (event) => {
    if (event.detail.elt.id === id) done();
  };
  const patience = setTimeout(done, SWAP_PATIENCE_MS);
  document.addEventListener("htmx:afterRequest", finished);
  window.htmx.trigger(part, "kvp:refresh");
}

const again = new Set();

function hear(event) {
  for (const part of parts()) {
    if (!concerns(part, event)) continue;
    if (due.has(part.id)) again.add(part.id);
    else refreshSoon(part);
  }
}

function say(state, text) {
  mark.hidden = false;
  mark.dataset.state = state;
  mark.querySelector(".connection-text").textContent = text;
}

function announce(text, tone) {
  announcement.textContent = text;
  announcement.dataset.tone = tone;
  announcement.hidden = false;
}

function opened() {
  attempts = 0;
  say("live", "live");
  if (!lost) return;
  lost = false;
  announce("Connected again. What you see is up to date.", "ok");
  setTimeout(() => { if (!lost) announcement.hidden = true; }, 6000);
  for (const part of parts()) refreshSoon(part);
}

function closed(event) {
  socket = null;
  if (event.code === LOGIN_NEEDED) {
    lost = true;
    say("lost", "logged out");
    announce("The session has ended. Load the page again to log in.", "bad");
    return;
  }
  const wait = RETRY_MS[Math.min(attempts, RETRY_MS.length - 1)];
  attempts += 1;
  if (!lost) {
    lost = true;
    say("lost", "connection lost");
    announce("Connection lost: what you see may be out of date. Trying to connect again…", "bad");
  }
  retry = setTimeout(connect, wait * (0.75 + Math.random() / 2));
}

function connect() {
  clearTimeout(retry);
  if (socket !== null) return;
  const scheme = location.protocol === "https:" ? "wss:" : "ws:";
  socket = new WebSocket(`${scheme}//${location.host}/ws/events/?cursor=${cursor}`);
  socket.addEventListener("message", (message) => {
    const event = JSON.parse(message.data);
    if (event.cursor !== undefined) cursor = event.cursor;
    if (event.kind === "hello") opened();
    else if (event.kind !== "cursor" && event.kind !== "error") hear(event);
  });
  socket.addEventListener("close", closed);
}

// What changes without an event, such as when an agent was last seen.
function tick() {
  if (document.hidden || lost) return;
  for (const part of document.querySelectorAll("[data-refresh]")) {
    const every = Number(part.dataset.refresh) * 1000;
    part.freshFrom ??= performance.now();
    if (performance.now() - part.freshFrom >= every) {
      part.freshFrom = performance.now();
      refreshSoon(part);
    }
  }
}

function seen() {
  if (document.hidden) return;
  for (const part of document.querySelectorAll("[data-stale]")) refreshSoon(part);
}

if (cursor !== undefined) {
  connect();
  setInterval(tick, 1000);
  document.addEventListener("visibilitychange", seen);
  window.addEventListener("online", () => { attempts = 0; connect(); });
}
