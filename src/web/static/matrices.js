// Matrices of real numbers, shaded by their size.

import { el, short } from "./dom.js";

/** A matrix, or a vector as one row. `explain(row, column)` makes each number a button that shows how it comes about. */
export function matrix(caption, values, explain) {
  const rows = Array.isArray(values[0]) ? values : [values];
  const largest = Math.max(...rows.flat().map(Math.abs), 1e-300);
  const body = rows.map((row, i) => el("tr", {}, row.map((value, j) => {
    const text = short(value, 3);
    const inside = explain ? el("button", { type: "button", onclick: () => explain(i, j) }, text) : el("span", {}, text);
    const cell = el("td", { title: String(value), "data-value": value }, inside);
    cell.style.setProperty("--amount", Math.abs(value) / largest);
    cell.style.setProperty("--shade", value < 0 ? "var(--minus)" : "var(--plus)");
    return cell;
  })));
  const size = rows.length === 1 ? `${rows[0].length} numbers` : `${rows.length} × ${rows[0].length}`;
  return el("div", { class: "matrix" }, el("div", { class: "scroll", tabindex: 0, role: "group", "aria-label": `${caption}, ${size}` },
    el("table", {}, el("caption", {}, `${caption} (${size})`), el("tbody", {}, body))));
}

/** A sum of products, written out. */
export function sumOfProducts(name, left, right, last, result) {
  const written = (value) => (value < 0 ? `(${short(value, 3)})` : short(value, 3));
  const products = left.map((value, i) => `${written(value)} · ${written(right[i])}`);
  const sum = products.join(" + ") + (last == null ? "" : ` + ${written(last)}`);
  return `${name} = ${sum} = ${short(result, 4)}`;
}

/** The lines of code that computed something, and a link to them. */
export function code(lines) {
  const [file, line] = [lines.file, lines.line];
  return el("details", { class: "code" }, el("summary", {}, `The code: src/${file}, line ${line}`),
    el("pre", { tabindex: 0 }, lines.code), el("a", { href: `/source/${file}#L${line}`, target: "_blank", rel: "noopener" }, "in its file"));
}
