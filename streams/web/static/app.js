// The page: which camera is large, how its video comes, and what a click on it does.

import { admitted, ask, login, logout, Refused } from "./api.js";
import { $, colourOf, nameOf, say, toast } from "./dom.js";
import { Events, Tracks } from "./lists.js";
import { Live } from "./live.js";
import { Rules } from "./rules.js";
import { Stage } from "./stage.js";
import { health, smooth, stateOf, Tiles } from "./tiles.js";
import { Whep } from "./whep.js";

const AGAIN = 30000; // milliseconds after which WebRTC is tried again
const TOLD = 2000; // milliseconds in which a track that has begun is told of, at most
const KEPT = 200; // messages about frames that wait for their video frame

const live = new Live(), stage = new Stage(), tracks = new Tracks(), events = new Events(), tiles = new Tiles();
const rules = new Rules(stage);
const wish = new URLSearchParams(location.search);
let cameras = [];
let large = null; // the name of the large camera
let run = null; // which run of it: after another begin, frames count from 0
let video = null; // its WebRTC session, where it has one
let told = new Map(); // what is in frames that WebRTC shows, by name
let newest = null; // the newest message of the large camera
let mirrored = 0; // when its tile was drawn last
let later = 0; // when WebRTC is tried again

// What comes from the server.

live.addEventListener("open", () => linked("online", "connected"));
live.addEventListener("closed", async ({ detail }) => {
  linked("offline", "connection lost, trying again");
  veil("Connection lost, trying again");
  if (!detail.opened && !(await admitted().catch(() => true))) askPassword();
});
live.addEventListener("cameras", ({ detail }) => {
  cameras = detail;
  const now = cameras.find(({ name }) => name === large);
  if (now && now.run !== run) show(large);
  if (!cameras.some(({ name }) => name === large)) choose(cameras.find(({ name }) => name === location.hash.slice(1))?.name ?? cameras[0]?.name);
  tiles.update(cameras, large);
  watch();
  tellHealth();
});
live.addEventListener("events", ({ detail }) => {
  const clips = cameras.find(({ name }) => name === detail.camera)?.clips ?? [];
  events.add(detail, cameras.length > 1, clips);
});
events.addEventListener("clip", ({ detail: { address, words } }) => {
  say($("clip-title"), words);
  $("clip-video").src = address;
  $("clip").showModal();
});
$("clip-video").addEventListener("error", () => {
  if (!$("clip").open) return;
  $("clip").close();
  toast("There is no clip of this, or no more", "error");
});
$("clip").addEventListener("close", () => { $("clip-video").removeAttribute("src"); $("clip-video").load(); });
live.addEventListener("picture", async ({ detail: { message, jpeg } }) => {
  const { camera, frames } = message;
  try {
    if (camera !== large) return await tiles.show(camera, jpeg, message.arrived);
    take(message);
    if (jpeg && !video?.shows) await paint(message, jpeg);
    if (jpeg) await tiles.show(camera, jpeg, message.arrived);
  } finally {
    live.seen(camera);
  }
});

/** Note what is in a frame of the large camera. */
function take(message) {
  newest = message;
  told.set(key(message.frames), message);
  if (told.size > KEPT) told.delete(told.keys().next().value);
  if (video?.shows && stage.frame && key(stage.frame) === key(message.frames)) {
    stage.know(message.frames.tracks, message.outlines); // the video was faster
    shown(message);
  }
  tracks.update(large, message.frames.tracks, stage.selected);
  rules.update(message.frames.watched);
  if (stage.selected && !message.frames.tracks.some(({ object_id }) => object_id === stage.selected)) select(null);
  document.title = message.frames.tracks.length ? `(${message.frames.tracks.length}) ${large} · Keepsight` : `${large} · Keepsight`;
}

async function paint(message, jpeg) {
  const bitmap = await createImageBitmap(jpeg);
  if (message.camera === large && !video?.shows) {
    stage.show(bitmap, bitmap.width, bitmap.height, message.frames, message.frames.tracks, message.outlines);
    shown(message);
    say($("way"), "JPEG");
  }
  bitmap.close();
}

/** A frame of the video element is on the screen. */
function shownByVideo(session, frame) {
  if (session !== video) return;
  if (!session.shows) {
    session.shows = true;
    say($("way"), "WebRTC");
    watch();
  }
  const element = session.video, message = told.get(key(frame)) ?? before(frame);
  stage.show(element, element.videoWidth, element.videoHeight, frame, message?.frames.tracks ?? [], message?.outlines ?? {});
  if (message && key(message.frames) === key(frame)) shown(message);
  else veil("");
  if (performance.now() - mirrored > 500) {
    mirrored = performance.now();
    tiles.mirror(large, element);
  }
}

/** The last message about a frame not after this one. */
function before(frame) {
  let found = null;
  for (const message of told.values()) {
    const { epoch, index } = message.frames;
    if (epoch < frame.epoch || (epoch === frame.epoch && index <= frame.index)) found = message;
  }
  return found;
}

