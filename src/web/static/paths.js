// Digits as paths of the pen: dark where they begin, bright where they end.

import { svg } from "./dom.js";

const COLOURS = 24; // classes pen-0 to pen-23 of the style sheet

/** A small picture of strokes that go from -1 to 1, y upwards. */
export function penPath(strokes, label) {
  const total = strokes.reduce((sum, stroke) => sum + stroke.length, 0);
  const lines = [];
  let done = 0;
  for (const stroke of strokes) {
    for (let i = 1; i < stroke.length; i += 1) {
      const [[x1, y1], [x2, y2]] = [stroke[i - 1], stroke[i]];
      const colour = Math.min(Math.floor((COLOURS * (done + i)) / total), COLOURS - 1);
      lines.push(svg("line", { x1, y1: -y1, x2, y2: -y2, class: `pen-${colour}` }));
    }
    done += stroke.length;
  }
  const [x, y] = strokes[0][0];
  const start = svg("circle", { cx: x, cy: -y, r: 0.11, class: "pen-0 dot" });
  const told = label ? { role: "img", "aria-label": label } : { "aria-hidden": "true" };
  return svg("svg", { viewBox: "-1.3 -1.3 2.6 2.6", class: "pen-path", ...told }, start, lines);
}

const round = (value) => Math.round(value * 10) / 10;

/** The numbered points that the network sees, and an arrow at each, over the pad. */
export function showPoints(overlay, points, arrows, side) {
  const nodes = [];
  const longest = arrows ? Math.max(...arrows.map(([x, y]) => Math.hypot(x, y)), 1e-12) : 1;
  points.forEach(([x, up], i) => {
    const y = side - up;
    if (arrows) {
      const [dx, dy] = arrows[i].map((part) => (150 * part) / longest);
      const attributes = { x1: round(x), y1: round(y), x2: round(x + dx), y2: round(y - dy) };
      nodes.push(svg("line", { ...attributes, class: "arrow" }));
      nodes.push(svg("circle", { cx: round(x + dx), cy: round(y - dy), r: 9, class: "arrow-head" }));
    }
    nodes.push(svg("circle", { cx: round(x), cy: round(y), r: 24, class: "point" }));
    nodes.push(svg("text", { x: round(x), y: round(y + 10) }, String(i + 1)));
  });
  overlay.replaceChildren(...nodes);
}
