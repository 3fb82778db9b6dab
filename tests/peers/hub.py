"""A Hugging Face Hub on this machine with one file: enough of it for its own client library to fetch it."""

from __future__ import annotations

import hashlib
import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Self

COMMIT = "0123456789abcdef0123456789abcdef01234567"


@dataclass
class Hub:
    """Serves `content` as `file` of `repository` at COMMIT and at main. With `drops`, the first answer breaks
    off in the middle. `asked` are the requests that came: method, path and range."""

    repository: str
    file: str
    content: bytes
    drops: bool = False
    asked: list[tuple[str, str, str | None]] = field(default_factory=list)
    _server: ThreadingHTTPServer | None = None

    def __enter__(self) -> Self:
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), type("Bound", (Handler,), {"hub": self}))
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._server is not None
        self._server.shutdown()
        self._server.server_close()

    @property
    def endpoint(self) -> str:
        assert self._server is not None
        return f"http://127.0.0.1:{self._server.server_port}"

    @property
    def sha256(self) -> str:
        return hashlib.sha256(self.content).hexdigest()

    def has(self, path: str) -> bool:
        places = (f"/{self.repository}/resolve/{revision}/{self.file}" for revision in (COMMIT, "main"))
        return path in places

    def drop_now(self) -> bool:
        """Whether this answer is the one to break off."""
        drops, self.drops = self.drops, False
        return drops


class Handler(BaseHTTPRequestHandler):
    hub: Hub

    def do_HEAD(self) -> None:
        self.hub.asked.append(("HEAD", self.path, None))
        if self.begin(200, len(self.hub.content)):
            self.end_headers()

    def do_GET(self) -> None:
        wanted = self.headers.get("Range")
        self.hub.asked.append(("GET", self.path, wanted))
        start = int(wanted.removeprefix("bytes=").rstrip("-")) if wanted else 0
        body = self.hub.content[start:]
        if not self.begin(206 if wanted else 200, len(body)):
            return
        if wanted:
            total = len(self.hub.content)
            self.send_header("Content-Range", f"bytes {start}-{total - 1}/{total}")
        self.end_headers()
        if self.hub.drop_now():
            self.wfile.write(body[: len(body) // 2])
            self.close_connection = True
        else:
            self.wfile.write(body)

    def begin(self, status: int, length: int) -> bool:
        """Send the headers that both answers have; False, with a 404, for a file that is not there."""
        if not self.hub.has(self.path):
            self.send_response(404)
            self.send_header("X-Error-Code", "EntryNotFound")
            self.send_header("Content-Length", "0")
            self.end_headers()
            return False
        self.send_response(status)
        self.send_header("ETag", f'"{self.hub.sha256}"')
        self.send_header("X-Repo-Commit", COMMIT)
        self.send_header("Accept-Ranges", "bytes")
        self.send_header("Content-Length", str(length))
        return True

    def log_message(self, format: str, *arguments: object) -> None:
        """Silence: what was asked is in `Hub.asked`."""
