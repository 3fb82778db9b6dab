"""A mask from an MQTT message or a results file, without Keepsight: numpy only.

COCO's compressed run-length encoding: lengths of runs of 0 and 1 in turn, beginning with 0, down the columns.
From the fourth run on, each is the difference from the run two before it; each number is in groups of 5 bits,
lowest first, a character a group, with bit 5 set where more follow.
"""

import json
import sys
from pathlib import Path

import numpy as np


def runs(counts: str) -> list[int]:
    found: list[int] = []
    value = shift = 0
    for character in counts:
        group = ord(character) - 48
        value |= (group & 0x1F) << shift
        shift += 5
        if group & 0x20:  # more follow
            continue
        value -= (1 << shift) if group & 0x10 else 0  # negative
        found.append(value + found[-2] if len(found) > 2 else value)
        value = shift = 0
    return found


def decode(mask: dict) -> np.ndarray:
    """mask: {"size": [height, width], "counts": "..."}; the result is (height, width) bool."""
    height, width = mask["size"]
    lengths = runs(mask["counts"])
    return np.repeat(np.arange(len(lengths)) % 2 == 1, lengths).reshape(width, height).T


if __name__ == "__main__":  # python decode_mask.py results.jsonl
    for line in Path(sys.argv[1]).read_text().splitlines():
        for track in json.loads(line)["tracks"]:
            print(track["object_id"], int(decode(track["mask"]).sum()), "pixels")
