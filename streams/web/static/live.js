// The WebSocket: cameras, events and pictures in; which cameras are shown, and that pictures arrived, out.

const LONGEST_PAUSE = 8000;

export class Live extends EventTarget {
  #socket = null;
  #watch = {};
  #pause = 500;
  #ended = false;
  rtt = 0; // milliseconds there and back

  /** Connects, and again for ever; tells `open`, `closed`, `cameras`, `events` and `picture`. */
  connect() {
    this.#ended = false;
    const socket = new WebSocket(`${location.protocol === "https:" ? "wss" : "ws"}://${location.host}/api/live`);
    socket.binaryType = "arraybuffer";
    this.#socket = socket;
    let opened = false;
    socket.onopen = () => {
      opened = true;
      this.#pause = 500;
      this.#send({ watch: this.#watch });
      this.#tell("open");
      ping();
    };
    const ping = () => {
      if (socket.readyState !== WebSocket.OPEN) return;
      this.#send({ ping: performance.now() });
      setTimeout(ping, 2000);
    };
    socket.onmessage = ({ data }) => (typeof data === "string" ? this.#hear(JSON.parse(data)) : this.#see(data));
    socket.onclose = () => {
      if (this.#socket !== socket) return;
      this.#tell("closed", { opened });
      if (this.#ended) return;
      setTimeout(() => this.#socket === socket && !this.#ended && this.connect(), this.#pause * (0.7 + 0.6 * Math.random()));
      this.#pause = Math.min(LONGEST_PAUSE, this.#pause * 2);
    };
  }

  end() {
    this.#ended = true;
    this.#socket?.close();
  }

  /** Show these cameras: name to "large", "small", or "none" for what is in it without the picture. */
  watch(wanted) {
    if (JSON.stringify(wanted) === JSON.stringify(this.#watch)) return;
    this.#watch = wanted;
    this.#send({ watch: wanted });
  }

  /** To be called when a picture has been taken in: then the next one is sent. */
  seen(camera) {
    this.#send({ seen: camera });
  }

  #send(message) {
    if (this.#socket?.readyState === WebSocket.OPEN) this.#socket.send(JSON.stringify(message));
  }

  #tell(name, detail) {
    this.dispatchEvent(new CustomEvent(name, { detail }));
  }

  #hear(said) {
    if (said.pong !== undefined) this.rtt = performance.now() - said.pong;
    else if (said.cameras) this.#tell("cameras", said.cameras);
    else if (said.events) this.#tell("events", said);
  }

  /** 4 bytes of length, a message in JSON, a JPEG or nothing. */
  #see(data) {
    const length = new DataView(data).getUint32(0);
    const message = JSON.parse(new TextDecoder().decode(new Uint8Array(data, 4, length)));
    message.arrived = performance.now() - this.rtt / 2 - message.age * 1000; // when the server had the frame
    const jpeg = new Uint8Array(data, 4 + length);
    this.#tell("picture", { message, jpeg: jpeg.length ? new Blob([jpeg], { type: "image/jpeg" }) : null });
  }
}
