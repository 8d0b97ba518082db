// The page: its views, its theme, and what all views share.

import { get } from "./api.js";
import { startBreaking } from "./breaking.js";
import { byId } from "./dom.js";
import { startDrawing } from "./draw.js";
import { startKeeping } from "./keeping.js";
import { Pad } from "./pad.js";
import { startStepping } from "./stepping.js";
import { startTraining } from "./training.js";

const VIEWS = ["draw", "break", "step", "train"];
const THEMES = { auto: "Auto", light: "Light", dark: "Dark" };

/** Show the view that the address names, and scroll nowhere. */
function route() {
  const named = location.hash.slice(1);
  const shown = VIEWS.includes(named) ? named : "draw";
  for (const view of VIEWS) byId(view).hidden = view !== shown;
  byId("desk").hidden = shown === "train";
  document.body.dataset.view = shown;
  for (const link of document.querySelectorAll("nav a")) {
    if (link.hash === `#${shown}`) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
  dispatchEvent(new CustomEvent("view", { detail: shown }));
}

function startTheme() {
  const button = byId("theme");
  const names = Object.keys(THEMES);
  let chosen = localStorage.getItem("theme");
  function use(theme) {
    chosen = names.includes(theme) ? theme : "auto";
    document.documentElement.dataset.theme = chosen;
    localStorage.setItem("theme", chosen);
    button.textContent = THEMES[chosen];
    button.setAttribute("aria-label", `${THEMES[chosen]} theme`);
  }
  button.addEventListener("click", () => use(names[(names.indexOf(chosen) + 1) % names.length]));
  use(chosen);
}

async function start() {
  startTheme();
  const pad = new Pad();
  const model = await get("/model");
  startDrawing(pad);
  startKeeping(pad);
  startBreaking(pad, model);
  startStepping(pad, model);
  startTraining(model);
  const origin = model.origin === "split" ? `${model.n_training.toLocaleString("en")} pen-written digits` : "generated digits; `make run` fetches the real ones";
  byId("about").textContent =
    `The network has ${model.n_parameters.toLocaleString("en")} parameters and reads ${model.n_points} points of the pen's path. ` +
    `It is written in NumPy alone. It is compared with ${origin}.`;
  addEventListener("hashchange", route);
  route();
  document.body.dataset.ready = "yes";
}

start();
