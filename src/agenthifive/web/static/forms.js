// Forms that speak JSON: `data-post` (or `data-get`, `data-method`) names the route; what follows success is
// `data-next` (a path), `data-follow` (a member that holds an address), `data-done` (an element to show) or a reload
// (`data-reload`). Refusals are shown where they belong, and nothing that was typed is lost.
"use strict";

(() => {
  function valuesOf(form) {
    const values = {};
    for (const field of form.elements) {
      if (!field.name || field.disabled) continue;
      if (field.type === "checkbox" && field.dataset.list !== undefined) {
        values[field.name] ??= [];
        if (field.checked) values[field.name].push(field.value);
      } else if (field.type === "checkbox") {
        values[field.name] = field.checked;
      } else if (field.dataset.type === "boolean") {
        values[field.name] = field.value === "true";
      } else if (field.type === "number") {
        values[field.name] = Number(field.value);
      } else if (field.type !== "radio" || field.checked) {
        if (field.value !== "" || field.required) values[field.name] = field.value;
      }
    }
    return values;
  }

  function clear(form) {
    form.querySelectorAll("[data-fault]").forEach((note) => note.remove());
    form.querySelectorAll("[aria-invalid]").forEach((field) => field.removeAttribute("aria-invalid"));
    const alert = form.querySelector('[role="alert"]');
    if (alert) alert.hidden = true;
  }

  function showFaults(form, body) {
    let first = null;
    for (const fault of body.fields ?? []) {
      const field = form.elements[fault.path];
      if (!field?.insertAdjacentElement) continue;
      const note = document.createElement("p");
      Object.assign(note, { className: "fault", id: `${field.id}-fault`, textContent: fault.message });
      note.dataset.fault = "";
      field.setAttribute("aria-invalid", "true");
      field.setAttribute("aria-describedby", note.id);
      field.insertAdjacentElement("afterend", note);
      first ??= field;
    }
    if (first) return first.focus();
    const alert = form.querySelector('[role="alert"]');
    alert.textContent = body.error ?? "Something went wrong. Try again.";
    alert.hidden = false;
  }

  function reveal(id, form) {
    form.hidden = true;
    const target = document.getElementById(id);
    target.hidden = false;
    (target.querySelector("input:not([type=hidden])") ?? target).focus();
  }

  function proceed(form, body) {
    const { next, follow, done, reload, secondStep } = form.dataset;
    if (secondStep && body.twoFactorRequired) {
      document.getElementById("first-step").hidden = true;
      return reveal(secondStep, form);
    }
    form.dispatchEvent(new CustomEvent("answered", { detail: body, bubbles: true }));
    if (follow) window.location.assign(body[follow]);
    else if (next) window.location.assign(next);
    else if (done) reveal(done, form);
    else if (reload !== undefined) window.location.reload();
  }

  async function submit(form) {
    const button = form.querySelector("button:not([type=button])");
    const { post, get, method } = form.dataset;
    clear(form);
    button.disabled = true;
    const answer = await ah5.ask(get ? "GET" : method ?? "POST", post ?? get, valuesOf(form));
    button.disabled = false;
    if (answer.ok) proceed(form, answer.body);
    else showFaults(form, answer.body);
  }

  document.addEventListener("submit", (event) => {
    const form = event.target;
    if (form.dataset.post === undefined && form.dataset.get === undefined) return;
    event.preventDefault();
    submit(form);
  });
})();
