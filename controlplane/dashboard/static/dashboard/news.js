// A list that is read does not move under its reader: a button says how much is new.

import { refreshSoon } from "./refreshing.js";

const place = document.getElementById("news");
const button = document.createElement("button");
button.type = "button";
let partId = "";

function label(part, cursor) {
  // With filters nobody knows how many of them fit.
  const newest = Number(part.dataset.liveNews);
  const count = newest && cursor ? cursor - newest : 0;
  if (count > 0) return count === 1 ? "Show 1 new entry" : `Show ${count} new entries`;
  return "Look for new entries";
}

export function noteNews(part, cursor) {
  if (place === null) return;
  partId = part.id;
  button.textContent = label(part, cursor);
  if (!button.isConnected) place.append(button);
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
