// Live video over WebRTC (WHEP). Each shown picture is told with the name of its frame.

const PATIENCE = 6000;
const KEPT = 300;

/** Plays a camera in a video element until `close`. `onframe(frame)` at each picture shown, {epoch, index};
 *  `onfail()` once, where no video comes or it ends: then something else has to show the camera. */
export class Whep {
  #connection = new RTCPeerConnection({ iceServers: [] });
  #session = null;
  #names = new Map(); // RTP time stamp to frame
  #timer = 0;
  #closed = false;

  constructor(camera, video, onframe, onfail) {
    this.camera = camera;
    this.video = video;
    this.onframe = onframe;
    this.onfail = onfail;
  }

  static possible() {
    return "RTCPeerConnection" in window && "requestVideoFrameCallback" in HTMLVideoElement.prototype;
  }

  async open() {
    this.#expect();
    try {
      await this.#negotiate();
    } catch {
      this.#fail();
    }
  }

  close() {
    if (this.#closed) return;
    this.#closed = true;
    clearTimeout(this.#timer);
    this.#connection.close();
    this.video.srcObject = null;
    if (this.#session) fetch(this.#session, { method: "DELETE", keepalive: true }).catch(() => {});
  }

  async #negotiate() {
    const connection = this.#connection;
    connection.addTransceiver("video", { direction: "recvonly" });
    connection.createDataChannel("frames").onmessage = ({ data }) => this.#name(JSON.parse(data));
    connection.ontrack = ({ streams, track, receiver }) => {
      if ("jitterBufferTarget" in receiver) receiver.jitterBufferTarget = 0;
      this.video.srcObject = streams[0] ?? new MediaStream([track]);
      this.video.play().catch(() => {});
      this.#await();
    };
    connection.onconnectionstatechange = () => {
      if (["failed", "closed"].includes(connection.connectionState)) this.#fail();
    };
    await connection.setLocalDescription(await connection.createOffer());
    await this.#gathered();
    const answer = await fetch(`/whep/${this.camera}`, {
      method: "POST",
      headers: { "Content-Type": "application/sdp" },
      body: connection.localDescription.sdp,
    });
    if (answer.status !== 201) throw new Error(await answer.text());
    this.#session = answer.headers.get("Location");
    if (this.#closed) return void fetch(this.#session, { method: "DELETE" }).catch(() => {});
    await connection.setRemoteDescription({ type: "answer", sdp: await answer.text() });
  }

  #gathered() {
    const connection = this.#connection;
    if (connection.iceGatheringState === "complete") return Promise.resolve();
    return new Promise((done) => {
      connection.onicegatheringstatechange = () => connection.iceGatheringState === "complete" && done();
      setTimeout(done, 1000);
    });
  }

  #name({ rtp, epoch, index }) {
    this.#names.set(rtp, { epoch, index });
    if (this.#names.size > KEPT) this.#names.delete(this.#names.keys().next().value);
  }

  #await() {
    this.video.requestVideoFrameCallback((_, shown) => {
      if (this.#closed) return;
      this.#expect();
      const frame = this.#names.get(shown.rtpTimestamp);
      const there = this.video.readyState >= HTMLMediaElement.HAVE_CURRENT_DATA; // else a blank would be shown
      if (frame && there) this.onframe(frame);
      this.#await();
    });
  }

  /** Where nothing comes for so long, something is wrong. */
  #expect() {
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => this.#fail(), PATIENCE);
  }

  #fail() {
    if (this.#closed) return;
    this.close();
    this.onfail();
  }
}
