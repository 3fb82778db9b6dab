"""The tracks of a recording by object and frame, kept in a file on disk that goes when it is closed."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable

from keepsight.streams import rle
from keepsight.streams.types import Box, State, Track

CACHE_KIB = 4096
"""What of the file is held in memory at most."""

SCHEMA = """
CREATE TABLE tracks (
    object_id INTEGER, frame INTEGER, backwards INTEGER, label TEXT, height INTEGER, width INTEGER, mask TEXT,
    x0 REAL, y0 REAL, x1 REAL, y1 REAL, state TEXT,
    confidence REAL, iou REAL, presence REAL, stability REAL, margin REAL,
    PRIMARY KEY (object_id, frame, backwards)
) WITHOUT ROWID
"""
Corner = float | None
Row = tuple[int, int, int, str, str, Corner, Corner, Corner, Corner, State, float, float, float, float, float]
COLUMNS = (
    "object_id, height, width, mask, label, x0, y0, x1, y1, state, "
    "confidence, iou, presence, stability, margin"
)


class TrackStore:
    """Tracks as masks in run lengths, of either direction of tracking; a track of the same object, frame and
    direction replaces the former one."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    def put(self, frame: int, backwards: bool, tracks: Iterable[Track]) -> None:
        rows = [(frame, backwards, *row_of(track)) for track in tracks]
        marks = ", ".join("?" * (2 + len(COLUMNS.split(","))))
        insert = f"INSERT OR REPLACE INTO tracks (frame, backwards, {COLUMNS}) VALUES ({marks})"
        self._connection.executemany(insert, rows)

    def get(self, object_id: int, frame: int, backwards: bool) -> Track | None:
        query = f"SELECT {COLUMNS} FROM tracks WHERE object_id = ? AND frame = ? AND backwards = ?"
        row = self._connection.execute(query, (object_id, frame, backwards)).fetchone()
        return None if row is None else track_of(row)

    def forget(self, object_id: int) -> None:
        self._connection.execute("DELETE FROM tracks WHERE object_id = ?", (object_id,))


def open_store() -> sqlite3.Connection:
    """An empty database in a temporary file; closing it deletes the file."""
    connection = sqlite3.connect("", isolation_level=None, check_same_thread=False)
    for setting in ("journal_mode = OFF", "synchronous = OFF", f"cache_size = -{CACHE_KIB}"):
        connection.execute(f"PRAGMA {setting}")
    connection.execute(SCHEMA)
    return connection


def row_of(track: Track) -> tuple[object, ...]:
    mask = rle.encode(track.mask)
    scores = track.confidence, track.iou, track.presence, track.stability, track.margin
    box = track.box or (None,) * 4
    return (track.object_id, *mask["size"], mask["counts"], track.label, *box, track.state, *scores)


def track_of(row: Row) -> Track:
    object_id, height, width, counts, label, x0, y0, x1, y1, state, *scores = row
    box: Box | None = None if x0 is None or y0 is None or x1 is None or y1 is None else (x0, y0, x1, y1)
    mask = rle.decode({"size": [height, width], "counts": counts})
    confidence, iou, presence, stability, margin = scores
    return Track(object_id, label, mask, box, state, confidence, iou, presence, stability, margin)
