// A mask from an MQTT message or a results file, in a browser or Node: COCO's compressed run-length encoding,
// as examples/decode_mask.py explains it. Returns a Uint8Array of height * width, row by row, 1 on the object.

function decodeMask({ size: [height, width], counts }) {
  const runs = [];
  let value = 0, shift = 0;
  for (const character of counts) {
    const group = character.charCodeAt(0) - 48;
    value += (group & 0x1f) * 2 ** shift;
    shift += 5;
    if (group & 0x20) continue; // more follow
    if (group & 0x10) value -= 2 ** shift; // negative
    runs.push(runs.length > 2 ? value + runs[runs.length - 2] : value);
    value = shift = 0;
  }
  const mask = new Uint8Array(height * width);
  let at = 0;
  runs.forEach((length, number) => {
    for (const end = at + length; at < end; at++) {
      mask[(at % height) * width + Math.floor(at / height)] = number % 2; // down the columns
    }
  });
  return mask;
}

if (typeof module !== "undefined") module.exports = { decodeMask };