let lag = null;
function shown(message) {
  lag = smooth(lag, performance.now() - message.arrived);
  veil("");
}

const key = ({ epoch, index }) => `${epoch}/${index}`;

// Which camera is large, and how it is shown.

function choose(name) {
  if (name !== large && cameras.some((camera) => camera.name === name)) show(name);
}

/** Begin to show a camera; nothing is known of it yet. */
function show(name) {
  large = name;
  run = cameras.find((camera) => camera.name === name)?.run ?? null;
  if (location.hash.slice(1) !== name) history.replaceState(null, "", `#${name}`);
  stage.clear();
  told = new Map();
  newest = lag = null;
  later = 0;
  select(null);
  tracks.update(name, [], null);
  say($("camera-name"), name);
  $("picture").setAttribute("aria-label", `Live picture of ${name}. Click on a thing to track it.`);
  veil("Waiting for the first picture");
  rules.load(name);
  stopVideo();
  tiles.update(cameras, large);
  watch();
  tellHealth();
}

function watch() {
  if (!large) return;
  if (document.hidden) return live.watch({});
  const wanted = Object.fromEntries(cameras.map(({ name }) => [name, "small"]));
  wanted[large] = video?.shows ? "none" : "large";
  live.watch(wanted);
  tryVideo();
}

/** WebRTC where it can be had; the pictures over the WebSocket go on until it shows something. */
function tryVideo() {
  if (video || wish.get("video") === "jpeg" || !Whep.possible() || performance.now() < later) return;
  const camera = cameras.find(({ name }) => name === large);
  if (!camera?.size || stateOf(camera.status).key !== "online") return;
  const session = new Whep(large, $("video"), (frame) => shownByVideo(session, frame), () => {
    if (session !== video) return;
    video = null;
    later = performance.now() + AGAIN;
    watch();
  });
  session.shows = false;
  video = session;
  session.open();
}

function stopVideo() {
  video?.close();
  video = null;
}

document.addEventListener("visibilitychange", () => {
  if (document.hidden) stopVideo();
  watch();
});
window.addEventListener("pagehide", stopVideo);
window.addEventListener("hashchange", () => choose(location.hash.slice(1)));
tiles.addEventListener("choose", ({ detail }) => choose(detail));

rules.addEventListener("refused", askPassword);
rules.addEventListener("drawing", ({ detail: words }) => {
  if (words && stage.selected !== null) select(null);
  for (const part of document.querySelectorAll(".pointing")) part.hidden = words !== null;
  say($("hint"), words ?? hint());
});

// What clicks mean.

stage.addEventListener("pick", ({ detail: { point, frame, negative, hit: known } }) => {
  if (stage.repeats(point, negative)) return;
  const chosen = stage.selected, hit = known ?? begunAt(point);
  if (negative) {
    const target = chosen ?? hit;
    if (target === null) return toast("Not this: Shift-click on a part of a track that does not belong to it");
    return send("correct", { object_id: target, points: [point], labels: [0] }, frame, stage.dot(point, true));
  }
  if (hit !== null && hit !== chosen) {
    select(hit);
    stage.clicked = { point, negative, at: performance.now() };
    return;
  }
  if (chosen !== null) return send("correct", { object_id: chosen, points: [point], labels: [1] }, frame, stage.dot(point, false));
  send("prompt", { points: [point], labels: [1], label: label() }, frame, stage.dot(point, false));
});
stage.addEventListener("box", ({ detail: { box, frame } }) => {
  if (stage.selected !== null) send("correct", { object_id: stage.selected, box }, frame);
  else send("prompt", { box, label: label() }, frame);
  if (stage.tool === "box") tool("point");
});
tracks.addEventListener("select", ({ detail }) => select(detail === stage.selected ? null : detail));
tracks.addEventListener("forget", ({ detail }) => forget(detail));
$("chosen-forget").addEventListener("click", () => forget(stage.selected));
$("chosen-done").addEventListener("click", () => select(null));
$("reset").addEventListener("click", () => send("reset", {}));

function label() {
  const name = $("label").value.trim();
  $("label").value = "";
  return name;
}

/** Ask the server, and say what became of it. */
async function send(command, message, frame = null, mark = null) {
  if (frame) message.frame_ref = { epoch: frame.epoch, index: frame.index };
  try {
    const answer = await ask(large, command, message);
    if (command === "prompt") {
      toast(`Tracking #${answer.object_id}`, "good");
      await begun(answer.object_id);
    }
  } catch (error) {
    if (error instanceof Refused && error.status === 401) return askPassword();
    toast(error.message, "error");
  } finally {
    mark?.remove();
  }
}

/** The id of a track at a point that has begun since the frame that is shown. */
function begunAt(point) {
  if (!newest) return null;
  const old = new Set(stage.tracks.map(({ object_id }) => object_id));
  return stage.at(point, newest.frames.tracks.filter(({ object_id }) => !old.has(object_id)), newest.outlines);
}

