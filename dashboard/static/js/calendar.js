// Drag a fire to another slot of the calendar. The server works out the time, and says why if it cannot be.
(() => {
  "use strict";
  let entry = null, over = null;
  const on = (event, act) => document.addEventListener(event, act);
  const slotAt = (event) => (entry && event.target.closest?.("[data-slot]")) || null;

  function mark(slot) {
    over?.classList.remove("is-over");
    over = slot;
    over?.classList.add("is-over");
  }
  on("dragstart", (event) => {
    entry = event.target.closest?.("[data-nominal]") ?? null;
    if (!entry) return;
    event.dataTransfer.effectAllowed = "move";
    event.dataTransfer.setData("text/plain", entry.title);
    entry.classList.add("is-dragged");
  });
  on("dragover", (event) => {
    const slot = slotAt(event);
    if (slot) event.preventDefault();
    if (slot !== over) mark(slot);
  });
  on("drop", (event) => {
    const slot = slotAt(event);
    if (!slot) return;
    event.preventDefault();
    if (slot.contains(entry)) return;
    const form = document.getElementById("move");
    const { schedule, nominal, rev } = entry.dataset;
    for (const [name, value] of Object.entries({ schedule, nominal, rev, slot: slot.dataset.slot })) form.elements[name].value = value;
    form.requestSubmit();
  });
  on("dragend", () => {
    entry?.classList.remove("is-dragged");
    entry = null;
    mark(null);
  });
})();
