// Train live: menus, charts and the picture of what a small network learns.

import { listen } from "./api.js";
import { Chart } from "./charts.js";
import { byId, colour, el, field, percent, short } from "./dom.js";

const prefix = "train-";
const USUAL = { data: "moons", noise: 0.08, convolutions: 0, filters: 16, depth: 2, width: 16, activation: "tanh", init: "auto", normalization: "none", dropout: 0, residual: false,
  loss: "cross_entropy", optimizer: "adam", lr: 0.01, momentum: 0, schedule: "constant", batch_size: 32, epochs: 150, weight_decay: 0, clip_norm: "", seed: 0 };
const PROVOCATIONS = [
  ["Vanishing gradients", "Eight layers of sigmoids: each shrinks the gradient on its way back, and the first layers never learn.",
    { data: "digits", depth: 8, width: 32, activation: "sigmoid", init: "auto", optimizer: "sgd", lr: 0.05, normalization: "none", residual: false },
    "ReLUs instead of sigmoids", { activation: "relu" }, "Or batch normalization", { normalization: "batch_norm" }],
  ["An exploding loss", "Five layers without a bend, all rows in each step, and a learning rate that is too large: each step overshoots further.",
    { data: "digits", depth: 4, width: 32, activation: "identity", optimizer: "sgd", lr: 1, batch_size: 1500, clip_norm: "", normalization: "none" },
    "A smaller learning rate", { lr: 0.2 }, "Or clip the gradient", { clip_norm: 0.2 }],
  ["Dead ReLUs", "Large steps push units below zero for every row. Without a gradient they do not come back.",
    { data: "digits", depth: 2, width: 32, activation: "relu", optimizer: "sgd", lr: 2, batch_size: 16, clip_norm: "", normalization: "none" },
    "A smaller learning rate", { lr: 0.1 }, "Or clip the gradient", { clip_norm: 0.1 }],
];

export function startTraining({ menus }) {
  const form = byId("train-form");
  const charts = {
    loss: new Chart("Loss", { log: true }), accuracy: new Chart("Accuracy", { low: 0, high: 1 }),
    gradient_norm: new Chart("Gradient norms", { log: true }), dead_share: new Chart("Dead units", { low: 0, high: 1 }),
  };
  let running = null; // the AbortController of the training
  let begun = null; // its first event
  let frame = null; // the latest picture
  byId("charts").append(...Object.values(charts).map((chart) => chart.node));
  fill();

  function fill() {
    const slider = (name, label, min, max, step) => field(name, label, { prefix, type: "range", min, max, step, value: USUAL[name] });
    const number = (name, label, min, max) => field(name, label, { prefix, min, max, step: "any", value: USUAL[name] });
    const menu = (name, label, choices = menus[name]) => field(name, label, { prefix, choices, value: USUAL[name] });
    form.append(
      menu("data", "Data"), slider("convolutions", "Convolutions along the path, of digits", 0, 3, 1), slider("depth", "Hidden layers", 0, 10, 1), slider("width", "Units in each", 1, 64, 1), menu("activation", "Activation"),
      menu("optimizer", "Optimizer"), number("lr", "Learning rate", 0, 1000), slider("batch_size", "Batch size", 2, 1500, 2), slider("epochs", "Epochs", 10, 500, 10),
      el("details", {}, el("summary", {}, "More"), el("div", {},
        menu("init", "Initializer"), menu("normalization", "Normalization"), slider("filters", "Filters of a convolution", 1, 32, 1), slider("dropout", "Dropout", 0, 0.9, 0.05), slider("momentum", "Momentum of SGD and RMSProp", 0, 0.99, 0.01), field("residual", "Residual connections", { prefix, type: "checkbox" }),
        menu("loss", "Loss"), menu("schedule", "Schedule"), number("weight_decay", "Weight decay", 0, 10), number("clip_norm", "Clip the gradient's norm (empty: no)", 0, 1e6),
        slider("noise", "Noise of the points", 0, 0.5, 0.02), field("seed", "Seed", { prefix, min: 0, max: 1e9, step: 1, value: 0 }))),
    );
    byId("provocations").append(...PROVOCATIONS.map(([title, what, fault, cure, change, other, otherChange]) =>
      el("div", { class: "provocation" }, el("h4", {}, title), el("p", { class: "note" }, what), el("div", { class: "row" },
        el("button", { type: "button", class: "provoke", onclick: () => go({ ...USUAL, ...fault, epochs: 60 }) }, "Provoke it"),
        el("button", { type: "button", class: "cure", onclick: () => go({ ...USUAL, ...fault, epochs: 60, ...change }) }, cure),
        el("button", { type: "button", class: "cure", onclick: () => go({ ...USUAL, ...fault, epochs: 60, ...otherChange }) }, other)))));
  }

  function set(values) {
    for (const [name, value] of Object.entries(values)) {
      const control = form.elements[name];
      if (control.type === "checkbox") control.checked = value;
      else control.value = value;
      const shown = form.querySelector(`output[for="${prefix}${name}"]`);
      if (shown) shown.textContent = value;
    }
  }

  function settings() {
    const found = { residual: form.elements.residual.checked, pace: 0.03 };
    for (const name of ["data", "activation", "init", "normalization", "loss", "optimizer", "schedule"]) found[name] = form.elements[name].value;
    for (const name of ["convolutions", "filters", "momentum", "dropout", "lr", "batch_size", "epochs", "weight_decay", "noise", "seed"]) found[name] = Number(form.elements[name].value);
    if (found.data !== "digits") found.convolutions = 0; // points in the plane have no path
    found.clip_norm = form.elements.clip_norm.value === "" ? null : Number(form.elements.clip_norm.value);
    found.hidden_layers = Array(Number(form.elements.depth.value)).fill(Number(form.elements.width.value));
    return found;
  }

  function go(values) {
    set(values);
    start();
  }

  async function start() {
    running?.abort();
    const mine = running = new AbortController();
    for (const chart of Object.values(charts)) chart.clear();
    byId("stop").disabled = false;
    byId("start").textContent = "Start again";
    say("Starting ...");
    try {
      await listen("/train", settings(), mine.signal, (event, content) => { if (running === mine) handle(event, content); });
    } catch (error) {
      if (running === mine && error.name !== "AbortError") say(error.message);
    }
    if (running === mine) stop();
  }

  function stop() {
    running?.abort();
    running = null;
    byId("stop").disabled = true;
  }

  const say = (text) => { byId("training-status").textContent = text; };

  function handle(event, content) {
    if (event === "start") {
      begun = content;
      frame = content;
      byId("train").dataset.data = content.data;
      say(`${content.n_parameters.toLocaleString("en")} parameters`);
    } else if (event === "epoch") {
      frame = content;
      record(content);
      say(`Epoch ${content.epoch} of ${begun.epochs}: ${percent(content.val_accuracy)} of new rows right, loss ${short(content.val_loss, 3)}.`);
    } else if (event === "diverged") {
      say(content.message.replace(/^t/, "T"));
    } else {
      say(`${byId("training-status").textContent} Finished.`);
    }
    byId("train").dataset.epoch = content.epoch ?? 0;
    paint();
  }

  function record({ epoch, inside, ...found }) {
    for (const part of ["train", "val"]) {
      const name = part === "val" ? "new rows" : "training";
      charts.loss.add(name, epoch, found[`${part}_loss`]);
      charts.accuracy.add(name, epoch, found[`${part}_accuracy`]);
    }
    for (const { layer, quantity, value } of inside) charts[quantity]?.add(layer, epoch, value);
    for (const chart of Object.values(charts)) chart.draw();
  }

  function paint() {
    const canvas = byId("picture");
    const context = canvas.getContext("2d");
    context.clearRect(0, 0, canvas.width, canvas.height);
    if (!frame) return;
    const isToy = Boolean(frame.boundary);
    byId("picture-title").textContent = isToy ? "The plane, as the network divides it; the points it learns from" : "The first layer: the pen path that each unit answers to most";
    canvas.setAttribute("aria-label", `${byId("picture-title").textContent}, epoch ${frame.epoch ?? 0}`);
    if (isToy) paintPlane(context, canvas.width, begun, frame.boundary);
    else paintWeights(context, canvas.width, frame.weights);
  }

  byId("start").addEventListener("click", start);
  byId("stop").addEventListener("click", () => { stop(); say(`${byId("training-status").textContent} Stopped.`); });
  form.addEventListener("submit", (event) => event.preventDefault());
  form.addEventListener("change", () => { if (running) start(); });
  addEventListener("view", ({ detail }) => { if (detail !== "train") stop(); });
  new MutationObserver(paint).observe(document.documentElement, { attributes: true });
}

