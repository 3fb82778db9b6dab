// All cameras beside each other; a click makes one large.

import { $, element, say } from "./dom.js";

export class Tiles extends EventTarget {
  #tiles = new Map();

  /** The cameras as the server tells them, and which one is large. */
  update(cameras, large) {
    const nav = $("tiles");
    nav.hidden = cameras.length < 2;
    for (const camera of cameras) {
      const tile = this.#tiles.get(camera.name) ?? this.#add(camera.name);
      const state = stateOf(camera.status);
      tile.button.dataset.state = state.key;
      say(tile.state, state.words);
      say(tile.count, camera.status.objects ? String(camera.status.objects) : "");
      tile.button.setAttribute("aria-current", String(camera.name === large));
    }
  }

  async show(name, jpeg) {
    const tile = this.#tiles.get(name);
    if (!tile || !jpeg) return;
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
    const state = element("span", { class: "chip" }), count = element("span", { class: "count" });
    const button = element("button", { type: "button", class: "tile" }, canvas,
      element("span", { class: "under" }, element("strong", {}, name), state, count));
    button.addEventListener("click", () => this.dispatchEvent(new CustomEvent("choose", { detail: name })));
    $("tiles").append(button);
    const tile = { button, canvas, state, count };
    this.#tiles.set(name, tile);
    return tile;
  }
}

/** How a camera is doing, in a key for colours and in words. */
export function stateOf(status) {
  if (status.state === "stopped") return { key: "offline", words: "stopped" };
  if (status.source && status.source !== "online") return { key: status.source, words: status.source };
  if (status.state === "waiting") return { key: "waiting", words: "waiting" };
  return { key: "online", words: "online" };
}
