// What was it? Labelled drawings, kept on this computer.

import { get, post, remove } from "./api.js";
import { byId, el } from "./dom.js";

export async function startKeeping(pad) {
  const consent = byId("consent");
  const buttons = Array.from({ length: 10 }, (_, digit) =>
    el("button", { type: "button", onclick: () => keep(digit), "aria-label": `This was a ${digit}` }, String(digit)));
  byId("labels").append(...buttons);

  function show({ total, counts, path, command }, said = "") {
    const each = counts.map((count, digit) => (count ? `${count} × ${digit}` : "")).filter(Boolean).join(", ");
    byId("kept").textContent = `${said}${total} drawings are kept${each ? `: ${each}` : ""}.`;
    byId("keep-path").textContent = path;
    byId("keep-training").hidden = !total;
    byId("keep-command").textContent = command;
  }

  function allow() {
    for (const button of buttons) button.disabled = !(consent.checked && pad.ink);
  }

  async function keep(digit) {
    show(await post("/drawings", { strokes: pad.ink, digit, consent: consent.checked }), `Kept as a ${digit}. `);
    pad.clear();
  }

  byId("forget").addEventListener("click", async () => {
    if (confirm("Delete all drawings that are kept?")) show(await remove("/drawings"), "Deleted. ");
  });
  consent.addEventListener("change", allow);
  pad.onChange(allow);
  allow();
  show(await get("/drawings"));
}
