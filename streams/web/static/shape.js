// A zone or a line while it is drawn or changed: corners that are put, moved and taken back.

const MOST = { zone: 100, line: 2 };
const LEAST = { zone: 3, line: 2 };

export class Shape {
  #held = null; // the corner that a pointer moves
  #pointer = null; // where the next corner would be

  /** Points are [x, y] as fractions of the frame; what is given with them is whole and can be changed. */
  constructor(kind, points = []) {
    this.kind = kind;
    this.points = points.map((point) => [...point]);
    this.whole = points.length > 0;
  }

  get ready() {
    return this.points.length >= LEAST[this.kind];
  }

  /** Whether a corner is being moved. */
  get held() {
    return this.#held !== null;
  }

  /** A pointer went down: take the corner there, or put one. `far(a, b)` tells distances in reaches. */
  press(point, far) {
    const near = this.points.findIndex((corner) => far(corner, point) < 1);
    if (near === 0 && !this.whole && this.ready) this.whole = true;
    else if (near >= 0) this.#held = near;
    else if (!this.whole) this.#put(this.points.length, point);
    else if (this.kind === "zone" && this.points.length < MOST.zone) {
      const side = this.points.findIndex((corner, at) => far(point, nearest(corner, this.points[(at + 1) % this.points.length], point)) < 1);
      if (side >= 0) this.#put(side + 1, point);
    }
    if (this.points.length >= MOST[this.kind]) this.whole = true;
  }

  #put(at, point) {
    this.points.splice(at, 0, [...point]);
    this.#held = at;
  }

  move(point) {
    if (this.#held !== null) this.points[this.#held] = [...point];
    this.#pointer = point;
  }

  release() {
    this.#held = null;
  }

  leave() {
    this.#pointer = null;
  }

  undo() {
    if (this.whole && this.kind === "zone") this.whole = false;
    else {
      this.points.pop();
      this.whole = false;
    }
  }

  /** `at` gives pixels. */
  draw(pen, at, ratio) {
    const next = !this.whole && this.#held === null && this.#pointer ? [this.#pointer] : [];
    const line = [...this.points, ...next].map(at);
    if (line.length > 1) {
      pen.beginPath();
      for (const [x, y] of line) pen.lineTo(x, y);
      if (this.kind === "zone" && line.length > 2) {
        if (this.whole) pen.closePath();
        pen.fillStyle = "rgb(230 159 0 / 0.22)";
        pen.fill();
      }
      pen.lineJoin = "round";
      for (const [colour, width] of [["rgb(0 0 0 / 0.6)", 5], ["#ffd27a", 2.5]]) {
        pen.strokeStyle = colour;
        pen.lineWidth = width * ratio;
        pen.stroke();
      }
    }
    for (const [place, corner] of this.points.entries()) {
      const closes = place === 0 && !this.whole && this.kind === "zone" && this.ready;
      pen.beginPath();
      pen.arc(...at(corner), (closes ? 10 : 7) * ratio, 0, 2 * Math.PI);
      pen.fillStyle = closes ? "#fff" : "#e69f00";
      pen.fill();
      pen.lineWidth = 2 * ratio;
      pen.strokeStyle = closes ? "#e69f00" : "#fff";
      pen.stroke();
    }
  }
}

/** The point of the side from one corner to another that is nearest to a point. */
function nearest([x0, y0], [x1, y1], [x, y]) {
  const [dx, dy] = [x1 - x0, y1 - y0];
  const along = Math.min(1, Math.max(0, ((x - x0) * dx + (y - y0) * dy) / (dx * dx + dy * dy || 1)));
  return [x0 + along * dx, y0 + along * dy];
}
