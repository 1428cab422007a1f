"""A small Hugging Face hub on the loopback interface, for the tests that download."""

import hashlib
import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from urllib.parse import unquote, urlsplit

TOKEN = "hf_of_the_tests"
API = re.compile(r"/api/(models|datasets)/([^/]+/[^/]+)/(revision|tree)/([^/]+)")
FILE = re.compile(r"/(datasets/)?([^/]+/[^/]+)/resolve/([^/]+)/(.+)")


@dataclass
class Repository:
    """Folders by commit, and commits by branch or tag; a gated one wants `TOKEN`."""

    commits: dict[str, Path] = field(default_factory=dict)
    names: dict[str, str] = field(default_factory=dict)
    gated: bool = False

    def find(self, revision: str) -> str | None:
        commit = self.names.get(revision, revision)
        return commit if commit in self.commits else None


@dataclass
class Hub:
    """The hub's content, its address, and the paths that it was asked for."""

    url: str
    repositories: dict[tuple[str, str], Repository] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)

    def push(
        self, name: str, folder: Path, kind="models", revision="main", gated=False
    ) -> str:
        """Put a folder there as the newest commit of a branch; return the commit."""
        repository = self.repositories.setdefault((kind, name), Repository())
        commit = hashlib.sha1(f"{name} {folder}".encode()).hexdigest()
        repository.commits[commit] = folder
        repository.names[revision] = commit
        repository.gated = gated
        return commit

    def files_asked(self) -> set[str]:
        found = (FILE.fullmatch(path) for path in self.asked)
        return {match[4] for match in found if match}


@contextmanager
def serve() -> Iterator[Hub]:
    """Run an empty hub within the context."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
    server.hub = Hub(f"http://127.0.0.1:{server.server_port}")
    thread = Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield server.hub
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def point_client_at(monkeypatch, url: str, cache: Path, *, offline=False) -> None:
    """Set what the client reads from HF_ENDPOINT, HF_HOME and HF_HUB_OFFLINE.

    It reads them when it is imported, which is long ago in a test.
    """
    from huggingface_hub import constants

    template = url + "/{repo_id}/resolve/{revision}/{filename}"
    monkeypatch.setattr(constants, "ENDPOINT", url)
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(cache))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", offline)


class _Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        path = unquote(urlsplit(self.path).path)
        self.server.hub.asked.append(path)
        if match := API.fullmatch(path):
            kind, name, what, revision = match.groups()
            self.answer_about(kind, name, revision, what)
        elif match := FILE.fullmatch(path):
            section, name, revision, file = match.groups()
            self.answer_file("datasets" if section else "models", name, revision, file)
        else:
            self.refuse(404, "EntryNotFound")

    do_HEAD = do_GET

    def answer_about(self, kind, name, revision, what):
        folder, commit = self.find(kind, name, revision)
        if folder is None:
            return
        files = [path for path in sorted(folder.rglob("*")) if path.is_file()]
        names = [str(path.relative_to(folder)) for path in files]
        about = {"id": name, "sha": commit, "siblings": []}
        tree = [
            {"type": "file", "path": name, "size": path.stat().st_size, "oid": "0" * 40}
            for name, path in zip(names, files, strict=True)
        ]
        self.send(json.dumps(tree if what == "tree" else about).encode(), commit)

    def answer_file(self, kind, name, revision, file):
        folder, commit = self.find(kind, name, revision)
        if folder is None:
            return
        gated = self.server.hub.repositories[kind, name].gated
        if gated and self.headers["Authorization"] != f"Bearer {TOKEN}":
            self.refuse(403, "GatedRepo")
        elif (folder / file).is_file():
            self.send((folder / file).read_bytes(), commit)
        else:
            self.refuse(404, "EntryNotFound")

    def find(self, kind, name, revision):
        repository = self.server.hub.repositories.get((kind, name))
        commit = repository and repository.find(revision)
        if commit:
            return repository.commits[commit], commit
        self.refuse(404, "RevisionNotFound" if repository else "RepoNotFound")
        return None, None

    def send(self, body: bytes, commit: str):
        self.send_response(200)
        self.send_header("ETag", f'"{hashlib.sha256(body).hexdigest()}"')
        self.send_header("X-Repo-Commit", commit)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body)

    def refuse(self, status: int, code: str):
        self.send_response(status)
        self.send_header("X-Error-Code", code)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_):
        """Say nothing: the tests read `asked`."""
