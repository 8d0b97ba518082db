// Step through: one digit forward and backward through a small network, in numbers.

import { post } from "./api.js";
import { byId, el, field, latest, percent, short } from "./dom.js";
import { formula } from "./mathml.js";
import { code, matrix, sumOfProducts } from "./matrices.js";

const LETTERS = { eps: "ε", rho: "ρ", weight_decay: "λ" };
const BY_ROOT = "θ_new = θ − η · g//√s~+~ε";
const FIRST_STEPS = { // averages start with this gradient, g
  sgd: ["θ_new = θ − η · g"],
  adagrad: ["s = g^2", BY_ROOT],
  rmsprop: ["s = ( 1 − ρ ) · g^2", BY_ROOT],
  adam: ["m̂ = g", "v̂ = g^2", "θ_new = θ − η · m̂//√v̂~+~ε"],
  adamw: ["m̂ = g", "v̂ = g^2", "θ_new = θ − η · λ · θ − η · m̂//√v̂~+~ε"],
  lion: ["θ_new = θ − η · sign ( g )"],
};

const column = (table, j) => table.map((row) => row[j]);

/** A step: its title, its formula, its matrices and its code. `forth` is forward, `back` backward. */
function step(way, title, formulas, matrices, lines, note) {
  const worked = el("p", { class: "worked", "aria-live": "polite", hidden: true });
  const explained = (text) => { worked.hidden = false; worked.textContent = text; };
  return el("li", { class: `step ${way}` }, el("h3", {}, title), formulas.map(formula), note ? el("p", { class: "note" }, note) : null,
    el("div", { class: "matrices" }, matrices(explained)), worked, lines.map(code));
}

function forward(layer, i) {
  if (layer.W) {
    return step("forth", `${layer.name}: forward`, ["z = x W + b"], (say) => [
      matrix("x", layer.x), matrix("W", layer.W), matrix("b", layer.b),
      matrix("z", layer.y, (_, j) => say(sumOfProducts(`z${j + 1}`, layer.x, column(layer.W, j), layer.b[j], layer.y[j]))),
    ], [layer.forward]);
  }
  const name = layer.formula ? `Here ${layer.formula}, each number by itself.` : null;
  return step("forth", `${layer.name}: forward`, ["a = f ( z )"], (say) => [
    matrix("z", layer.x), matrix("a", layer.y, (_, j) => say(`a${j + 1} = f(${short(layer.x[j])}) = ${short(layer.y[j])}`)),
  ], [layer.forward], name);
}

function backward(layer) {
  if (layer.W) {
    return step("back", `${layer.name}: backward`, ["d(L/W) = x^T d(L/z)", "d(L/b) = d(L/z)", "d(L/x) = d(L/z) W^T"], (say) => [
      matrix("∂L/∂z", layer.dy),
      matrix("∂L/∂W", layer.dW), matrix("∂L/∂b", layer.db),
      matrix("∂L/∂x", layer.dx, (_, i) => say(sumOfProducts(`∂L/∂x${i + 1}`, layer.dy, layer.W[i], null, layer.dx[i]))),
    ], [layer.backward]);
  }
  return step("back", `${layer.name}: backward`, ["d(L/z) = d(L/a) ⊙ f′ ( z )"], (say) => [
    matrix("∂L/∂a", layer.dy),
    matrix("∂L/∂z", layer.dx, (_, j) => say(`∂L/∂z${j + 1} = ${short(layer.dy[j])} · f′(${short(layer.x[j])}) = ${short(layer.dx[j])}`)),
  ], [layer.backward]);
}

