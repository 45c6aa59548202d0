// What some answers hold is shown on the page they came from: the key for an authenticator app, recovery codes, an
// invitation link. It is shown once and kept nowhere.
"use strict";

(() => {
  const show = (selector, text) => {
    const element = document.querySelector(selector);
    if (!element) return;
    if (text !== undefined) element.textContent = text;
    element.hidden = false;
  };

  document.addEventListener("answered", (event) => {
    const body = event.detail;
    if (!body) return;
    if (event.target.dataset.totp !== undefined) {
      show("[data-secret]", body.secret);
      document.querySelector("[data-otpauth]").href = body.otpauthUri;
    } else if (event.target.dataset.codes !== undefined) {
      show("[data-codes-list]", body.recoveryCodes.join("\n"));
    } else if (event.target.id === "invite") {
      document.getElementById("waiting").hidden = true;
      show(body.delivered ? "[data-delivered]" : "[data-undelivered]");
      if (body.inviteUrl) show("[data-link]", body.inviteUrl);
    }
  });
})();
