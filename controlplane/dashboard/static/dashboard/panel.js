// A link that opens a panel moves the reader there, and its row is marked. Closing the
// panel leads back to the link.

let openedBy = "";

function markRow() {
  for (const row of document.querySelectorAll("tr[aria-current]")) row.removeAttribute("aria-current");
  if (openedBy) document.getElementById(openedBy)?.closest("tr").setAttribute("aria-current", "true");
}

function close(panel) {
  const link = document.getElementById(openedBy);
  panel.replaceChildren();
  openedBy = "";
  markRow();
  link?.focus();
}

document.addEventListener("htmx:afterSwap", (event) => {
  const link = event.detail.requestConfig?.elt;
  const opens = link?.matches("[data-opens]");
  if (opens) openedBy = link.id;
  markRow();
  if (opens) document.getElementById(link.dataset.opens).focus();
});

document.addEventListener("click", (event) => {
  const button = event.target.closest("[data-closes]");
  if (button !== null) close(document.getElementById(button.dataset.closes));
});

document.addEventListener("keydown", (event) => {
  // In a field Escape is the field's.
  if (event.key !== "Escape" || event.target.matches("input, select, textarea")) return;
  const link = document.getElementById(openedBy);
  if (link !== null) close(document.getElementById(link.dataset.opens));
});
