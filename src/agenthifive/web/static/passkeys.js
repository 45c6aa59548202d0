// Passkeys: `data-passkey="sign-in"` signs in and goes on to `data-next`; `data-passkey="add"` adds one under the name
// in the field it names with `data-name`, then reloads; `data-passkey="confirm"` confirms that the person is there.
"use strict";

(() => {
  const decode = (text) => Uint8Array.from(atob(text.replace(/-/g, "+").replace(/_/g, "/")), (c) => c.charCodeAt(0));
  const encode = (buffer) =>
    btoa(String.fromCharCode(...new Uint8Array(buffer))).replace(/\+/g, "-").replace(/\//g, "_").replace(/=+$/, "");
  const withIds = (list) => (list ?? []).map((one) => ({ ...one, id: decode(one.id) }));

  function wire(credential) {
    const { response } = credential;
    const members = { clientDataJSON: encode(response.clientDataJSON) };
    for (const name of ["attestationObject", "authenticatorData", "signature", "userHandle"]) {
      if (response[name]) members[name] = encode(response[name]);
    }
    if (response.getTransports) members.transports = response.getTransports();
    return {
      id: credential.id,
      rawId: encode(credential.rawId),
      type: credential.type,
      authenticatorAttachment: credential.authenticatorAttachment ?? undefined,
      clientExtensionResults: credential.getClientExtensionResults(),
      response: members,
    };
  }

  async function ask(path, values) {
    const answer = await ah5.ask("POST", path, values);
    if (!answer.ok) throw new Error(answer.body.error);
    return answer.body;
  }

  async function assertion() {
    const options = await ask("/api/auth/passkey/authenticate/options", {});
    const publicKey = {
      ...options,
      challenge: decode(options.challenge),
      allowCredentials: withIds(options.allowCredentials),
    };
    return wire(await navigator.credentials.get({ publicKey }));
  }

  async function add(name) {
    const options = await ask("/api/auth/passkey/register/options", {});
    const publicKey = {
      ...options,
      challenge: decode(options.challenge),
      user: { ...options.user, id: decode(options.user.id) },
      excludeCredentials: withIds(options.excludeCredentials),
    };
    const credential = wire(await navigator.credentials.create({ publicKey }));
    await ask("/api/auth/passkey/register/verify", { credential, name });
  }

  async function act(button) {
    if (button.dataset.passkey === "add") {
      const field = document.getElementById(button.dataset.name);
      if (!field.reportValidity()) return;
      await add(field.value);
      window.location.reload();
    } else if (button.dataset.passkey === "confirm") {
      await ask("/api/auth/reauthenticate", { credential: await assertion() });
      button.dispatchEvent(new CustomEvent("answered", { bubbles: true }));
    } else {
      await ask("/api/auth/passkey/authenticate/verify", { credential: await assertion() });
      window.location.assign(button.dataset.next);
    }
  }

  document.addEventListener("click", async (event) => {
    const button = event.target.closest?.("[data-passkey]");
    if (!button) return;
    const note = (button.closest("dialog") ?? document).querySelector("[data-passkey-fault]");
    note.hidden = true;
    button.disabled = true;
    try {
      if (!window.PublicKeyCredential) throw new Error("This browser does not know passkeys. Use another way.");
      await act(button);
    } catch (error) {
      const isCancelled = error.name === "NotAllowedError";
      note.textContent = isCancelled ? "No passkey was used: cancelled, or none fits. Try again." : error.message;
      note.hidden = false;
    }
    button.disabled = false;
  });
})();
