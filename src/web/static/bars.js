// Ten bars, one for each digit.

import { el, percent } from "./dom.js";

/** Bars of probabilities; `point` is called with a digit, or null, when somebody points at its bar or leaves it. */
export class Bars {
  constructor(place, point) {
    this.rows = Array.from({ length: 10 }, (_, digit) => {
      const fill = el("span", { class: "fill" });
      const share = el("span", { class: "share" });
      const attributes = { class: "bar" };
      if (point) {
        Object.assign(attributes, { type: "button", "aria-pressed": "false" });
        for (const enter of ["mouseenter", "focus"]) attributes[`on${enter}`] = () => point(digit);
        for (const leave of ["mouseleave", "blur"]) attributes[`on${leave}`] = () => point(null);
      }
      const row = el(point ? "button" : "div", attributes, el("span", { class: "of" }, String(digit)), el("span", { class: "track" }, fill), share);
      return { row, fill, share };
    });
    place.replaceChildren(...this.rows.map(({ row }) => row));
    this.show(null);
  }

  show(probabilities) {
    const best = probabilities ? Math.max(...probabilities) : 2;
    this.rows.forEach(({ row, fill, share }, digit) => {
      const p = probabilities?.[digit] ?? 0;
      fill.style.setProperty("--share", p);
      share.textContent = probabilities ? percent(p) : "";
      row.classList.toggle("best", p === best);
    });
  }

  /** Instead of probabilities: what a unit adds to each logit. */
  addends(values) {
    const largest = values ? Math.max(...values.map(Math.abs), 1e-12) : 1;
    this.rows.forEach(({ row, share }, digit) => {
      row.classList.toggle("plus", Boolean(values) && values[digit] > 0.3 * largest);
      row.classList.toggle("minus", Boolean(values) && values[digit] < -0.3 * largest);
      if (values) share.textContent = `${values[digit] < 0 ? "−" : "+"}${Math.abs(values[digit]).toFixed(3)}`;
    });
  }
}
