// Puts what was fetched into the page by changing only what differs: focus, selected text,
// the place of a screen reader, boxes and what is open stay where they are.

const KEPT = "data-keep";

function keyOf(node) {
  return node.nodeType === Node.ELEMENT_NODE ? node.id || node.dataset.key || "" : "";
}

function mergeAttributes(old, fresh) {
  for (const { name, value, namespaceURI } of fresh.attributes) {
    if (old.getAttribute(name) !== value) old.setAttributeNS(namespaceURI, name, value);
  }
  for (const { name } of [...old.attributes]) {
    // What is open is the reader's choice.
    if (!fresh.hasAttribute(name) && !(name === "open" && old.matches("details"))) {
      old.removeAttribute(name);
    }
  }
}

// Takes a node away; the one after it.
function removed(node) {
  const next = node.nextSibling;
  node.remove();
  return next;
}

function move(node, parent, place) {
  // Where the browser can, without losing the focus.
  if (parent.moveBefore) parent.moveBefore(node, place);
  else parent.insertBefore(node, place);
}

// The node at this place, or one after it, that the wanted one may become.
function unkeyedMatch(place, wanted) {
  if (wanted.nodeType !== Node.ELEMENT_NODE) {
    return place !== null && place.nodeType === wanted.nodeType ? place : null;
  }
  let match = place;
  while (match !== null && (match.nodeName !== wanted.nodeName || keyOf(match))) {
    match = match.nextSibling;
  }
  return match;
}

function mergeChildren(old, fresh, added) {
  const wantedNodes = [...fresh.childNodes];
  const wantedKeys = new Set(wantedNodes.map(keyOf));
  const keyed = new Map();
  for (const node of [...old.childNodes]) {
    const key = keyOf(node);
    if (key && !wantedKeys.has(key)) node.remove();
    else if (key && !keyed.has(key)) keyed.set(key, node);
  }
  let place = old.firstChild;
  for (const wanted of wantedNodes) {
    const key = keyOf(wanted);
    const known = key ? keyed.get(key) : unkeyedMatch(place, wanted);
    if (known?.nodeName !== wanted.nodeName) {
      old.insertBefore(wanted, place);
      if (wanted.nodeType === Node.ELEMENT_NODE) added.push(wanted);
      continue;
    }
    keyed.delete(key);
    // What stands before it and has no key is not wanted there; what has one comes to its
    // own place later.
    while (place !== known && !keyOf(place)) place = removed(place);
    if (place !== known) move(known, old, place);
    place = known.nextSibling;
    mergeNode(known, wanted, added);
  }
  while (place !== null) place = removed(place);
}

function mergeNode(old, fresh, added) {
  if (old.isEqualNode(fresh)) return;
  if (old.nodeType !== Node.ELEMENT_NODE) {
    old.data = fresh.data;
    return;
  }
  if (old.hasAttribute(KEPT)) return;
  mergeAttributes(old, fresh);
  mergeChildren(old, fresh, added);
}

// Makes an element what the fresh one is; the elements that are new in it.
function merge(old, fresh) {
  const added = [];
  mergeNode(old, fresh, added);
  return added;
}

window.htmx.defineExtension("merge", {
  isInlineSwap: (style) => style === "merge",
  handleSwap(style, target, fragment) {
    const fresh = fragment.querySelector(`#${target.id}`);
    if (style !== "merge" || fresh === null) return false;
    return [target, ...merge(target, fresh)];
  },
});
