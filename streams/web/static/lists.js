// What is tracked and what happened, beside the picture.

import { $, colourOf, element, nameOf, say } from "./dom.js";

const HISTORY = 90; // confidences in a sparkline
const EVENTS = 120; // events in the list
const WORDS = { tentative: "new", tracked: "tracked", occluded: "hidden", lost: "lost" };
const KINDS = {
  new: "appeared", occluded: "hidden", recovered: "back", lost: "lost", end: "ended",
  zone_enter: "entered", zone_leave: "left", zone_dwell: "stays in", line_cross: "crossed", moving: "moves", stationary: "stands still",
};

/** The tracks of the large camera; tells `select` and `forget` with an object id. */
export class Tracks extends EventTarget {
  #rows = new Map(); // object id to row
  #camera = null;

  update(camera, tracks, selected) {
    if (camera !== this.#camera) {
      this.#camera = camera;
      this.#rows.clear();
      $("tracks").replaceChildren();
    }
    for (const [id, row] of this.#rows) {
      if (!tracks.some((track) => track.object_id === id)) {
        row.item.remove();
        this.#rows.delete(id);
      }
    }
    for (const track of tracks) {
      const row = this.#rows.get(track.object_id) ?? this.#add(track);
      fill(row, track, track.object_id === selected);
    }
    say($("count"), String(tracks.length));
    $("no-tracks").hidden = tracks.length > 0;
    $("reset").hidden = tracks.length < 2;
  }

  #add(track) {
    const id = track.object_id;
    const picture = element("img", { alt: "", width: 56, height: 56, class: "thumb none" });
    const name = element("strong"), state = element("span", { class: "state" }), sure = element("span", { class: "sure" });
    const line = spark();
    const button = element("button", { type: "button", class: "track", "aria-pressed": "false" },
      picture, element("span", { class: "words" }, name, state), element("span", { class: "trend" }, sure, line.svg));
    const away = element("button", { type: "button", class: "quiet forget", "aria-label": `Forget ${nameOf(track)}`, title: "Forget" }, "×");
    const item = element("li", { "data-object": id }, button, away);
    item.style.setProperty("--colour", colourOf(id));
    button.addEventListener("click", () => this.dispatchEvent(new CustomEvent("select", { detail: id })));
    away.addEventListener("click", () => this.dispatchEvent(new CustomEvent("forget", { detail: id })));
    picture.addEventListener("load", () => picture.classList.remove("none"));
    const row = { item, picture, name, state, sure, line, button, history: [], fresh: -Infinity, camera: this.#camera };
    this.#rows.set(id, row);
    $("tracks").append(item);
    return row;
  }
}

function fill(row, track, selected) {
  say(row.name, nameOf(track));
  say(row.state, WORDS[track.state] ?? track.state);
  say(row.sure, track.box ? `${Math.round(track.confidence * 100)} %` : "–");
  row.item.dataset.state = track.state;
  row.button.setAttribute("aria-pressed", String(selected));
  row.history.push(track.box ? track.confidence : 0);
  if (row.history.length > HISTORY) row.history.shift();
  row.line.draw(row.history);
  const now = performance.now();
  if (now - row.fresh > 2000 && (track.box || !row.picture.src)) {
    row.fresh = now;
    row.picture.src = `/api/cameras/${row.camera}/objects/${track.object_id}.jpg?at=${Math.round(now)}`;
  }
}

/** A line of values from 0 to 1. */
function spark() {
  const space = "http://www.w3.org/2000/svg";
  const svg = document.createElementNS(space, "svg"), line = document.createElementNS(space, "polyline");
  svg.setAttribute("viewBox", "0 0 100 24");
  svg.setAttribute("preserveAspectRatio", "none");
  svg.setAttribute("class", "spark");
  svg.setAttribute("aria-hidden", "true");
  line.setAttribute("vector-effect", "non-scaling-stroke");
  svg.append(line);
  const draw = (values) => {
    const x = (place) => 100 - ((values.length - 1 - place) * 100) / (HISTORY - 1);
    line.setAttribute("points", values.map((value, place) => `${x(place).toFixed(1)},${(22 - 20 * value).toFixed(1)}`).join(" "));
  };
  return { svg, draw };
}

/** What happened at all cameras, newest first. */
export class Events extends EventTarget {
  #known = new Set();

  /** What happened at a camera, in the order of our clock: the camera's may be wrong. Of the kinds in `clips` there are clips, and `clip` tells which one is asked for. */
  add({ camera, events, sources }, several, clips) {
    const told = [
      ...events.map((event) => [event.published, event.event_id, () => this.#event(camera, event, several, clips)]),
      ...sources.map((change) => [change.time, change.change_id, () => sourceEntry(camera, change, several)]),
    ];
    for (const [, id, make] of told.sort(([one], [other]) => one - other)) {
      if (this.#known.has(id)) continue;
      this.#known.add(id);
      $("events").prepend(make());
    }
    while ($("events").children.length > EVENTS) {
      this.#known.delete($("events").lastChild.dataset.event);
      $("events").lastChild.remove();
    }
    $("no-events").hidden = $("events").children.length > 0;
  }

  #event(camera, event, several, clips) {
    const item = entry(camera, event, several);
    if (clips.includes(event.kind)) item.append(this.#clip(camera, event));
    return item;
  }

  #clip(camera, event) {
    const words = `${nameOf(event)} ${KINDS[event.kind] ?? event.kind}`;
    const button = element("button", { type: "button", class: "quiet play", "aria-label": `Clip: ${words}`, title: "Clip" }, "▶");
    const address = `/api/cameras/${camera}/event.mp4?id=${encodeURIComponent(event.event_id)}`;
    button.addEventListener("click", () => this.dispatchEvent(new CustomEvent("clip", { detail: { address, words } })));
    return button;
  }
}

function entry(camera, event, several) {
  const picture = element("img", { alt: "", width: 44, height: 44, class: "thumb none" });
  const address = `/api/cameras/${camera}/event.jpg?id=${encodeURIComponent(event.event_id)}`;
  picture.addEventListener("load", () => picture.classList.remove("none"));
  picture.src = address;
  const item = element("li", { "data-event": event.event_id, "data-kind": event.kind, "data-object": event.object_id },
    picture,
    element("span", { class: "words" },
      element("span", { class: "what" }, element("strong", {}, nameOf(event)), " ", KINDS[event.kind] ?? event.kind, event.rule ? ` ${event.rule}` : ""),
      element("span", { class: "why" }, several ? `${camera}: ${event.reason}` : event.reason)),
    time(event.captured));
  item.style.setProperty("--colour", colourOf(event.object_id));
  return item;
}

/** How the source of a camera does from then on. */
function sourceEntry(camera, { change_id: id, state, reason, time: at }, several) {
  return element("li", { "data-event": id, "data-source": state },
    element("span", { class: "words" },
      element("span", { class: "what" }, reason ? `${state}: ${reason}` : state),
      several ? element("span", { class: "why" }, camera) : null),
    time(at));
}

function time(seconds) {
  const when = new Date(seconds * 1000);
  return element("time", { datetime: when.toISOString() }, when.toLocaleTimeString([], { hour12: false }));
}
