// One way to ask the server: `ah5.ask(method, path, values)` gives {ok, body}, whatever happens. When an action needs a
// recent sign-in and the page has the dialog for it, the person is asked to confirm and the request is sent again.
"use strict";

window.ah5 = (() => {
  const UNREACHABLE = "The server cannot be reached. Check your connection and try again.";
  const csrf = document.querySelector('meta[name="csrf"]')?.content;

  async function send(method, path, values) {
    const headers = { Accept: "application/json" };
    const options = { method, headers, credentials: "same-origin" };
    if (csrf) headers["X-AH5-CSRF"] = csrf;
    if (method === "GET") {
      path += `?${new URLSearchParams(values)}`;
    } else {
      headers["Content-Type"] = "application/json";
      options.body = JSON.stringify(values);
    }
    try {
      const response = await fetch(path, options);
      return { ok: response.ok, body: await response.json().catch(() => ({})) };
    } catch {
      return { ok: false, body: { error: UNREACHABLE } };
    }
  }

  // Resolves to true once the person has confirmed to be there, to false when they closed the dialog.
  function confirmPresence(dialog) {
    return new Promise((resolve) => {
      const confirmed = () => {
        dialog.returnValue = "confirmed";
        dialog.close();
      };
      dialog.returnValue = "";
      dialog.addEventListener("answered", confirmed, { once: true });
      dialog.addEventListener("close", () => resolve(dialog.returnValue === "confirmed"), { once: true });
      dialog.querySelector("form").reset();
      dialog.showModal();
    });
  }

  async function ask(method, path, values = {}) {
    const answer = await send(method, path, values);
    const dialog = document.getElementById("presence");
    const isTooLongAgo = !answer.ok && answer.body.code?.toLowerCase() === "reauth_required";
    if (isTooLongAgo && dialog && (await confirmPresence(dialog))) return send(method, path, values);
    return answer;
  }

  return { ask };
})();
