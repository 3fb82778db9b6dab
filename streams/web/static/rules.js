// Zones and lines of the large camera: the list of them, and drawing them on the picture.

import { Refused, rulesOf, watchFor } from "./api.js";
import { $, element, say, toast } from "./dom.js";
import { Shape } from "./shape.js";

const SETS = { zone: "zones", line: "lines" };
const HINTS = {
  zone: "Put the corners of the zone; the first one closes it.",
  line: "Put the two ends of the line.",
  whole: "Corners can be moved. Give it a name and save.",
};
const round = (value) => Math.round(value * 1e4) / 1e4;

/** Tells `drawing` when drawing begins or ends, and `refused` with a reason that is a password's. */
export class Rules extends EventTarget {
  #stage;
  #camera = null;
  #rules = {};
  #watched = ""; // the names of what the server watches
  #counts = new Map(); // where each is counted
  #name = null; // what is changed was called so; null where it is new

  constructor(stage) {
    super();
    this.#stage = stage;
    stage.addEventListener("shape", () => this.#tell());
    $("draw-zone").addEventListener("click", () => this.draw("zone"));
    $("draw-line").addEventListener("click", () => this.draw("line"));
    $("drawing").addEventListener("submit", (event) => { event.preventDefault(); this.#save(); });
    $("drawn-undo").addEventListener("click", () => { stage.shape?.undo(); this.#tell(); });
    $("drawn-cancel").addEventListener("click", () => this.stop());
    $("drawn-delete").addEventListener("click", () => this.#remove());
  }

  get drawing() {
    return this.#stage.shape !== null;
  }

  /** Whether zones and lines can be drawn here. */
  get possible() {
    return !$("rules").hidden;
  }

  /** Show those of a camera, where it tells them. */
  async load(camera) {
    if (camera !== this.#camera) this.stop();
    this.#camera = camera;
    const rules = await rulesOf(camera).catch(() => null);
    if (camera !== this.#camera) return;
    $("rules").hidden = rules === null;
    this.#rules = rules ?? {};
    this.#list();
  }

  /** What the server watches in a frame, and counts there. */
  update(watched) {
    const names = watched.map(({ kind, name }) => `${kind} ${name}`).join();
    if (names !== this.#watched) {
      this.#watched = names;
      if (!this.drawing && this.#camera) this.load(this.#camera);
    }
    for (const { kind, name, counts } of watched) {
      const node = this.#counts.get(`${kind} ${name}`);
      if (node) say(node, Object.entries(counts).map(([what, count]) => `${what} ${count}`.trim()).join(", "));
    }
  }

  draw(kind, name = null) {
    if (!this.possible) return;
    this.#name = name;
    const known = this.#rules[SETS[kind]] ?? {};
    const free = [...Array(100).keys()].map((number) => `${kind}${number ? ` ${number + 1}` : ""}`).find((one) => !(one in known));
    $("drawn-name").value = name ?? free;
    $("drawn-delete").hidden = name === null;
    this.#stage.draw(new Shape(kind, name === null ? [] : known[name].points));
    $("stage").scrollIntoView({ block: "nearest" });
    this.#tell();
  }

  stop() {
    if (!this.drawing) return;
    this.#stage.draw(null);
    this.#tell();
  }

  #tell() {
    const shape = this.#stage.shape;
    this.dispatchEvent(new CustomEvent("drawing", { detail: shape && (shape.whole ? HINTS.whole : HINTS[shape.kind]) }));
    $("drawing").hidden = shape === null;
    if (!shape) return;
    say($("drawn-what"), shape.kind === "zone" ? "Zone" : "Line");
    $("drawn-save").disabled = !shape.ready;
    $("drawn-undo").disabled = shape.points.length === 0;
    if (shape.whole && !shape.held && document.activeElement === $("picture") && this.#name === null && !this.#stage.touched) $("drawn-name").select();
  }

  #list() {
    this.#counts.clear();
    const entries = Object.entries(SETS).flatMap(([kind, set]) => Object.keys(this.#rules[set] ?? {}).map((name) => this.#entry(kind, name)));
    $("rules-list").replaceChildren(...entries);
    $("no-rules").hidden = entries.length > 0;
  }

  #entry(kind, name) {
    const count = element("span", { class: "count" });
    this.#counts.set(`${kind} ${name}`, count);
    const button = element("button", { type: "button", class: "quiet", "aria-label": `Change ${kind} ${name}` }, "Change");
    button.addEventListener("click", () => this.draw(kind, name));
    return element("li", { "data-kind": kind, "data-name": name }, element("strong", {}, name), count, button);
  }

  #save() {
    const shape = this.#stage.shape, name = $("drawn-name").value.trim();
    if (!shape?.ready) return;
    const points = shape.points.map((point) => point.map(round));
    const old = this.#name;
    return this.#write((rules) => {
      const set = { ...rules[SETS[shape.kind]] };
      if (name !== old && name in set) throw new Refused(0, `There is a ${shape.kind} called ${name}`);
      const rest = set[old ?? name]; // what else is said of it, in the file
      if (old !== null && old !== name) delete set[old];
      return { ...rules, [SETS[shape.kind]]: { ...set, [name]: { ...rest, points } } };
    });
  }

  #remove() {
    const { kind } = this.#stage.shape, name = this.#name;
    return this.#write((rules) => {
      const { [name]: _, ...rest } = rules[SETS[kind]] ?? {};
      return { ...rules, [SETS[kind]]: rest };
    });
  }

  /** Change the rules as they are now, and say what became of it. */
  async #write(change) {
    const camera = this.#camera;
    try {
      const rules = change(await rulesOf(camera));
      const { saved, comments_kept: kept } = await watchFor(camera, rules);
      this.stop();
      await this.load(camera);
      if (saved === null) toast("Watched until this run ends; with --config FILE it would be saved", "good");
      else toast(kept ? `Saved to ${saved}` : `Saved to ${saved}, which lost some of its comments`, "good");
    } catch (error) {
      if (error instanceof Refused && error.status === 401) return this.dispatchEvent(new CustomEvent("refused"));
      toast(error.message, "error");
    }
  }
}
