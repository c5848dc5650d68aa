// Filters that are empty do not stand in the address. On a phone they are folded away
// until somebody wants them, unless some of them are set.

document.addEventListener("htmx:configRequest", (event) => {
  if (!event.target.matches("form.filters")) return;
  const data = event.detail.formData;
  for (const [name, value] of [...data.entries()]) {
    if (value === "") data.delete(name);
  }
});

if (matchMedia("(max-width: 760px)").matches && location.search === "") {
  for (const facets of document.querySelectorAll("details.facets")) facets.open = false;
}

// How much fits, for those who do not see the table.
document.addEventListener("htmx:afterSwap", (event) => {
  const { requestConfig, target } = event.detail;
  if (!requestConfig?.elt.matches("form.filters")) return;
  document.getElementById("shown").textContent = target.dataset.shown || "";
});
