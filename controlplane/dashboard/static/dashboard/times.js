// Keeps "3 min ago" and "in 9 min" right, by the clock of the server.

const STEPS = [[86400, "d"], [3600, "h"], [60, "min"], [1, "s"]];
const started = performance.now();
const serverTime = Date.parse(document.body.dataset.now || "") || Date.now();

function now() {
  return serverTime + performance.now() - started;
}

function relative(moment) {
  const seconds = Math.round((moment - now()) / 1000);
  const [size, unit] = STEPS.find(([step]) => Math.abs(seconds) >= step) || [1, "s"];
  const amount = `${Math.floor(Math.abs(seconds) / size)} ${unit}`;
  return seconds > 0 ? `in ${amount}` : `${amount} ago`;
}

// As the filter `ending` writes it.
function ending(time) {
  const text = relative(Date.parse(time.dateTime));
  if (text.startsWith("in ")) return `ends ${text}`;
  return time.dataset.ending === "online" ? "ending" : `should have ended ${text}`;
}

function update() {
  if (document.hidden) return;
  for (const time of document.querySelectorAll("time[data-ending]")) {
    const text = ending(time);
    if (time.textContent !== text) time.textContent = text;
  }
  for (const time of document.querySelectorAll("time[data-relative]")) {
    const text = relative(Date.parse(time.dateTime));
    if (time.textContent !== text) time.textContent = text;
  }
}

setInterval(update, 1000);
document.addEventListener("visibilitychange", update);
