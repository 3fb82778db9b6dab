// Commands and passwords over HTTP. The messages are those of MQTT: see /api/openapi.json.

export class Refused extends Error {
  constructor(status, reason) {
    super(reason);
    this.status = status;
  }
}

async function call(method, path, message) {
  let answer;
  try {
    answer = await fetch(path, {
      method,
      cache: "no-store",
      headers: message && { "Content-Type": "application/json" },
      body: message && JSON.stringify(message),
    });
  } catch {
    throw new Refused(0, "the server cannot be reached");
  }
  const said = await answer.json().catch(() => ({}));
  if (!answer.ok) throw new Refused(answer.status, said.error || answer.statusText);
  return said;
}

/** What became of a command; raises `Refused` with the reason. */
export const ask = (camera, command, message) => call("POST", `/api/cameras/${camera}/${command}`, message);

/** What a camera is watched for, and other things to watch it for. */
export const rulesOf = (camera) => call("GET", `/api/cameras/${camera}/rules`);
export const watchFor = (camera, rules) => call("PUT", `/api/cameras/${camera}/rules`, rules);

export const login = (password) => call("POST", "/api/login", { password });
export const logout = () => call("POST", "/api/logout", {});

/** Whether we are let in. */
export async function admitted() {
  const answer = await fetch("/api/cameras", { cache: "no-store" });
  if (answer.status === 401) return false;
  if (!answer.ok) throw new Refused(answer.status, (await answer.json().catch(() => ({}))).error || "refused");
  return true;
}
