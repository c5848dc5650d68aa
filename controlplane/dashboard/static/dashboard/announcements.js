// What is said above the page, one thing at a time: the connection first.

const TOPICS = ["connection", "refresh"];

const place = document.getElementById("announcement");
const said = new Map();

function show() {
  const topic = TOPICS.find((name) => said.has(name));
  place.hidden = topic === undefined;
  if (topic === undefined) {
    place.replaceChildren();
    return;
  }
  const { text, tone, link } = said.get(topic);
  place.dataset.tone = tone;
  place.textContent = text;
  if (link === null) return;
  const anchor = document.createElement("a");
  anchor.href = location.href;
  anchor.textContent = link;
  place.append(" ", anchor);
}

export function announce(topic, tone, text) {
  said.set(topic, { text, tone, link: null });
  show();
}

// With a link that loads the page again.
export function announceWithReload(topic, tone, text, link) {
  said.set(topic, { text, tone, link });
  show();
}

export function withdraw(topic) {
  if (said.delete(topic)) show();
}
