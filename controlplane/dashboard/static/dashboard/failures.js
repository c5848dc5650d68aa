// What could not be fetched: the page says so, and what to do.

import { announce, announceWithReload, withdraw } from "./announcements.js";

const TOLD_HERE = new Set(["htmx:afterRequest", "htmx:responseError", "htmx:sendError", "htmx:sendAbort", "htmx:timeout"]);
const FORBIDDEN = 403;
const NOT_FOUND = 404;

const failing = new Set();

function showInside(target, xhr) {
  const page = new DOMParser().parseFromString(xhr.responseText, "text/html");
  const told = page.querySelector("#main > section");
  if (told === null) return false;
  target.replaceChildren(told);
  // There is nothing any more that could be fetched anew.
  for (const name of target.getAttributeNames()) {
    if (name.startsWith("data-live") || name === "data-refresh") target.removeAttribute(name);
  }
  return true;
}

function say(xhr) {
  const { status } = xhr;
  if (status === FORBIDDEN) {
    announceWithReload("refresh", "bad", "What you see cannot be fetched anew: your role does not allow it any more.", "Load the page again");
  } else if (status === 0) {
    announce("refresh", "bad", "The control plane did not answer. What you see may be out of date; it is asked again by itself.");
  } else {
    const request = xhr.getResponseHeader("X-Request-ID");
    announce("refresh", "bad", `The control plane answered ${status}. What you see may be out of date; it is asked again by itself. Its log has the details under request ${request}.`);
  }
}

function failed(event) {
  const { target, xhr } = event.detail;
  if (xhr.status === NOT_FOUND && showInside(target, xhr)) return;
  failing.add(target.id);
  say(xhr);
}

for (const name of ["htmx:responseError", "htmx:sendError", "htmx:timeout"]) {
  document.addEventListener(name, failed);
}

document.addEventListener("htmx:afterRequest", (event) => {
  if (!event.detail.successful) return;
  failing.delete(event.detail.target.id);
  if (failing.size === 0) withdraw("refresh");
});

// htmx writes every failure to the console; this page tells the reader instead.
window.htmx.logger = (_, name, detail) => {
  if (TOLD_HERE.has(name)) delete detail.error;
};
