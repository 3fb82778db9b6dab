// The few things that are done with the document again and again.

export const $ = (id) => document.getElementById(id);

/** An element with attributes and children; text is text, never markup. */
export function element(name, attributes = {}, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (value === true) made.setAttribute(key, "");
    else if (value !== false && value != null) made.setAttribute(key, value);
  }
  made.append(...children.filter((child) => child != null));
  return made;
}

/** Set a text only where it changes: screen readers hear every change. */
export function say(node, text) {
  if (node.textContent !== text) node.textContent = text;
}

export function toast(text, kind = "") {
  const shown = element("p", { class: "toast", "data-kind": kind }, text);
  $("toasts").append(shown);
  while ($("toasts").children.length > 3) $("toasts").firstChild.remove();
  setTimeout(() => shown.remove(), kind === "error" ? 7000 : 3500);
}

// The palette of Okabe and Ito, as in the overlay: seven hues, then lighter ones, then darker.
const HUES = [
  [86, 180, 233], [230, 159, 0], [0, 158, 115], [240, 228, 66], [213, 94, 0], [204, 121, 167], [0, 114, 178],
];
const LIGHTNESS = [0, 0.45, -0.4];

export function colourOf(id) {
  const amount = LIGHTNESS[Math.floor((id - 1) / HUES.length) % LIGHTNESS.length];
  const target = amount > 0 ? 255 : 0;
  const parts = HUES[(id - 1) % HUES.length].map((part) => Math.round(part + (target - part) * Math.abs(amount)));
  return `rgb(${parts.join(" ")})`;
}

export const nameOf = (track) => (track.label ? `#${track.object_id} ${track.label}` : `#${track.object_id}`);
