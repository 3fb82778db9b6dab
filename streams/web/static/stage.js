// The large picture: shows frames, knows which one is shown, and turns clicks into what they mean.

import { $, colourOf } from "./dom.js";

const DRAG = 8; // pixels a pointer moves before it draws a box
const HOLD = 2000; // milliseconds that the picture stands still while a box is drawn
const TWICE = 400; // milliseconds between the clicks of a double click, at most
const DOUBLE = 12; // pixels between two clicks that mean the same, at most
const STEP = 0.02; // of the picture, that an arrow key moves the cross

export class Stage extends EventTarget {
  #picture = $("picture");
  #marks = $("marks");
  #down = null; // where and on which frame the pointer went down
  #box = null; // [x0, y0, x1, y1] while one is drawn
  #cross = null; // where the keyboard points
  #corner = null; // where a box of the keyboard began
  #dots = []; // clicks that are not answered yet
  clicked = null; // the click that selected what is selected: where, of which kind, when
  #hover = null;
  #drawing = false;
  frame = null; // {epoch, index} of what is shown
  tracks = [];
  outlines = {};
  selected = null;
  tool = "point";
  touched = false; // by a finger, when it was pointed at last
  shape = null; // a zone or line that is drawn

  constructor() {
    super();
    const canvas = this.#picture;
    canvas.addEventListener("pointerdown", (event) => this.#press(event));
    canvas.addEventListener("pointermove", (event) => this.#move(event));
    canvas.addEventListener("pointerup", (event) => this.#release(event));
    canvas.addEventListener("pointercancel", () => this.#cancel());
    canvas.addEventListener("pointerleave", () => { this.#point(null); this.shape?.leave(); });
    canvas.addEventListener("contextmenu", (event) => this.#down && event.preventDefault());
    canvas.addEventListener("keydown", (event) => this.#key(event));
    canvas.addEventListener("blur", () => { this.#cross = this.#corner = null; this.redraw(); });
    new ResizeObserver(() => this.redraw()).observe(canvas);
    document.querySelector(".skip").addEventListener("click", (event) => {
      event.preventDefault(); // what follows # in the address is the name of a camera
      canvas.focus();
    });
  }

  /** Whether the picture stands still, since somebody draws on it. */
  get held() {
    return this.#box !== null && this.#down !== null && performance.now() - this.#down.at < HOLD;
  }

  /** Show an image or video frame, whose frame and tracks are these. */
  show(source, width, height, frame, tracks, outlines) {
    if (this.held) return;
    const canvas = this.#picture;
    if (canvas.width !== width || canvas.height !== height) {
      canvas.width = width;
      canvas.height = height;
      $("stage").style.setProperty("--ratio", width / height);
    }
    canvas.getContext("2d").drawImage(source, 0, 0, width, height);
    this.frame = frame;
    canvas.dataset.frame = `${frame.epoch}/${frame.index}`;
    this.know(tracks, outlines);
  }

  /** What is in the frame that is shown. */
  know(tracks, outlines) {
    this.tracks = tracks;
    this.outlines = outlines;
    this.redraw();
  }

  clear() {
    const canvas = this.#picture;
    canvas.getContext("2d").clearRect(0, 0, canvas.width, canvas.height);
    delete canvas.dataset.frame;
    this.frame = null;
    this.tracks = [];
    this.outlines = {};
    this.#dots = [];
    this.#cancel();
  }

  /** Whether this click is the second of a double click, or one so near to it still waits for its answer. */
  repeats(point, negative) {
    const bounds = this.#picture.getBoundingClientRect(), last = this.clicked;
    const near = (one) => one.negative === negative
      && Math.hypot((one.point[0] - point[0]) * bounds.width, (one.point[1] - point[1]) * bounds.height) < DOUBLE;
    return (last !== null && performance.now() - last.at < TWICE && near(last)) || this.#dots.some(near);
  }

  /** A mark that stays until the click is answered: `remove()` takes it away. */
  dot(point, negative) {
    const dot = { point, negative };
    this.#dots.push(dot);
    this.redraw();
    return { remove: () => { this.#dots = this.#dots.filter((other) => other !== dot); this.redraw(); } };
  }

  /** The id of the smallest track under a point, of those shown or of others; null where there is none. */
  at([x, y], tracks = this.tracks, outlines = this.outlines) {
    const hits = tracks.filter((track) => (outlines[track.object_id] ?? []).some((line) => inside(line, x * 1000, y * 1000)));
    const area = ({ box }) => (box ? (box[2] - box[0]) * (box[3] - box[1]) : 1);
    return hits.sort((one, other) => area(one) - area(other))[0]?.object_id ?? null;
  }

  /** Draw a shape: until this is called with null, clicks put its corners. Tells `shape` at each change. */
  draw(shape) {
    this.shape = shape;
    this.#picture.dataset.tool = shape ? "shape" : this.tool;
    this.#cancel();
  }

  redraw() {
    if (this.#drawing) return;
    this.#drawing = true;
    requestAnimationFrame(() => { this.#drawing = false; this.#draw(); });
  }

  #place(event) {
    const bounds = this.#picture.getBoundingClientRect();
    const clamp = (value) => Math.min(1, Math.max(0, value));
    return [clamp((event.clientX - bounds.left) / bounds.width), clamp((event.clientY - bounds.top) / bounds.height)];
  }

  #press(event) {
    if (event.button !== 0 || !this.frame) return;
    this.#cross = this.#corner = null;
    this.#picture.setPointerCapture(event.pointerId);
    this.touched = event.pointerType === "touch";
    if (this.shape) return this.#corners(() => this.shape.press(this.#place(event), this.#far(event.pointerType)));
    const point = this.#place(event); // whoever comes over it before the pointer is released was not meant
    this.#down = { point, hit: this.at(point), frame: this.frame, x: event.clientX, y: event.clientY, at: performance.now() };
  }

  #move(event) {
    const point = this.#place(event);
    if (this.shape) return this.#corners(() => this.shape.move(point), this.shape.held);
    if (!this.#down) return this.#point(point);
    const far = Math.hypot(event.clientX - this.#down.x, event.clientY - this.#down.y) > DRAG;
    const draws = this.tool === "box" || event.pointerType === "mouse";
    if (draws && (this.#box || far)) {
      if (!this.#box) this.#down.at = performance.now();
      this.#box = spanned(this.#down.point, point);
      this.redraw();
    }
  }

  #release(event) {
    if (this.shape) return this.#corners(() => this.shape.release());
    if (!this.#down) return;
    const down = this.#down, box = this.#box;
    const frame = box && !this.held ? this.frame : down.frame;
    this.#cancel();
    if (box) this.#tell("box", { box, frame });
    else if (this.tool !== "box") this.#click(down.point, down.hit, frame, event.shiftKey || this.tool === "remove");
  }

  #corners(change, tell = true) {
    change();
    this.redraw();
    if (tell) this.#tell("shape");
  }

  /** Distances on the screen, in what a finger or a mouse may be off. */
  #far(pointer) {
    const bounds = this.#picture.getBoundingClientRect(), reach = pointer === "mouse" ? 12 : 24;
    return ([x0, y0], [x1, y1]) => Math.hypot((x1 - x0) * bounds.width, (y1 - y0) * bounds.height) / reach;
  }

  #cancel() {
    this.shape?.release();
    this.#down = this.#box = null;
    this.redraw();
  }

  #click(point, hit, frame, negative) {
    this.#tell("pick", { point, hit, frame, negative });
  }

  #point(point) {
    const hover = point && this.at(point);
    if (hover !== this.#hover) {
      this.#hover = hover;
      this.#picture.dataset.over = hover ? "track" : "";
      this.redraw();
    }
  }

  #key(event) {
    const moves = { ArrowLeft: [-STEP, 0], ArrowRight: [STEP, 0], ArrowUp: [0, -STEP], ArrowDown: [0, STEP] };
    const clamp = (value) => Math.min(1, Math.max(0, value));
    if (moves[event.key]) {
      const [x, y] = this.#cross ?? [0.5, 0.5], [dx, dy] = moves[event.key];
      this.#cross = [clamp(x + dx), clamp(y + dy)];
      this.shape?.move(this.#cross);
    } else if ((event.key === "Enter" || event.key === " ") && this.frame) {
      if (!this.#cross) this.#cross = [0.5, 0.5];
      else if (this.shape) {
        this.#corners(() => { this.shape.press(this.#cross, this.#far("mouse")); this.shape.release(); });
      } else if (this.#corner) {
        this.#tell("box", { box: spanned(this.#corner, this.#cross), frame: this.frame });
        this.#corner = null;
      } else this.#click(this.#cross, this.at(this.#cross), this.frame, event.shiftKey || this.tool === "remove");
    } else if (event.key === "Backspace" && this.shape) this.#corners(() => this.shape.undo());
    else if (event.key.toLowerCase() === "b" && this.#cross && !this.shape) this.#corner = this.#cross;
    else if (event.key === "Escape" && (this.#cross || this.#box)) {
      this.#cross = this.#corner = null;
      this.#cancel();
    } else return;
    event.preventDefault();
    event.stopPropagation();
    this.redraw();
  }

  #tell(name, detail) {
    this.dispatchEvent(new CustomEvent(name, { detail }));
  }

  #draw() {
    const canvas = this.#marks, bounds = this.#picture.getBoundingClientRect();
    const ratio = window.devicePixelRatio || 1;
    const width = Math.max(1, Math.round(bounds.width * ratio)), height = Math.max(1, Math.round(bounds.height * ratio));
    if (canvas.width !== width || canvas.height !== height) Object.assign(canvas, { width, height });
    const pen = canvas.getContext("2d");
    pen.setTransform(1, 0, 0, 1, 0, 0);
    pen.clearRect(0, 0, width, height);
    pen.scale(width, height);
    const thin = (ratio * 2) / Math.max(width, height);
    if (this.#hover && this.#hover !== this.selected) this.#outline(pen, this.#hover, thin, false);
    if (this.selected) this.#outline(pen, this.selected, thin * 1.5, true);
    pen.setTransform(1, 0, 0, 1, 0, 0);
    const at = ([x, y]) => [x * width, y * height];
    for (const { point, negative } of this.#dots) dot(pen, ...at(point), ratio, negative);
    if (this.#cross) cross(pen, ...at(this.#cross), ratio);
    this.shape?.draw(pen, at, ratio);
    const box = this.#box ?? (this.#corner && this.#cross && spanned(this.#corner, this.#cross));
    if (box) rectangle(pen, at(box.slice(0, 2)), at(box.slice(2)), ratio);
  }

  #outline(pen, id, line, strong) {
    for (const points of this.outlines[id] ?? []) {
      pen.beginPath();
      for (let place = 0; place < points.length; place += 2) pen.lineTo(points[place] / 1000, points[place + 1] / 1000);
      pen.closePath();
      pen.lineJoin = "round";
      pen.strokeStyle = "rgb(0 0 0 / 0.55)";
      pen.lineWidth = line * 3;
      pen.stroke();
      pen.strokeStyle = "#fff";
      pen.lineWidth = line * 1.6;
      pen.stroke();
      if (strong) {
        pen.strokeStyle = colourOf(id);
        pen.lineWidth = line * 0.7;
        pen.stroke();
      }
    }
  }
}

/** The box that two corners span, at least a little large. */
function spanned([x0, y0], [x1, y1]) {
  const pair = (one, other) => {
    const low = Math.min(one, other), high = Math.max(one, other);
    return high - low >= 0.004 ? [low, high] : [Math.max(0, low - 0.002), Math.min(1, low + 0.004)];
  };
  const [left, right] = pair(x0, x1), [top, bottom] = pair(y0, y1);
  return [left, top, right, bottom];
}

/** Whether a point lies inside a closed line x, y, x, y, … (even-odd rule). */
function inside(line, x, y) {
  let within = false;
  for (let place = 0, last = line.length - 2; place < line.length; last = place, place += 2) {
    const [x0, y0, x1, y1] = [line[last], line[last + 1], line[place], line[place + 1]];
    if (y0 > y !== y1 > y && x < ((x1 - x0) * (y - y0)) / (y1 - y0) + x0) within = !within;
  }
  return within;
}

function dot(pen, x, y, ratio, negative) {
  pen.beginPath();
  pen.arc(x, y, 8 * ratio, 0, 2 * Math.PI);
  pen.fillStyle = negative ? "#d55e00" : "#009e73";
  pen.fill();
  pen.lineWidth = 2 * ratio;
  pen.strokeStyle = "#fff";
  pen.stroke();
  pen.beginPath();
  pen.moveTo(x - 4 * ratio, y);
  pen.lineTo(x + 4 * ratio, y);
  if (!negative) {
    pen.moveTo(x, y - 4 * ratio);
    pen.lineTo(x, y + 4 * ratio);
  }
  pen.stroke();
}

function cross(pen, x, y, ratio) {
  for (const [colour, width] of [["rgb(0 0 0 / 0.6)", 4], ["#fff", 2]]) {
    pen.strokeStyle = colour;
    pen.lineWidth = width * ratio;
    pen.beginPath();
    for (const [dx, dy] of [[1, 0], [-1, 0], [0, 1], [0, -1]]) {
      pen.moveTo(x + 5 * dx * ratio, y + 5 * dy * ratio);
      pen.lineTo(x + 18 * dx * ratio, y + 18 * dy * ratio);
    }
    pen.stroke();
  }
}

function rectangle(pen, [x0, y0], [x1, y1], ratio) {
  pen.fillStyle = "rgb(255 255 255 / 0.12)";
  pen.fillRect(x0, y0, x1 - x0, y1 - y0);
  pen.lineWidth = 2 * ratio;
  pen.setLineDash([]);
  pen.strokeStyle = "rgb(0 0 0 / 0.7)";
  pen.strokeRect(x0, y0, x1 - x0, y1 - y0);
  pen.setLineDash([6 * ratio, 4 * ratio]);
  pen.strokeStyle = "#fff";
  pen.strokeRect(x0, y0, x1 - x0, y1 - y0);
  pen.setLineDash([]);
}
