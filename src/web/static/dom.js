// Elements, and numbers as text.

const SVG = "http://www.w3.org/2000/svg";
const MATH = "http://www.w3.org/1998/Math/MathML";

function made(node, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else if (value === true) node.setAttribute(name, "");
    else if (value !== false && value != null) node.setAttribute(name, value);
  }
  node.append(...children.flat().filter((child) => child != null));
  return node;
}

export const el = (tag, attributes = {}, ...children) => made(document.createElement(tag), attributes, children);
export const svg = (tag, attributes = {}, ...children) => made(document.createElementNS(SVG, tag), attributes, children);
export const math = (tag, attributes = {}, ...children) => made(document.createElementNS(MATH, tag), attributes, children);
export const byId = (id) => document.getElementById(id);

/** A number in few characters: four significant digits, small and large ones with a power of ten. */
export function short(value, digits = 4) {
  if (value == null) return "not finite";
  const size = Math.abs(value);
  if (value === 0) return "0";
  if (size < 1e-3 || size >= 1e5) return value.toExponential(digits - 2).replace("-", "−").replace("e+", "e");
  return value.toPrecision(digits).replace("-", "−");
}

export function percent(share, digits = 1) {
  const most = 1 - 0.5 * 10 ** (-2 - digits); // what is nearly all is not all
  return share > most && share < 1 ? `> ${(100 - 10 ** -digits).toFixed(digits)} %` : `${(100 * share).toFixed(digits)} %`;
}

/** A colour of the style sheet, such as "plus", as a canvas understands it. */
export function colour(name) {
  const probe = el("span");
  probe.style.color = `var(--${name})`;
  document.body.append(probe);
  const found = getComputedStyle(probe).color;
  probe.remove();
  return found;
}

/** Call a function with the latest arguments, one call at a time; those in between are left out, and their errors. */
export function latest(work) {
  let busy = false;
  let waiting = null;
  return async function call(...given) {
    waiting = given;
    if (busy) return;
    busy = true;
    try {
      while (waiting) {
        const now = waiting;
        waiting = null;
        try {
          await work(...now);
        } catch (error) {
          if (!waiting) throw error; // or newer arguments may do
        }
      }
    } finally {
      busy = false;
    }
  };
}

/** A labelled control: a menu of choices, a slider, a check box or a number. */
export function field(name, label, options) {
  const id = `${options.prefix ?? ""}${name}`;
  let control;
  if (options.choices) {
    control = el("select", { id, name }, options.choices.map((choice) => el("option", { value: choice }, String(choice))));
    control.value = options.value ?? options.choices[0];
  } else if (options.type === "checkbox") {
    control = el("input", { id, name, type: "checkbox", checked: Boolean(options.value) });
    return el("label", { class: "check", for: id }, control, ` ${label}`);
  } else {
    const { min, max, step, value, type = "number" } = options;
    control = el("input", { id, name, type, min, max, step, value, autocomplete: "off" });
  }
  const shown = options.type === "range" ? el("output", { for: id }, String(options.value)) : null;
  if (shown) control.addEventListener("input", () => { shown.textContent = control.value; });
  return el("div", { class: "field" }, el("label", { for: id }, label, shown ? " " : null, shown), control);
}
