// Line charts in SVG.

import { el, short, svg } from "./dom.js";

const [WIDTH, HEIGHT, LEFT, BELOW] = [260, 130, 44, 16];

/** A chart of named curves over the epochs; with `log`, on a logarithmic scale. */
export class Chart {
  constructor(title, { log = false, low = null, high = null } = {}) {
    Object.assign(this, { title, log, low, high });
    this.curves = new Map();
    this.picture = svg("svg", { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, role: "img", "aria-label": title });
    this.key = el("ul", { class: "key" });
    this.node = el("figure", { class: "chart" }, el("figcaption", {}, title), this.picture, this.key);
    this.draw();
  }

  clear() {
    this.curves.clear();
    this.draw();
  }

  add(name, epoch, value) {
    if (!this.curves.has(name)) this.curves.set(name, []);
    this.curves.get(name).push([epoch, value]);
  }

  draw() {
    const scale = (value) => (this.log ? Math.log10(Math.max(value, 1e-30)) : value);
    const drawn = [...this.curves].map(([name, points]) => [name, points.filter(([, value]) => value != null && (!this.log || value > 0))]);
    const values = drawn.flatMap(([, points]) => points.map(([, value]) => scale(value)));
    let [low, high] = [this.low ?? Math.min(...values), this.high ?? Math.max(...values)];
    if (!values.length) [low, high] = [0, 1];
    if (high - low < 1e-9) [low, high] = [low - 0.5, high + 0.5];
    const last = Math.max(1, ...drawn.flatMap(([, points]) => points.map(([epoch]) => epoch)));
    const x = (epoch) => LEFT + ((WIDTH - LEFT - 4) * epoch) / last;
    const y = (value) => 6 + (HEIGHT - BELOW - 8) * (1 - (scale(value) - low) / (high - low));
    const nodes = [svg("path", { class: "axis", d: `M${LEFT} 4V${HEIGHT - BELOW}H${WIDTH - 4}` })];
    for (const [at, value] of [[10, high], [HEIGHT - BELOW, low]]) {
      const shown = values.length ? short(this.log ? 10 ** value : value, 3) : "";
      nodes.push(svg("text", { x: LEFT - 4, y: at, "text-anchor": "end" }, shown));
    }
    nodes.push(svg("text", { x: WIDTH - 4, y: HEIGHT - 3, "text-anchor": "end" }, `epoch ${last}`));
    const items = drawn.map(([name, points], i) => {
      const colour = `var(--line-${i % 10})`;
      const path = svg("path", { d: points.map(([epoch, value], k) => `${k ? "L" : "M"}${x(epoch).toFixed(1)} ${y(value).toFixed(1)}`).join("") });
      const item = el("li", {}, points.length ? `${name} ${short(points.at(-1)[1], 3)}` : name);
      for (const node of [path, item]) node.style.setProperty("--colour", colour);
      nodes.push(path);
      return item;
    });
    this.picture.replaceChildren(...nodes);
    this.key.replaceChildren(...items);
  }
}
