// Parts of the page are fetched anew: soon, not too often, and never one part twice at once.

const WAIT_MS = 400;
const LONGEST_WAIT_MS = 5000;
const AGAIN_MS = 10000;
const GONE = new Set([403, 404]);

const fetching = new Map();
// What else is being fetched into a part: a filter, or what it begins with.
const others = new Map();

class Fetching {
  timer = null;
  current = null;
  next = null;
  began = 0;
  took = 0;
  failedAt = null;
}

function later() {
  const promised = {};
  promised.came = new Promise((resolve) => { promised.tell = resolve; });
  return promised;
}

function stateOf(id) {
  if (!fetching.has(id)) fetching.set(id, new Fetching());
  return fetching.get(id);
}

// Several wishes one after the other are one fetch; those that come while one is under way
// are one more. The promise tells whether it came; on a page that nobody sees it waits.
export function refreshSoon(part) {
  const state = stateOf(part.id);
  state.next ??= later();
  const { came } = state.next;
  plan(part.id, state);
  return came;
}

export async function refreshAll(parts) {
  const came = await Promise.all(parts.map(refreshSoon));
  return came.every(Boolean);
}

function plan(id, state) {
  if (state.timer !== null || state.current !== null || state.next === null) return;
  // A table that takes long to be made is made less often.
  const wait = Math.max(WAIT_MS, Math.min(state.took, LONGEST_WAIT_MS));
  state.timer = setTimeout(() => fetchNow(id, state), wait);
}

function fetchNow(id, state) {
  state.timer = null;
  if (document.hidden) return;
  const part = document.getElementById(id);
  state.current = state.next;
  state.next = null;
  state.began = 0;
  if (part !== null) window.htmx.trigger(part, "kvp:refresh");
  if (state.began !== 0) return;
  if (others.has(id)) postpone(state);
  else settle(id, state, false);
}

// A filter that is being fetched goes first; it may have been read before the event.
function postpone(state) {
  state.next = state.current;
  state.current = null;
}

function settle(id, state, came) {
  const { tell } = state.current;
  state.current = null;
  tell(came);
  plan(id, state);
}

function ofPart(event) {
  const { elt } = event.detail.requestConfig;
  const state = fetching.get(elt.id);
  return state !== undefined && state.current !== null ? state : null;
}

document.addEventListener("htmx:beforeRequest", (event) => {
  const state = ofPart(event);
  if (state !== null) state.began = performance.now();
  else others.set(event.detail.target.id, event.detail.xhr);
});

function whenFailed({ failed, xhr }) {
  const mayComeYet = (failed || xhr.status === 0) && !GONE.has(xhr.status);
  return mayComeYet ? performance.now() : null;
}

function otherEnded({ requestConfig, target, xhr }, failedAt) {
  if (others.get(target.id) !== xhr) return;
  others.delete(target.id);
  const state = stateOf(target.id);
  // What somebody chose is theirs to choose again.
  if (requestConfig.elt === target) state.failedAt = failedAt;
  plan(target.id, state);
}

function ended(event) {
  const state = ofPart(event);
  const failedAt = whenFailed(event.detail);
  if (state === null) {
    otherEnded(event.detail, failedAt);
    return;
  }
  state.took = performance.now() - state.began;
  state.failedAt = failedAt;
  settle(event.detail.requestConfig.elt.id, state, event.detail.successful === true);
}

document.addEventListener("htmx:afterRequest", ended);
// What cannot be swapped has no end otherwise.
document.addEventListener("htmx:onLoadError", ended);

// What failed a while ago is tried again.
export function retryFailed() {
  for (const [id, state] of fetching) {
    const part = document.getElementById(id);
    if (part === null || state.failedAt === null || performance.now() - state.failedAt < AGAIN_MS) continue;
    state.failedAt = null;
    refreshSoon(part);
  }
}

document.addEventListener("visibilitychange", () => {
  if (document.hidden) return;
  for (const [id, state] of fetching) plan(id, state);
});
