// A list that is read does not move under its reader: a button says how much is new.

import { refreshSoon } from "./refreshing.js";

const place = document.getElementById("news");
const button = document.createElement("button");
button.type = "button";
let partId = "";

function offer(part, text) {
  if (place === null) return;
  partId = part.id;
  button.textContent = text;
  if (!button.isConnected) place.append(button);
}

// There is news up to this cursor.
export function noteNews(part, cursor) {
  const { liveNews } = part.dataset;
  // With filters nobody knows how many of them fit.
  if (!liveNews) {
    noteMaybeNews(part);
    return;
  }
  const count = cursor - Number(liveNews);
  if (count > 0) offer(part, count === 1 ? "Show 1 new entry" : `Show ${count} new entries`);
}

export function noteMaybeNews(part) {
  offer(part, "Look for new entries");
}

button.addEventListener("click", async () => {
  const part = document.getElementById(partId);
  button.disabled = true;
  const came = await refreshSoon(part);
  button.disabled = false;
  if (!came) return;
  button.remove();
  part.querySelector("a[data-opens]")?.focus();
});

// A filter brings what is new as well.
document.addEventListener("htmx:afterSwap", (event) => {
  if (event.detail.target.id === partId) button.remove();
});
