// What happens in the fleet, as it happens: parts of the page that it concerns are
// fetched anew. Says when the connection is lost, and when it is back.

import { announce, announceWithReload, withdraw } from "./announcements.js";
import { noteMaybeNews, noteNews } from "./news.js";
import { refreshAll, refreshSoon, retryFailed } from "./refreshing.js";

const RETRY_MS = [500, 1000, 2000, 5000, 10000, 20000];
// The server says something every 5 s.
const SILENCE_MS = 15000;
const POLL_MS = 15000;
const ATTEMPTS_BEFORE_POLLING = 3;
const UP_TO_DATE_MS = 6000;
const LOGIN_NEEDED = 4401;
const FINAL_CODES = { from: 4400, to: 4499 };

const mark = document.getElementById("connection");
let cursor = document.body.dataset.cursor;
let socket = null;
let heardAt = 0;
let polledAt = 0;
let attempts = 0;
let retry = null;
let state = "connecting";

function parts() {
  return [...document.querySelectorAll("[data-live]")];
}

function waits(part) {
  return "liveNews" in part.dataset;
}

function concerns(part, event) {
  const { live, liveOperation, liveAgent } = part.dataset;
  if (liveOperation !== undefined) return event.operation === liveOperation;
  if (liveAgent !== undefined) return event.agent === liveAgent;
  if ("liveAnyOperation" in part.dataset && event.operation) return true;
  return live.split(" ").some((kind) => kind === "*" || (kind && event.kind.startsWith(kind)));
}

function hear(event) {
  for (const part of parts().filter((part) => concerns(part, event))) {
    if (waits(part)) noteNews(part, event.cursor);
    else refreshSoon(part);
  }
}

function enter(next, text) {
  state = next;
  mark.hidden = false;
  mark.dataset.state = next === "ended" ? "lost" : next;
  mark.querySelector(".connection-text").textContent = text;
}

async function welcomed() {
  const isBack = state === "lost" || state === "polling";
  attempts = 0;
  enter("live", "live");
  if (!isBack) return;
  announce("connection", "ok", "Connected again. What you see is being fetched anew…");
  // What waits for its reader is told of the events that were missed.
  const came = await refreshAll(parts().filter((part) => !waits(part)));
  if (state !== "live") return;
  if (!came) {
    withdraw("connection");
    return;
  }
  announce("connection", "ok", "Connected again. What you see is up to date.");
  setTimeout(() => { if (state === "live") withdraw("connection"); }, UP_TO_DATE_MS);
}

function lose() {
  if (state === "lost" || state === "polling") return;
  enter("lost", "connection lost");
  announce("connection", "bad", "Connection lost: what you see may be out of date. Trying to connect again…");
}

function end(code, reason) {
  clearTimeout(retry);
  if (code === LOGIN_NEEDED) {
    enter("ended", "logged out");
    announceWithReload("connection", "bad", "The session has ended.", "Load the page again to log in");
  } else {
    enter("ended", "not live");
    announceWithReload("connection", "bad", `This page is not told any more what happens: ${reason || `code ${code}`}.`, "Load the page again");
  }
}

function tryAgain() {
  const wait = RETRY_MS[Math.min(attempts, RETRY_MS.length - 1)];
  attempts += 1;
  clearTimeout(retry);
  retry = setTimeout(connect, wait * (0.75 + Math.random() / 2));
}

function closed({ code, reason }) {
  socket = null;
  if (code >= FINAL_CODES.from && code <= FINAL_CODES.to) {
    end(code, reason);
    return;
  }
  lose();
  tryAgain();
}

// A socket whose other end is gone says nothing of that, and closes late.
function giveUp() {
  const silent = socket;
  socket = null;
  silent?.close();
  lose();
  tryAgain();
}

function connect() {
  clearTimeout(retry);
  if (socket !== null || state === "ended") return;
  heardAt = Date.now();
  const scheme = location.protocol === "https:" ? "wss:" : "ws:";
  const own = new WebSocket(`${scheme}//${location.host}/ws/events/?cursor=${cursor}`);
  socket = own;
  own.addEventListener("message", (message) => {
    if (socket !== own) return;
    heardAt = Date.now();
    const event = JSON.parse(message.data);
    if (event.cursor !== undefined) cursor = event.cursor;
    if (event.kind === "hello") welcomed();
    else if (event.kind !== "cursor" && event.kind !== "error") hear(event);
  });
  own.addEventListener("close", (event) => {
    if (socket === own) closed(event);
  });
}

// Where no WebSocket gets through, the page asks.
async function poll() {
  polledAt = Date.now();
  const [waiting, others] = [parts().filter(waits), parts().filter((part) => !waits(part))];
  const came = await refreshAll(others);
  if (state !== "lost" && state !== "polling") return;
  if (!came) {
    if (state === "lost") return;
    state = "connecting";
    lose();
    return;
  }
  // Older pages of a list have no news.
  for (const part of waiting.filter((part) => part.dataset.live)) noteMaybeNews(part);
  if (state === "polling") return;
  enter("polling", `asks every ${POLL_MS / 1000} s`);
  announce("connection", "info", `What happens cannot be sent to this page; maybe a proxy on the way lets no WebSockets through. The page asks every ${POLL_MS / 1000} s instead.`);
}

// What changes without an event, such as when an agent was last seen.
function refreshByTime() {
  for (const part of document.querySelectorAll("[data-refresh]")) {
    const every = Number(part.dataset.refresh) * 1000;
    part.freshFrom ??= performance.now();
    if (performance.now() - part.freshFrom >= every) {
      part.freshFrom = performance.now();
      refreshSoon(part);
    }
  }
}

function tick() {
  if (socket !== null && Date.now() - heardAt > SILENCE_MS) giveUp();
  if (document.hidden) return;
  if (state === "live") {
    refreshByTime();
    retryFailed();
  }
  const isPollDue = attempts >= ATTEMPTS_BEFORE_POLLING && Date.now() - polledAt >= POLL_MS;
  if ((state === "lost" || state === "polling") && isPollDue) poll();
}

if (cursor !== undefined) {
  connect();
  setInterval(tick, 1000);
  window.addEventListener("offline", () => { if (state !== "ended") giveUp(); });
  window.addEventListener("online", () => { attempts = 0; connect(); });
}
