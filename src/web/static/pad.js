// The drawing pad: strokes by mouse, finger, pen or keyboard.

import { byId, svg } from "./dom.js";

export const SIDE = 1000;
const STEP = 40; // of an arrow key
const CLOSE = 3; // points nearer to the last one are left out

/** What is drawn. Listeners are called after every change. */
export class Pad {
  constructor() {
    this.node = byId("pad");
    this.strokes = []; // lists of [x, y], y downwards as on the screen
    this.listeners = [];
    this.version = 0; // the number of changes
    this.pen = null; // the pointer that draws
    this.cursor = [SIDE / 2, SIDE / 2];
    this.down = false; // the keyboard's pen
    this.guides = svg("g", { class: "guides", "aria-hidden": "true" });
    this.lines = svg("g", { class: "ink" });
    this.overlay = svg("g", { class: "overlay", "aria-hidden": "true" });
    this.mark = svg("circle", { class: "cursor", r: 14, visibility: "hidden" });
    for (const at of [250, 500, 750]) {
      this.guides.append(svg("path", { d: `M${at} 0V${SIDE}M0 ${at}H${SIDE}` }));
    }
    this.node.append(this.guides, this.lines, this.overlay, this.mark);
    this.node.addEventListener("pointerdown", (event) => this.begin(event));
    this.node.addEventListener("pointermove", (event) => this.move(event));
    for (const end of ["pointerup", "pointercancel"]) this.node.addEventListener(end, (event) => this.end(event));
    this.node.addEventListener("keydown", (event) => this.key(event));
    this.node.addEventListener("blur", () => { this.down = false; this.mark.setAttribute("visibility", "hidden"); });
  }

  /** The strokes as the server reads them, y upwards; null if there is no path yet. */
  get ink() {
    const points = this.strokes.flat();
    if (!points.some(([x, y]) => x !== points[0][0] || y !== points[0][1])) return null;
    return this.strokes.map((stroke) => stroke.map(([x, y]) => [x, SIDE - y]));
  }

  onChange(listener) {
    this.listeners.push(listener);
  }

  changed() {
    this.node.dataset.version = this.version += 1;
    byId("invite").hidden = this.strokes.length > 0;
    for (const listener of this.listeners) listener(this);
  }

  at(event) {
    const { left, top, width, height } = this.node.getBoundingClientRect();
    const inside = (value) => Math.min(Math.max(Math.round(10 * value) / 10, 0), SIDE);
    return [inside((SIDE * (event.clientX - left)) / width), inside((SIDE * (event.clientY - top)) / height)];
  }

  begin(event) {
    if (this.pen !== null || event.button > 0) return;
    event.preventDefault();
    this.node.focus({ preventScroll: true });
    this.stopReplay();
    if (this.ofOthers) this.clear();
    this.pen = event.pointerId;
    this.node.setPointerCapture(event.pointerId);
    this.startStroke(this.at(event));
  }

  move(event) {
    if (event.pointerId !== this.pen) return;
    const events = event.getCoalescedEvents?.() ?? [];
    for (const each of events.length ? events : [event]) this.extend(this.at(each));
    this.changed();
  }

  end(event) {
    if (event.pointerId !== this.pen) return;
    if (event.type === "pointerup") this.extend(this.at(event)); // the last move may be missing
    this.pen = null;
    this.changed();
  }

  startStroke(point) {
    this.strokes.push([point]);
    this.lines.append(svg("polyline", {}));
    this.draw();
    this.changed();
  }

  extend(point) {
    const stroke = this.strokes.at(-1);
    const [x, y] = stroke.at(-1);
    if (Math.hypot(point[0] - x, point[1] - y) < CLOSE || stroke.length >= 5000) return;
    stroke.push(point);
    this.draw();
  }

  draw() {
    const stroke = this.strokes.at(-1);
    const points = stroke.length > 1 ? stroke : [stroke[0], stroke[0]];
    this.lines.lastChild.setAttribute("points", points.map((point) => point.join()).join(" "));
  }

  key(event) {
    const ways = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
    const way = ways[event.key];
    if (way) {
      this.cursor = this.cursor.map((value, axis) => Math.min(Math.max(value + STEP * way[axis], 0), SIDE));
      if (this.down) {
        this.extend(this.cursor);
        this.changed();
      }
    } else if (event.key === " ") {
      this.down = !this.down;
      if (this.down) this.startStroke(this.cursor);
    } else if (event.key === "Backspace") {
      this.undo();
    } else if (event.key === "Escape") {
      this.clear();
    } else {
      return;
    }
    event.preventDefault();
    this.mark.setAttribute("cx", this.cursor[0]);
    this.mark.setAttribute("cy", this.cursor[1]);
    this.mark.setAttribute("visibility", "visible");
    this.mark.classList.toggle("down", this.down);
  }

  undo() {
    this.stopReplay();
    this.down = false;
    this.strokes.pop();
    this.lines.lastChild?.remove();
    this.changed();
  }

  clear() {
    this.stopReplay();
    this.down = this.ofOthers = false;
    this.strokes = [];
    this.lines.replaceChildren();
    this.changed();
  }

  stopReplay() {
    cancelAnimationFrame(this.replaying);
  }

  /** Write a digit, whose strokes go from -1 to 1 with y upwards, as its writer did; at once if motion is reduced. */
  replay(strokes) {
    this.clear();
    this.ofOthers = true; // who draws over it begins a digit of their own
    const placed = strokes.map((stroke) => stroke.map(([x, y]) => [SIDE / 2 + 380 * x, SIDE / 2 - 380 * y]));
    const points = placed.flatMap((stroke) => stroke.map((point, i) => [point, i === 0]));
    const atOnce = matchMedia("(prefers-reduced-motion: reduce)").matches ? points.length : 2;
    const go = () => {
      for (const [point, first] of points.splice(0, atOnce)) {
        if (first) this.startStroke(point);
        else this.extend(point);
      }
      this.changed();
      if (points.length) this.replaying = requestAnimationFrame(go);
    };
    go();
  }
}
