"""A web server on this machine that answers as the sources' servers do, and as they do on a bad day."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import yaml

from pdapt.data_prep.sources.registry import FOLDER


@dataclass
class Request:
    """A request, as the server sees it."""

    path: str
    query: list[tuple[str, str]]
    headers: dict[str, str]

    def get(self, name: str) -> str:
        return next((value for key, value in self.query if key == name), "")


@dataclass
class Response:
    """An answer; `send` bytes of the body are sent, all unless it says fewer; then it may hang for a while."""

    body: bytes = b""
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    send: int | None = None
    length: bool = True
    hang: threading.Event | None = None


Route = Callable[[Request], Response]


class Site:
    """Routes by path, and what was asked for."""

    def __init__(self, address: str) -> None:
        self.address = address
        self.routes: dict[str, Route] = {}
        self.requests: list[Request] = []
        self.first: list[Response] = []

    def answers(self, path: str, *responses: Response | bytes) -> None:
        """Answer a path with these, one after the other; the last one stays."""
        left = [Response(each) if isinstance(each, bytes) else each for each in responses]

        def route(request: Request) -> Response:
            del request
            return left.pop(0) if len(left) > 1 else left[0]

        self.routes[path] = route

    def serves(self, path: str, body: bytes, etag: str = '"v1"', cut: int | None = None) -> None:
        """Serve a file with Range and If-Range; the first answer is cut off after `cut` bytes."""
        cuts = [] if cut is None else [cut]

        def route(request: Request) -> Response:
            headers = {"ETag": etag}
            begin = request.headers.get("range", "").removeprefix("bytes=").removesuffix("-")
            if begin and request.headers.get("if-range") == etag:
                headers["Content-Range"] = f"bytes {begin}-{len(body) - 1}/{len(body)}"
                return Response(body[int(begin) :], 206, headers)
            return Response(body, 200, headers, send=cuts.pop() if cuts else None)

        self.routes[path] = route

    def answer(self, request: Request) -> Response:
        self.requests.append(request)
        if self.first:
            return self.first.pop(0)
        route = self.routes.get(request.path)
        return route(request) if route else Response(b"<html>not here</html>", 404)

    def asked(self, path: str) -> list[Request]:
        return [request for request in self.requests if request.path == path]

    def define(self, folder: Path, key: str, change: Callable[[dict[str, Any]], None] | None = None) -> str:
        """A registered source whose addresses lead here: `https://HOST/PATH` becomes `/HOST/PATH`; without a delay."""
        (path,) = [path for path in FOLDER.glob("*/*.yaml") if path.stem == key.lower()]
        text = path.read_text(encoding="utf-8")
        head, _, collect = text.partition("\ncollect:")
        value = yaml.safe_load(f"{head}\ncollect:{collect.replace('https://', self.address + '/')}")
        value["collect"]["delay"] = 0.0
        if change:
            change(value["collect"])
        target = folder / f"{key}.yaml"
        target.write_text(yaml.safe_dump(value, allow_unicode=True), encoding="utf-8")
        return str(target)


@contextmanager
def serving() -> Iterator[Site]:
    """A site, until the block ends."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            parts = urlsplit(self.path)
            headers = {name.lower(): value for name, value in self.headers.items()}
            response = site.answer(Request(parts.path, parse_qsl(parts.query, keep_blank_values=True), headers))
            if not response.length:
                self.protocol_version = "HTTP/1.0"
            self.send_response_only(response.status)
            for name, value in response.headers.items():
                self.send_header(name, value)
            if response.length:
                self.send_header("Content-Length", str(len(response.body)))
            if response.send is not None or not response.length:
                self.close_connection = True
            self.end_headers()
            self.wfile.write(response.body[: response.send])
            if response.hang:
                self.wfile.flush()
                response.hang.wait(20)

        def log_message(self, format: str, *args: Any) -> None:
            del format, args

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    site = Site(f"http://127.0.0.1:{server.server_address[1]}")
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
    try:
        yield site
    finally:
        server.shutdown()
        server.server_close()
