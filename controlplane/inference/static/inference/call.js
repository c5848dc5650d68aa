// Sends the forms of a documented endpoint with their real method, query
// parameters and body, which an HTML form alone cannot, and shows the answer.
"use strict";

(function () {
  function cookie(name) {
    const found = document.cookie.split("; ").find((entry) => entry.startsWith(name + "="));
    return found ? decodeURIComponent(found.slice(name.length + 1)) : "";
  }

  function queryOf(form) {
    const query = new URLSearchParams();
    for (const input of form.querySelectorAll("[name]")) {
      const values = "several" in input.dataset ? input.value.split("\n") : [input.value];
      for (const value of values) {
        if (value.trim() !== "") query.append(input.name, value.trim());
      }
    }
    return query.toString();
  }

  // A header carries bytes; these are the text's in UTF-8, one a character.
  function headerText(text) {
    return String.fromCharCode(...new TextEncoder().encode(text));
  }

  function requestOf(form) {
    const headers = { Accept: "application/json", "X-CSRFToken": cookie("kvplane_csrf") };
    const reason = form.querySelector("[data-reason]");
    if (reason && reason.value.trim() !== "") {
      headers["X-KVPlane-Reason"] = headerText(reason.value.trim());
    }
    const request = { method: form.dataset.callMethod, headers, credentials: "same-origin" };
    const body = form.querySelector("[data-body]");
    if (body) {
      headers["Content-Type"] = "application/json";
      request.body = body.value;
    }
    return request;
  }

  function show(form, title, text) {
    const answer = form.querySelector(".kvp-answer");
    answer.hidden = false;
    answer.querySelector("h3").textContent = title;
    answer.querySelector("pre").textContent = text;
  }

  function readable(text) {
    try {
      return JSON.stringify(JSON.parse(text), null, 2);
    } catch (error) {
      return text;
    }
  }

  async function submit(event) {
    event.preventDefault();
    const form = event.currentTarget;
    const query = queryOf(form);
    const url = form.dataset.path + (query ? "?" + query : "");
    show(form, "Sending…", "");
    try {
      const response = await fetch(url, requestOf(form));
      show(form, form.dataset.callMethod + " " + url + " answered " + response.status, readable(await response.text()));
    } catch (error) {
      show(form, "The control plane did not answer", String(error));
    }
  }

  for (const form of document.querySelectorAll(".kvp-call")) {
    form.addEventListener("submit", submit);
  }
})();
