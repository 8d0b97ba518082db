// Draw: probabilities, points, layers and neighbours of the drawing, live.

import { get, post } from "./api.js";
import { Bars } from "./bars.js";
import { byId, el, latest, percent, short } from "./dom.js";
import { SIDE } from "./pad.js";
import { penPath, showPoints } from "./paths.js";
import { Tiles } from "./tiles.js";

const WAITING = "Draw a digit: the network answers while you draw.";

export function startDrawing(pad) {
  let thought = null; // the server's latest answer
  let layers = [];
  let contributions = null; // of the drawing that is shown, once asked for
  let pointedAt = null; // a digit
  let unitAt = ""; // the layer and the place of a tile

  const bars = new Bars(byId("probabilities"), (digit) => {
    pointedAt = digit;
    points();
  });

  function points() {
    const shown = thought && byId("show-points").checked;
    if (!shown) pad.overlay.replaceChildren();
    else showPoints(pad.overlay, thought.points, pointedAt === null ? null : thought.towards[pointedAt], SIDE);
  }

  const addends = latest(async (place) => {
    if (!contributions) contributions = (await post("/contributions", { strokes: pad.ink })).contributions ?? [];
    if (contributions[place]) bars.addends(contributions[place]);
  });

  const addedTo = latest(async (number, unit) => {
    const { added } = await post("/added", { strokes: pad.ink, layer: number, unit });
    if (unitAt === `${number} ${unit}`) layers[number - 1].paint(added);
  });

  function pointAtTile(layer, place, text) {
    bars.addends(null);
    const number = layers.findIndex((tiles) => tiles.layer === layer);
    const unit = `${number} ${place}`;
    if (unit !== unitAt) {
      for (const tiles of layers) tiles.paint();
      unitAt = unit;
      if (number > 0 && pad.ink) addedTo(number, place).catch(() => {});
    }
    if (thought) bars.show(thought.probabilities);
    byId("readout").textContent = text ?? "\u00a0";
    if (layer && layer === layers.at(-2)?.layer) addends(place).catch(() => {});
  }

  function show(found) {
    thought = found;
    contributions = null;
    unitAt = "";
    byId("draw").classList.remove("empty");
    const confidence = percent(found.probabilities[found.digit]);
    byId("digit").textContent = found.unsure ? "?" : String(found.digit);
    byId("digit").classList.toggle("unsure", Boolean(found.unsure));
    byId("verdict").textContent = found.unsure
      ? `Unsure: ${found.unsure}. Its best guess is ${found.digit} with ${confidence}.`
      : `This is a ${found.digit}, ${confidence} sure.`;
    bars.show(found.probabilities);
    if (layers.length !== found.layers.length) {
      layers = found.layers.map((layer) => new Tiles(layer, pointAtTile));
      byId("layers").replaceChildren(...layers.map((tiles) => tiles.node));
    } else {
      found.layers.forEach((layer, i) => layers[i].update(layer));
    }
    byId("nearest").replaceChildren(...found.nearest.map(({ digit, writer, distance, strokes }) =>
      el("figure", {}, penPath(strokes, `a ${digit}`), el("figcaption", {}, el("b", {}, String(digit)), ` by writer ${writer}`, el("br"), `distance ${short(distance, 3)}`))));
    points();
  }

  function wait() {
    thought = contributions = null;
    byId("draw").classList.add("empty");
    byId("digit").textContent = "";
    byId("digit").classList.remove("unsure");
    byId("verdict").textContent = WAITING;
    bars.show(null);
    byId("nearest").replaceChildren();
    points();
  }

  const think = latest(async () => {
    const { ink: strokes, version } = pad;
    const found = strokes && await post("/think", { strokes });
    if (found && pad.ink) show(found);
    else wait();
    Object.assign(byId("verdict").dataset, { digit: found?.digit, version });
  });

  pad.onChange(() => think().catch(() => {}));
  byId("undo").addEventListener("click", () => pad.undo());
  byId("clear").addEventListener("click", () => pad.clear());
  byId("show-points").addEventListener("change", points);
  new MutationObserver(() => layers.forEach((tiles) => tiles.paint())).observe(document.documentElement, { attributes: true });
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => layers.forEach((tiles) => tiles.paint()));
  wait();
  startExamples(pad);
}

async function startExamples(pad) {
  let seed = 0;
  async function load() {
    const { examples } = await get(`/examples?seed=${seed}`);
    byId("examples").replaceChildren(...examples.map(({ digit, writer, strokes }) =>
      el("button", { type: "button", class: "example", "aria-label": `A ${digit} by writer ${writer}`, onclick: () => pad.replay(strokes) },
        penPath(strokes, ""))));
  }
  byId("more").addEventListener("click", () => { seed += 1; load(); });
  await load();
}
