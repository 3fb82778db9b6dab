// All cameras beside each other; a click makes one large.

import { $, element, say } from "./dom.js";

export class Tiles extends EventTarget {
  #tiles = new Map();

  /** The cameras as the server tells them, and which one is large. */
  update(cameras, large) {
    const nav = $("tiles");
    nav.hidden = cameras.length < 2;
    for (const [name, tile] of this.#tiles) {
      if (cameras.some((camera) => camera.name === name)) continue;
      tile.button.remove();
      this.#tiles.delete(name);
    }
    for (const [place, camera] of cameras.entries()) {
      const tile = this.#tiles.get(camera.name) ?? this.#add(camera.name);
      const state = stateOf(camera.status);
      if (nav.children[place] !== tile.button) nav.insertBefore(tile.button, nav.children[place]);
      tile.button.dataset.state = state.key;
      tile.button.title = health(camera.status).join(", ");
      say(tile.pace, paceOf(camera.status, tile.lag));
      say(tile.state, state.words);
      say(tile.count, camera.status.objects ? String(camera.status.objects) : "");
      tile.button.setAttribute("aria-current", String(camera.name === large));
    }
  }

  /** Show a picture, whose frame the server had at `arrived`. */
  async show(name, jpeg, arrived) {
    const tile = this.#tiles.get(name);
    if (!tile || !jpeg) return;
    tile.lag = smooth(tile.lag, performance.now() - arrived);
    const bitmap = await createImageBitmap(jpeg);
    if (tile.canvas.width !== bitmap.width || tile.canvas.height !== bitmap.height) {
      Object.assign(tile.canvas, { width: bitmap.width, height: bitmap.height });
    }
    tile.canvas.getContext("2d").drawImage(bitmap, 0, 0);
    bitmap.close();
  }

  /** Show what is large in its tile, too. */
  mirror(name, video) {
    const tile = this.#tiles.get(name);
    if (!tile || !video.videoWidth) return;
    const width = 320, height = Math.round((320 * video.videoHeight) / video.videoWidth);
    if (tile.canvas.width !== width || tile.canvas.height !== height) Object.assign(tile.canvas, { width, height });
    tile.canvas.getContext("2d").drawImage(video, 0, 0, width, height);
  }

  #add(name) {
    const canvas = element("canvas", { width: 320, height: 180, "aria-hidden": "true" });
    const pace = element("span", { class: "pace" }), state = element("span", { class: "chip" }), count = element("span", { class: "count" });
    const button = element("button", { type: "button", class: "tile" }, canvas,
      element("span", { class: "under" }, element("strong", {}, name), pace, state, count));
    button.addEventListener("click", () => this.dispatchEvent(new CustomEvent("choose", { detail: name })));
    $("tiles").append(button);
    const tile = { button, canvas, pace, state, count, lag: null };
    this.#tiles.set(name, tile);
    return tile;
  }
}

/** A figure that goes up and down, with a tenth of the newest. */
export const smooth = (old, now) => (old === null ? now : old + 0.1 * (now - old));

const paceOf = (status, lag) => (status.state === "running" ? `${status.frames_per_second.toFixed(1)}/s${lag === null ? "" : ` · ${Math.round(lag)} ms`}` : "");

/** What else there is to say of how a camera is doing, in words. */
export function health(status) {
  const times = (count, word) => (count ? `${word} ${count === 1 ? "once" : `${count} times`} in the last hour` : "");
  return [status.reason, times(status.reconnects, "came back"), times(status.stalls, "stalled")].filter(Boolean);
}

/** How a camera is doing, in a key for colours and in words. */
export function stateOf(status) {
  if (status.state === "stopped") return { key: "offline", words: "stopped" };
  if (status.source && status.source !== "online") return { key: status.source, words: status.source };
  if (status.state === "paused") return { key: "waiting", words: "paused" };
  if (status.state === "waiting") return { key: "waiting", words: "waiting" };
  return { key: "online", words: "online" };
}
