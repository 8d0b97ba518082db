// The outputs of a layer as tiles on a canvas.

import { colour, el, short } from "./dom.js";

const PER_ROW = 64; // units of a dense layer

/** One layer: a caption and its tiles. `point` is called with (layer, place, text) and with null. */
export class Tiles {
  constructor(layer, point) {
    this.canvas = el("canvas", { role: "img", tabindex: 0 });
    this.caption = el("figcaption");
    this.node = el("figure", { class: "layer" }, this.caption, this.canvas);
    for (const kind of ["pointermove", "pointerdown"]) {
      this.canvas.addEventListener(kind, (event) => {
        const place = this.placeAt(event);
        if (place !== null) point(this.layer, place, this.text(place));
      });
    }
    for (const kind of ["pointerleave", "blur"]) this.canvas.addEventListener(kind, () => point(null));
    let chosen = null; // with the keyboard
    this.canvas.addEventListener("keydown", (event) => {
      const step = { ArrowLeft: -1, ArrowRight: 1, ArrowUp: -this.size[0], ArrowDown: this.size[0] }[event.key];
      if (!step) return;
      event.preventDefault();
      const place = chosen === null ? 0 : chosen + step;
      if (place >= 0 && place < this.layer.values.length) chosen = place;
      point(this.layer, chosen, this.text(chosen));
    });
    this.update(layer);
  }

  /** Columns and rows: filters across and the path's points down; dense layers in rows of 64. */
  get size() {
    const [steps, channels] = this.layer.shape;
    if (channels) return [channels, steps];
    const across = Math.min(steps, PER_ROW);
    return [across, Math.ceil(steps / across)];
  }

  get name() {
    const { kind, shape } = this.layer;
    if (kind === "logits") return "the logits of the digits 0 to 9";
    return shape.length > 1 ? `${kind}: ${shape[1]} filters across, the path's ${shape[0]} points down` : `${kind}: ${shape[0]} units`;
  }

  text(place) {
    const value = short(this.layer.values[place]);
    const [across] = this.size;
    if (this.layer.kind === "logits") return `logit of ${place}: ${value}`;
    const where = this.layer.shape.length > 1 ? `filter ${place % across} at point ${Math.floor(place / across) + 1}` : `unit ${place}`;
    return `${this.layer.name}, ${where}: ${value}`;
  }

  placeAt(event) {
    const { left, top, width, height } = this.canvas.getBoundingClientRect();
    const [across, down] = this.size;
    const column = Math.floor((across * (event.clientX - left)) / width);
    const row = Math.floor((down * (event.clientY - top)) / height);
    const place = row * across + column;
    return column >= 0 && column < across && row >= 0 && place < this.layer.values.length ? place : null;
  }

  update(layer) {
    this.layer = layer;
    this.caption.textContent = `${layer.name} · ${this.name}`;
    const largest = layer.values.reduce((best, value, i) => (Math.abs(value) > Math.abs(layer.values[best]) ? i : best), 0);
    this.canvas.setAttribute("aria-label", `${this.caption.textContent}. Strongest: ${this.text(largest)}`);
    this.paint();
  }

  /** The outputs, or in their place what each of them adds to a unit of the next layer. */
  paint(values = this.layer.values) {
    const [across, down] = this.size;
    const side = this.layer.kind === "logits" ? 40 : 20;
    Object.assign(this.canvas, { width: across * side, height: down * side });
    this.canvas.style.aspectRatio = `${across} / ${down}`;
    this.canvas.style.maxWidth = `${across * (this.layer.kind === "logits" ? 2.4 : 1)}rem`;
    paintTiles(this.canvas, values, across, side);
  }
}

/** Squares of values: blue above 0, orange below, stronger the larger. */
export function paintTiles(canvas, values, across, side) {
  const [plus, minus, empty] = ["plus", "minus", "empty"].map(colour);
  const context = canvas.getContext("2d");
  const largest = Math.max(...values.map(Math.abs), 1e-12);
  context.clearRect(0, 0, canvas.width, canvas.height);
  values.forEach((value, i) => {
    const [x, y] = [(i % across) * side, Math.floor(i / across) * side];
    const draw = (colour, alpha) => {
      context.globalAlpha = alpha;
      context.fillStyle = colour;
      context.fillRect(x + 1, y + 1, side - 2, side - 2);
    };
    draw(empty, 1);
    draw(value > 0 ? plus : minus, Math.abs(value) / largest);
  });
  context.globalAlpha = 1;
}
