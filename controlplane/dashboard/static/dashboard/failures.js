// What could not be fetched: the page says so, and what to do.

import { announce, announceWithReload, withdraw } from "./announcements.js";

const TOLD_HERE = new Set(["htmx:afterRequest", "htmx:responseError", "htmx:sendError", "htmx:sendAbort", "htmx:timeout"]);
const FORBIDDEN = 403;
const NOT_FOUND = 404;

// What asked, and the part that it asked for.
const failing = new Map();

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

function whatHappened(xhr) {
  if (xhr.status === 0) return "The control plane did not answer.";
  const request = xhr.getResponseHeader("X-Request-ID");
  return `The control plane answered ${xhr.status}; its log has the details under request ${request}.`;
}

function failed(event) {
  const { target, xhr, requestConfig } = event.detail;
  if (xhr.status === NOT_FOUND && showInside(target, xhr)) return;
  failing.set(requestConfig.elt, target);
  if (xhr.status === FORBIDDEN) {
    announceWithReload("refresh", "bad", "What you see cannot be fetched anew: your role does not allow it any more.", "Load the page again");
  } else if (requestConfig.elt === target) {
    announce("refresh", "bad", `${whatHappened(xhr)} What you see may be out of date; it is asked again by itself.`);
  } else {
    announce("refresh", "bad", `${whatHappened(xhr)} What you chose is not shown; choose it again.`);
  }
}

for (const name of ["htmx:responseError", "htmx:sendError", "htmx:timeout"]) {
  document.addEventListener(name, failed);
}

document.addEventListener("htmx:afterRequest", (event) => {
  if (!event.detail.successful) return;
  const { target, requestConfig } = event.detail;
  const isChosen = requestConfig.elt !== target;
  for (const [elt, part] of failing) {
    // Another choice takes the place of the one that failed; what the page asks does not.
    const isReplaced = isChosen && part === target;
    if (elt === requestConfig.elt || isReplaced || !elt.isConnected) failing.delete(elt);
  }
  if (failing.size === 0) withdraw("refresh");
});

// htmx writes every failure to the console; this page tells the reader instead.
window.htmx.logger = (_, name, detail) => {
  if (TOLD_HERE.has(name)) delete detail.error;
};