/** Once a track is told of, or after a moment: until then a click on the same thing is the same click. */
async function begun(id) {
  const until = performance.now() + TOLD;
  while (performance.now() < until && !newest?.frames.tracks.some(({ object_id }) => object_id === id)) {
    await new Promise((wake) => setTimeout(wake, 50));
  }
}

function forget(id) {
  if (id === stage.selected) select(null);
  send("forget", { object_id: id });
}

function select(id) {
  stage.selected = id;
  stage.clicked = null;
  const track = newest?.frames.tracks.find(({ object_id }) => object_id === id);
  $("chosen").hidden = !track;
  if (track) {
    say($("chosen-name"), nameOf(track));
    $("chosen-colour").style.background = colourOf(id);
  }
  say($("hint"), hint());
  tracks.update(large, newest?.frames.tracks ?? [], id);
  stage.redraw();
}

function hint() {
  const touch = matchMedia("(hover: none)").matches;
  if (stage.selected !== null && stage.tool === "point") {
    return touch ? "A tap adds to it; “Not this” takes away." : "Click adds to it, Shift-click takes away, Esc is done.";
  }
  if (stage.tool === "box") return "Drag a box around the thing.";
  if (stage.tool === "remove") return "Click on the part of a track that does not belong to it.";
  return touch ? "Tap a thing and it is tracked." : "Click on a thing and it is tracked.";
}

function tool(name) {
  rules.stop();
  stage.tool = name;
  $("picture").dataset.tool = name;
  for (const button of document.querySelectorAll("[data-tool]:not(canvas)")) {
    button.setAttribute("aria-checked", String(button.dataset.tool === name));
    button.tabIndex = button.dataset.tool === name ? 0 : -1;
  }
  say($("hint"), hint());
}

const toolButtons = [...document.querySelectorAll("button[data-tool]")];
for (const [place, button] of toolButtons.entries()) {
  button.addEventListener("click", () => tool(button.dataset.tool));
  button.addEventListener("keydown", ({ key: pressed }) => {
    const way = { ArrowRight: 1, ArrowLeft: -1 }[pressed];
    if (!way) return;
    const next = toolButtons[(place + way + toolButtons.length) % toolButtons.length];
    tool(next.dataset.tool);
    next.focus();
  });
}

document.addEventListener("keydown", (event) => {
  if (event.target.matches("input, dialog *") || event.ctrlKey || event.metaKey || event.altKey) return;
  const ids = (newest?.frames.tracks ?? []).map(({ object_id }) => object_id);
  const names = cameras.map(({ name }) => name);
  const after = (list, one) => list[(list.indexOf(one) + 1) % list.length];
  switch (event.key.toLowerCase()) {
    case "escape": rules.drawing ? rules.stop() : (select(null), tool("point")); break;
    case "n": if (ids.length) select(after(ids, stage.selected)); break;
    case "delete": case "backspace": if (stage.selected !== null) forget(stage.selected); break;
    case "c": if (names.length > 1) choose(after(names, large)); break;
    case "z": rules.draw("zone"); break;
    case "l": rules.draw("line"); break;
    case "t": tool("point"); break;
    case "b": tool("box"); break;
    case "x": tool("remove"); break;
    case "?": $("help").showModal(); break;
    default: return;
  }
  event.preventDefault();
});
$("help-button").addEventListener("click", () => $("help").showModal());

// How it is doing.

function linked(state, words) {
  $("link").dataset.state = state;
  say($("link"), words);
}

function veil(words) {
  say($("veil"), words);
  $("veil").hidden = !words;
}

function tellHealth() {
  const camera = cameras.find(({ name }) => name === large);
  if (!camera) return veil("No camera yet");
  const state = stateOf(camera.status);
  $("source").dataset.state = state.key;
  say($("source"), state.words);
  say($("reason"), health(camera.status).join(", "));
  say($("fps"), camera.status.frames_per_second.toFixed(1));
  say($("dropped"), String(camera.status.dropped));
  say($("latency"), lag === null ? "–" : `${Math.round(lag)} ms`);
  if (state.key === "offline") veil(camera.status.reason ? `${state.words}: ${camera.status.reason}` : state.words);
}

// Who may come in.

function askPassword() {
  live.end();
  linked("offline", "password needed");
  if (!$("login").open) $("login").showModal();
}

$("login").addEventListener("cancel", (event) => event.preventDefault());
$("login").querySelector("form").addEventListener("submit", async (event) => {
  event.preventDefault();
  try {
    await login($("password").value);
    $("password").value = "";
    $("login").close();
    $("logout").hidden = false;
    live.connect();
  } catch (error) {
    say($("login-reason"), error.message);
    $("password").select();
  }
});
$("logout").addEventListener("click", async () => {
  await logout().catch(() => {});
  location.reload();
});

tool("point");
admitted().then((known) => (known ? live.connect() : askPassword()), (error) => { linked("offline", error.message); if (!error.status) live.connect(); });
document.documentElement.dataset.ready = "";