/** The probability of class 1 as shades, and the points. */
function paintPlane(context, side, { points, classes, grid }, boundary) {
  const [plus, minus, card] = ["plus", "minus", "card"].map(colour);
  const [n, low, high] = [grid.length, grid[0], grid.at(-1)];
  const small = Object.assign(el("canvas"), { width: n, height: n });
  const shades = small.getContext("2d");
  boundary.forEach((share, i) => {
    const p = share / 100;
    shades.fillStyle = p > 0.5 ? plus : minus;
    shades.globalAlpha = 1.1 * Math.abs(p - 0.5);
    shades.fillRect(i % n, n - 1 - Math.floor(i / n), 1, 1);
  });
  context.drawImage(small, 0, 0, side, side);
  const place = (value) => (side * (value - low)) / (high - low);
  points.forEach(([x, y], i) => {
    context.beginPath();
    context.arc(place(x), side - place(y), 5, 0, 2 * Math.PI);
    context.fillStyle = classes[i] ? plus : minus;
    context.fill();
    context.strokeStyle = card;
    context.stroke();
  });
}

/** Each unit's weights as a path of eight points, largest weights to one scale. */
function paintWeights(context, side, units) {
  const [text, accent] = ["text", "accent"].map(colour);
  const across = Math.ceil(Math.sqrt(units.length));
  const cell = side / across;
  const largest = Math.max(...units.flat(2).map((value) => Math.abs(value ?? 0)), 1e-12);
  units.forEach((path, i) => {
    const [left, top] = [(i % across) * cell + cell / 2, Math.floor(i / across) * cell + cell / 2];
    const at = ([x, y]) => [left + (0.42 * cell * x) / largest, top - (0.42 * cell * y) / largest];
    context.lineWidth = 3;
    context.lineJoin = context.lineCap = "round";
    context.strokeStyle = text;
    context.beginPath();
    path.forEach((point) => context.lineTo(...at(point)));
    context.stroke();
    context.beginPath();
    context.arc(...at(path[0]), 5, 0, 2 * Math.PI);
    context.fillStyle = accent;
    context.fill();
  });
}
