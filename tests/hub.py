"""A hub of models and data sets in small: a server of this machine that gives what lies in a folder
as the real one would, so that the libraries themselves are driven."""

import hashlib
import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from urllib.parse import parse_qs, unquote, urlsplit

import datasets
import huggingface_hub
import pytest
from huggingface_hub import constants

WHERE = r"/(?P<kind>datasets|models)/(?P<name>[^/]+/[^/]+)/"
API = re.compile(rf"/api{WHERE}(?P<what>revision|tree|paths-info)/(?P<commit>[^/]+)/?(?P<path>.*)")
RESOLVE = re.compile(rf"{WHERE}resolve/(?P<commit>[^/]+)/(?P<path>.+)")


class Hub:
    """`folder`/datasets/owner/name and `folder`/models/owner/name, at the one commit `commit`.

    `asked` has the paths of all requests; while `answers` is off, connections are closed unread.
    """

    def __init__(self, folder: Path, commit: str) -> None:
        self.folder, self.commit = folder, commit
        self.asked: list[str] = []
        self.answers = True

    def reply(self, path: str, paths: list[str]) -> tuple[int, dict[str, str], bytes]:
        """Status, headers and body; `paths` are those that a form asks for."""
        self.asked.append(path)
        if found := API.fullmatch(path):
            if found["commit"] != self.commit:
                return 404, {"X-Error-Code": "RevisionNotFound"}, b"{}"
            root = self.folder / found["kind"] / found["name"]
            if not (root / found["path"]).exists():
                return 404, {"X-Error-Code": "EntryNotFound"}, b"{}"
            entries = [_entry(p, root) for p in sorted((root / found["path"]).rglob("*"))]
            body: object = entries
            if found["what"] == "revision":
                files = [{"rfilename": e["path"]} for e in entries if e["type"] == "file"]
                body = {"id": found["name"], "sha": self.commit, "siblings": files}
            elif found["what"] == "paths-info":
                body = [e for e in entries if e["path"] in paths]
            return 200, {"Content-Type": "application/json"}, json.dumps(body).encode()
        resolved = path if path.startswith("/datasets/") else f"/models{path}"
        if (found := RESOLVE.fullmatch(resolved)) is None:
            return 404, {}, b"{}"
        headers = {"X-Repo-Commit": self.commit}
        if found["commit"] != self.commit:
            return 404, {"X-Error-Code": "RevisionNotFound"}, b"{}"
        file = self.folder / found["kind"] / found["name"] / found["path"]
        if not file.is_file():
            return 404, {**headers, "X-Error-Code": "EntryNotFound"}, b""
        return 200, {**headers, "ETag": f'"{_oid(file)}"'}, file.read_bytes()


def _oid(file: Path) -> str:
    return hashlib.sha1(file.read_bytes(), usedforsecurity=False).hexdigest()


def _entry(path: Path, root: Path) -> dict[str, str | int]:
    name = path.relative_to(root).as_posix()
    if path.is_dir():
        return {"type": "directory", "path": name, "oid": "0" * 40}
    return {"type": "file", "path": name, "oid": _oid(path), "size": path.stat().st_size}


@contextmanager
def serving(hub: Hub, monkeypatch: pytest.MonkeyPatch, *, cache: Path) -> Iterator[Hub]:
    """The libraries ask this hub, and keep what it gives under `cache`: as HF_ENDPOINT and HF_HOME
    have it, which they read when they are imported."""

    class Handler(BaseHTTPRequestHandler):
        def answer(self) -> None:
            if not hub.answers:
                self.close_connection = True
                return
            form = self.rfile.read(int(self.headers.get("Content-Length", 0))).decode()
            path = unquote(urlsplit(self.path).path)
            status, headers, body = hub.reply(path, parse_qs(form).get("paths", []))
            self.send_response(status)
            for key, value in {**headers, "Content-Length": str(len(body))}.items():
                self.send_header(key, value)
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(body)

        do_GET = do_HEAD = do_POST = answer

        def log_message(self, *_: object) -> None:
            """Nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
    endpoint = f"http://127.0.0.1:{server.server_port}"
    use_cache(cache, monkeypatch)
    template = constants.HUGGINGFACE_CO_URL_TEMPLATE.replace(constants.ENDPOINT, endpoint)
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
    monkeypatch.setattr(constants, "ENDPOINT", endpoint)
    monkeypatch.setattr(datasets.config, "HF_ENDPOINT", endpoint)
    huggingface_hub.close_session()
    try:
        yield hub
    finally:
        huggingface_hub.close_session()
        server.shutdown()
        server.server_close()


def use_cache(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the libraries fetch is kept under `folder`, as with HF_HOME."""
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(folder / "hub"))
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", str(folder / "datasets"))


def go_offline(monkeypatch: pytest.MonkeyPatch) -> None:
    """As HF_HUB_OFFLINE=1."""
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)
