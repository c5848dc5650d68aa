// Sends the forms of a page with their real method, parameters, headers and JSON body, which
// an HTML form alone cannot, and shows what came of it. Reads work without this script.
"use strict";

(function () {
  const PROBLEMS = JSON.parse(document.getElementById("kvp-problems").textContent);

  function cookie(name) {
    const found = document.cookie.split("; ").find((entry) => entry.startsWith(name + "="));
    return found ? decodeURIComponent(found.slice(name.length + 1)) : "";
  }

  // A header carries bytes; these are the text's in UTF-8, one a character.
  function headerText(text) {
    return String.fromCharCode(...new TextEncoder().encode(text));
  }

  function lines(text) {
    return text.split("\n").map((line) => line.trim()).filter((line) => line !== "");
  }

  function isNull(control) {
    return control.tagName === "SELECT" && "null" in control.selectedOptions[0].dataset;
  }

  function valueOf(control) {
    if (isNull(control)) return null;
    const text = control.value.trim();
    switch (control.dataset.kind) {
      case "number": return text === "" ? null : Number(text);
      case "boolean": return text === "true";
      case "lines": return lines(control.value);
      case "json": return text === "" ? {} : JSON.parse(text);
      case "moment": return momentOf(control);
      case "password": return control.value;
      default: return text;
    }
  }

  // What is typed in is the person's own time; what is typed as text says its zone itself.
  function momentOf(control) {
    return control.type === "datetime-local" ? new Date(control.value).toISOString() : control.value.trim();
  }

  function isBlank(control) {
    return !isNull(control) && control.value.trim() === "";
  }

  function isAsItWas(control) {
    if (isNull(control)) return false;
    return control.tagName === "SELECT"
      ? control.value === "" || control.selectedOptions[0].defaultSelected
      : control.value === control.defaultValue;
  }

  function put(body, name, value) {
    const path = name.split(".");
    const last = path.pop();
    let place = body;
    for (const step of path) place = place[step] = place[step] || {};
    place[last] = value;
  }

  function controlsIn(form, place) {
    return [...form.querySelectorAll(`[data-place="${place}"]`)].filter((control) => !isBlank(control));
  }

  // Of a change, what is different now, emptied fields among it; all of it if nothing is.
  function bodyControls(form) {
    const changed = [...form.querySelectorAll('[data-place="body"]')].filter((control) => !isAsItWas(control));
    return form.dataset.callMethod === "PATCH" && changed.length > 0 ? changed : controlsIn(form, "body");
  }

  function bodyOf(form) {
    const body = {};
    for (const control of bodyControls(form)) {
      try {
        put(body, control.name, valueOf(control));
      } catch (error) {
        control.focus();
        throw new Error(`'${control.name}' is not JSON: ${error.message}`);
      }
    }
    return JSON.stringify(body, null, 2);
  }

  function queryOf(form) {
    const query = new URLSearchParams();
    for (const control of controlsIn(form, "query")) {
      const values = control.dataset.kind === "lines" ? lines(control.value) : [control.value.trim()];
      for (const value of values) query.append(control.name, value);
    }
    return query.toString();
  }

  function requestOf(form) {
    const headers = { Accept: "application/json", "X-CSRFToken": cookie("kvplane_csrf") };
    for (const control of controlsIn(form, "header")) {
      headers[control.name] = headerText(control.dataset.kind === "moment" ? momentOf(control) : control.value.trim());
    }
    const request = { method: form.dataset.callMethod, headers, credentials: "same-origin" };
    const written = form.querySelector("[data-body]");
    if (written) {
      const raw = form.querySelector("[data-raw]");
      headers["Content-Type"] = "application/json";
      request.body = !raw || raw.open ? written.value : bodyOf(form);
    }
    return request;
  }

  function show(form, title, told, links, text, mood) {
    const answer = form.querySelector(".kvp-answer");
    answer.hidden = false;
    answer.classList.toggle("kvp-good", mood === "good");
    answer.classList.toggle("kvp-bad", mood === "bad");
    answer.querySelector("h3").textContent = title;
    answer.querySelector("p").textContent = told;
    answer.querySelector("ul").replaceChildren(...links.map(([name, url]) => {
      const item = document.createElement("li");
      const link = item.appendChild(document.createElement("a"));
      link.textContent = name;
      link.href = url;
      return item;
    }));
    const shown = answer.querySelector("pre");
    shown.textContent = text;
    shown.hidden = text === "";
  }

  function parsed(text) {
    try {
      return JSON.parse(text);
    } catch (error) {
      return null;
    }
  }

  function linksOf(form, response, answer) {
    const links = [];
    const operation = response.headers.get("X-KVPlane-Operation");
    const revision = response.headers.get("X-KVPlane-Revision");
    const request = response.headers.get("X-Request-ID");
    const location = response.headers.get("Location");
    const made = answer && ((answer.details && answer.details.id) || answer.id || answer.name);
    if (operation) links.push(["The operation", "/api/v1/operations/" + operation + "/"]);
    if (location) {
      links.push(["The operation", location]);
    } else if (response.ok && form.dataset.madeAt && made) {
      links.push(["What was made", form.dataset.madeAt.replace("{}", encodeURIComponent(made))]);
    }
    if (revision) {
      const agent = decodeURIComponent((form.dataset.path.match(/^\/agents\/([^/]+)/) || ["", ""])[1]);
      const query = new URLSearchParams(agent ? { agent, number: revision } : { number: revision });
      links.push(["Revision " + revision, "/api/v1/config-revisions/?" + query]);
    }
    if (request) links.push(["Audit entries of this request", "/api/v1/audit/?" + new URLSearchParams({ request_id: request })]);
    if (response.status === 401) {
      links.push(["Log in", "/api/auth/login/?" + new URLSearchParams({ next: window.location.pathname + window.location.search })]);
    }
    return links;
  }

  function remedyOf(response, answer) {
    if (answer && answer.errors && Object.keys(answer.updated || {}).length > 0) {
      return ["Partly refused", "What is under 'updated' is set; correct what is under 'errors' and send that again."];
    }
    const [title, remedy] = PROBLEMS[response.status] || ["It failed", ""];
    return [title, [answer && answer.message, remedy].filter(Boolean).join(" ")];
  }

  function told(form, response, text, url) {
    const answer = parsed(text);
    const words = ` ${form.dataset.callMethod} ${url} answered ${response.status} (${response.statusText})`;
    const links = linksOf(form, response, answer);
    const shown = answer === null ? text : JSON.stringify(answer, null, 2);
    if (response.ok) {
      const title = response.status === 202 ? "Under way:" : "Succeeded:";
      show(form, title + words, "", links, shown, "good");
    } else {
      const [title, remedy] = remedyOf(response, answer);
      show(form, `${title}:${words}`, remedy, links, shown, "bad");
    }
  }

  async function submit(event) {
    event.preventDefault();
    const form = event.currentTarget;
    const query = queryOf(form);
    const url = form.dataset.path + (query ? "?" + query : "");
    if (form.dataset.callMethod === "GET") {
      window.location.assign(url);
      return;
    }
    let request;
    try {
      request = requestOf(form);
    } catch (error) {
      show(form, "Not sent", error.message, [], "", "bad");
      return;
    }
    const button = event.submitter || form.querySelector("button[type=submit]");
    show(form, "Sending…", "", [], "", "");
    for (const hint of document.querySelectorAll("[data-until-sent]")) hint.hidden = true;
    button.disabled = true;
    try {
      const response = await fetch(url, request);
      told(form, response, await response.text(), url);
    } catch (error) {
      show(form, "The control plane did not answer", `Check the connection and try again. (${error.message})`, [], "", "bad");
    } finally {
      button.disabled = false;
      form.querySelector(".kvp-answer").focus();
    }
  }

  function written(control, value) {
    if (value === null || value === undefined) return "";
    if (control.dataset.kind === "lines" && Array.isArray(value)) return value.join("\n");
    return typeof value === "object" ? JSON.stringify(value, null, 2) : String(value);
  }

  function fillIn(form, values) {
    for (const control of form.querySelectorAll("[data-fields] [data-place]")) {
      const path = control.dataset.place === "body" ? control.name.split(".") : [control.name];
      const value = path.reduce((within, step) => (within === null || within === undefined ? undefined : within[step]), values);
      if (value !== undefined || control.dataset.place === "body") control.value = written(control, value);
    }
    const body = form.querySelector("[data-body]");
    const raw = form.querySelector("[data-raw]");
    if (body && !raw) body.value = JSON.stringify(values[""], null, 2);
    if (raw && raw.open) body.value = bodyOf(form);
  }

  function prepareExamples(form) {
    const offered = form.querySelector("[data-examples]");
    if (!offered) return;
    const examples = JSON.parse(document.getElementById(offered.dataset.examples).textContent);
    const choice = offered.querySelector("select");
    if (choice) {
      choice.addEventListener("change", () => {
        if (choice.value !== "") fillIn(form, examples[Number(choice.value)]);
      });
    }
    for (const button of offered.querySelectorAll("[data-example]")) {
      button.addEventListener("click", () => fillIn(form, examples[Number(button.dataset.example)]));
    }
  }

  function prepareRaw(form) {
    const raw = form.querySelector("[data-raw]");
    if (!raw) return;
    raw.addEventListener("toggle", () => {
      try {
        // What the fields would require is then in the JSON.
        form.noValidate = raw.open;
        if (raw.open) form.querySelector("[data-body]").value = bodyOf(form);
      } catch (error) {
        raw.open = false;
        show(form, "Not JSON", error.message, [], "", "bad");
      }
    });
  }

  for (const form of document.querySelectorAll(".kvp-call")) {
    form.addEventListener("submit", submit);
    prepareExamples(form);
    prepareRaw(form);
  }
  const target = document.getElementById(window.location.hash.slice(1));
  if (target && target.tagName === "DETAILS") target.open = true;
  const filters = document.getElementById("filters");
  if (filters && document.querySelector(".kvp-problem")) filters.open = true;
  for (const button of document.querySelectorAll("[data-needs-js]")) button.disabled = false;
  for (const hidden of document.querySelectorAll("[data-js]")) hidden.hidden = false;
  for (const button of document.querySelectorAll("[data-add]")) {
    button.addEventListener("click", () => {
      const field = document.getElementById(button.dataset.to);
      field.value = [...new Set([...lines(field.value), button.dataset.add])].join("\n");
    });
  }
})();
