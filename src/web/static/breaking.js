// Break it: switches, and what they cost.

import { post } from "./api.js";
import { Bars } from "./bars.js";
import { byId, el, field, latest, percent, short } from "./dom.js";

const MEASURES = [
  ["accuracy", "of 500 digits right", percent],
  ["loss", "loss, the mean of −log p of the true digit", (value) => short(value, 3)],
  ["confidence", "mean confidence", percent],
  ["ece", "calibration error: confidence against accuracy", percent],
];

export function startBreaking(pad, model) {
  const form = byId("switches");
  const broken = new Bars(byId("broken-bars"));
  const whole = new Bars(byId("whole-bars"));
  form.append(
    field("zeroed", "Zero a layer", { choices: ["none", ...model.menus.zeroed] }),
    field("noise", "Noise on the weights", { type: "range", min: 0, max: 2, step: 0.05, value: 0 }),
    field("drop_biases", "Drop all biases", { type: "checkbox" }),
    field("shuffle_points", "Shuffle the points", { type: "checkbox" }),
    field("no_temperature", `No temperature (T = ${short(model.temperature, 3)} now)`, { type: "checkbox" }),
    el("button", { type: "reset", class: "mend" }, "Mend all"),
  );

  function switches() {
    const layer = form.elements.zeroed.value;
    return {
      zeroed: layer === "none" ? "" : layer,
      noise: Number(form.elements.noise.value),
      drop_biases: form.elements.drop_biases.checked,
      shuffle_points: form.elements.shuffle_points.checked,
      no_temperature: form.elements.no_temperature.checked,
    };
  }

  function show({ measured, whole: unbroken }) {
    byId("broken").replaceChildren(...MEASURES.map(([name, label, write]) =>
      el("div", { class: "measure", "data-measure": name }, el("b", {}, write(measured[name])), el("span", {}, label), el("span", {}, `whole: ${write(unbroken[name])}`))));
  }

  const update = latest(async () => {
    if (byId("break").hidden) return;
    const strokes = pad.ink;
    const asked = switches();
    const found = await post("/break", { switches: asked, strokes });
    show(found);
    broken.show(found.probabilities ?? null);
    whole.show(strokes ? (await post("/break", { strokes })).probabilities : null);
    form.dataset.shown = JSON.stringify(asked);
  });
  const safely = () => update().catch(() => {});
  form.addEventListener("input", safely);
  form.addEventListener("submit", (event) => event.preventDefault());
  form.addEventListener("reset", () => setTimeout(() => {
    for (const output of form.querySelectorAll("output")) output.textContent = "0";
    safely();
  }));
  pad.onChange(safely);
  addEventListener("view", safely);
}
