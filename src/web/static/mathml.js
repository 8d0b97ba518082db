// Formulas in MathML, from short words: "p_k" is p with the index k, "d(L/z)" the derivative of L by z.

import { math } from "./dom.js";

const OPERATORS = new Set(["=", "+", "−", "·", "(", ")", ",", "∑", "log", "sign", "[", "]", "⊙"]);

function token(word) {
  const derivative = word.match(/^d\((.+)\/(.+)\)$/);
  if (derivative) {
    const [above, below] = derivative.slice(1).map((part) => math("mrow", {}, math("mo", {}, "∂"), token(part)));
    return math("mfrac", {}, above, below);
  }
  const fraction = word.match(/^(.+)\/\/(.+)$/);
  if (fraction) return math("mfrac", {}, ...fraction.slice(1).map((part) => math("mrow", {}, part.split("~").map(token))));
  if (word.startsWith("√")) return math("msqrt", {}, token(word.slice(1)));
  const raised = word.match(/^(.+)\^(.+)$/);
  if (raised) return math("msup", {}, token(raised[1]), token(raised[2]));
  const indexed = word.match(/^(.+?)_(.+)$/);
  if (indexed) return math(indexed[1] === "∑" ? "munder" : "msub", {}, token(indexed[1]), token(indexed[2]));
  if (OPERATORS.has(word)) return math("mo", {}, word);
  return /^[0-9.]+$/.test(word) ? math("mn", {}, word) : math("mi", {}, word);
}

/** A formula on a line of its own. */
export function formula(text) {
  return math("math", { display: "block", "aria-label": text.replaceAll("~", " ") }, math("mrow", {}, text.split(" ").map(token)));
}