function ends(found, truth) {
  const { probabilities: p, logits: z, d_logits: d } = found;
  return [
    step("forth", "Softmax: logits become probabilities", ["p_k = e^z_k//∑_j~e^z_j"], () => [matrix("z, the logits", z), matrix("p", p)], [found.code.softmax],
      `The network's answer is ${p.indexOf(Math.max(...p))}, with ${percent(Math.max(...p))}.`),
    step("forth", `Loss: the truth is ${truth}`, ["L = − log p_t"], () => [], [found.code.loss],
      `L = −log ${short(p[truth])} = ${short(found.loss, 5)}`),
    step("back", "The gradient of the logits", ["d(L/z_k) = p_k − [ k = t ]"], (say) => [
      matrix("∂L/∂z", d, (_, k) => say(`∂L/∂z${k} = ${short(p[k])} − ${k === truth ? 1 : 0} = ${short(d[k])}`)),
    ], [found.code.d_logits]),
  ];
}

function optimizer(found, truth, name, lr) {
  const { after } = found;
  const parts = Object.entries(after.parameters).flatMap(([layer, arrays]) =>
    Object.entries(arrays).filter(([key]) => key.startsWith("change_")).map(([key, values]) => matrix(`change of ${layer}.${key.slice(7)}`, values)));
  const note = `After one step the loss is ${short(after.loss, 5)} instead of ${short(found.loss, 5)}, and the probability of ${truth} ` +
    `${percent(after.probabilities[truth], 2)} instead of ${percent(found.probabilities[truth], 2)}. No parameter moved by more than ${short(after.largest_change)}.`;
  const formulas = ["g = d(L/θ)", ...(FIRST_STEPS[name] ?? ["θ_new = θ + Δθ"])];
  const written = formulas.join();
  const constants = Object.entries(LETTERS).filter(([, letter]) => written.includes(letter)).map(([key, letter]) =>
    `, ${letter} = ${found.constants[key]}${letter === "λ" ? " for weights, 0 for biases" : ""}`);
  return step("forth", `The optimizer's first step: ${name}, η = ${lr}${constants.join("")}`, formulas, () => parts, [found.code.optimizer], note);
}

export function startStepping(pad, model) {
  const form = byId("step-form");
  const prefix = "step-";
  form.append(
    field("truth", "The truth", { prefix, choices: [...Array(10).keys()], value: 7 }),
    field("width", "Hidden units", { prefix, type: "range", min: 2, max: 12, step: 1, value: 6 }),
    field("depth", "Hidden layers", { prefix, choices: [1, 2, 3] }),
    field("activation", "Activation", { prefix, choices: model.menus.activation, value: "relu" }),
    field("epochs", "Trained before, epochs", { prefix, choices: [0, 1, 5, 20] }),
    field("optimizer", "Optimizer", { prefix, choices: model.menus.optimizer, value: "sgd" }),
    field("lr", "Learning rate η", { prefix, min: 0.0001, max: 10, step: "any", value: 0.1 }),
  );

  function asked() {
    const value = (name) => form.elements[name].value;
    const hidden_layers = Array(Number(value("depth"))).fill(Number(value("width")));
    const network = { hidden_layers, activation: value("activation"), epochs: Number(value("epochs")) };
    return { strokes: pad.ink, truth: Number(value("truth")), network, optimizer: value("optimizer"), lr: Number(value("lr")) };
  }

  const update = latest(async () => {
    if (byId("step").hidden) return;
    const body = asked();
    if (!body.strokes) {
      byId("steps").replaceChildren(el("li", { class: "note" }, "Draw a digit, or take a stranger's."));
      return;
    }
    const found = await post("/step", body);
    const { layers } = found;
    byId("steps").replaceChildren(
      step("forth", "What the network reads", ["x = ( x_1 , y_1 , … , x_8 , y_8 )"], () => [matrix("x", found.x)], [],
        "Eight points of the pen's path, each axis stretched from −1 to 1."),
      ...layers.map(forward),
      ...ends(found, body.truth),
      ...layers.toReversed().map(backward),
      optimizer(found, body.truth, body.optimizer, body.lr),
    );
    byId("steps").dataset.loss = found.loss;
  });
  let soon = 0;
  const later = () => { clearTimeout(soon); soon = setTimeout(() => update().catch(() => {}), 120); };
  form.addEventListener("input", later);
  form.addEventListener("submit", (event) => event.preventDefault());
  pad.onChange(later);
  addEventListener("view", later);
}
