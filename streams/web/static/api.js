// Commands and passwords over HTTP. The messages are those of MQTT: see /api/openapi.json.

export class Refused extends Error {
  constructor(status, reason) {
    super(reason);
    this.status = status;
  }
}

async function post(path, message) {
  let answer;
  try {
    answer = await fetch(path, {
      method: "POST",
      headers: { "Content-Type": "application/json" },
      body: JSON.stringify(message),
    });
  } catch {
    throw new Refused(0, "the server cannot be reached");
  }
  const said = await answer.json().catch(() => ({}));
  if (!answer.ok) throw new Refused(answer.status, said.error || answer.statusText);
  return said;
}

/** What became of a command; raises `Refused` with the reason. */
export const ask = (camera, command, message) => post(`/api/cameras/${camera}/${command}`, message);

export const login = (password) => post("/api/login", { password });
export const logout = () => post("/api/logout", {});

/** Whether we are let in. */
export async function admitted() {
  const answer = await fetch("/api/cameras", { cache: "no-store" });
  if (answer.status === 401) return false;
  if (!answer.ok) throw new Refused(answer.status, (await answer.json().catch(() => ({}))).error || "refused");
  return true;
}
