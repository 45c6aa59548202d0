// Small things of every page: times in the reader's zone with the exact instant on hover, and dialogs that open and
// close by buttons (`data-open`, `data-close`).
"use strict";

document.querySelectorAll("time[datetime]").forEach((time) => {
  const at = new Date(time.dateTime);
  time.textContent = at.toLocaleString([], { dateStyle: "medium", timeStyle: "short" });
  time.title = at.toISOString();
});

document.addEventListener("click", (event) => {
  const opener = event.target.closest?.("[data-open]");
  if (opener) document.getElementById(opener.dataset.open).showModal();
  if (event.target.closest?.("[data-close]")) event.target.closest("dialog").close();
});
