// The agents that are selected in the fleet's table: how many, all at once, and still
// selected after the table was made anew.

const form = document.getElementById("selection");
const chosen = new Set();

function boxes() {
  return [...document.querySelectorAll("input[type=checkbox][name=agent]")];
}

function show() {
  const shown = boxes();
  const count = shown.filter((box) => box.checked).length;
  document.getElementById("selected").textContent =
    count === 0 ? "Select agents to do something with them." : `${count} selected`;
  for (const button of form.querySelectorAll("button")) button.disabled = count === 0;
  form.toggleAttribute("data-some", count > 0);
  const all = document.querySelector("[data-pick-all]");
  if (!all) return;
  all.hidden = false;
  all.checked = count > 0 && count === shown.length;
  all.indeterminate = count > 0 && count < shown.length;
}

function remember() {
  for (const box of boxes()) {
    if (box.checked) chosen.add(box.value);
    else chosen.delete(box.value);
  }
  show();
}

function restore() {
  for (const box of boxes()) box.checked = chosen.has(box.value);
  show();
}

if (form) {
  document.addEventListener("change", (event) => {
    if (event.target.matches("[data-pick-all]")) {
      for (const box of boxes()) box.checked = event.target.checked;
    }
    if (event.target.matches("[data-pick-all], [name=agent][type=checkbox]")) remember();
  });
  document.addEventListener("htmx:afterSwap", restore);
  // The browser restores boxes itself when one comes back to the page.
  window.addEventListener("pageshow", remember);
  remember();
}
