"""A web server on this machine, with the faults of real ones."""

import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class FileServer(ThreadingHTTPServer):
    """Serves `files`, name to content, and counts requests.

    Attributes
    ----------
    broken_after : int or None
        Bytes after which the next transfer breaks.
    knows_ranges : bool
        Whether it can send the rest of a file.
    refusals : int
        Requests that it still answers with 503.
    """

    def __init__(self):
        super().__init__(("127.0.0.1", 0), _Handler)
        self.files, self.requests, self.ranges = {}, Counter(), []
        self.broken_after, self.knows_ranges, self.refusals = None, True, 0

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class _Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        server, name = self.server, self.path.strip("/")
        server.requests[name] += 1
        server.ranges.append(self.headers.get("Range"))
        if server.refusals:
            server.refusals -= 1
            self.send_error(503)
            return
        if name not in server.files:
            self.send_error(404)
            return
        content, start = server.files[name], 0
        if server.knows_ranges and self.headers.get("Range"):
            start = int(self.headers["Range"].removeprefix("bytes=").rstrip("-"))
            if start >= len(content):
                self.send_error(416)
                return
        self.send_response(206 if start else 200)
        self.send_header("Content-Length", str(len(content) - start))
        self.end_headers()
        end = len(content) if server.broken_after is None else start + server.broken_after
        server.broken_after = None
        self.wfile.write(content[start:end])

    def log_message(self, *_arguments):
        """Quiet."""


@contextmanager
def file_server() -> Iterator[FileServer]:
    """A server for the time of a test."""
    server = FileServer()
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
