// A link that opens a panel moves the reader there, and its row is marked.

document.addEventListener("htmx:afterSwap", (event) => {
  const link = event.detail.requestConfig?.elt;
  if (!link?.matches("[data-opens]")) return;
  for (const row of document.querySelectorAll("tr[aria-current]")) row.removeAttribute("aria-current");
  link.closest("tr").setAttribute("aria-current", "true");
  document.getElementById(link.dataset.opens).focus();
});
