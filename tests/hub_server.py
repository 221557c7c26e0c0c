"""A Hugging Face Hub in one file, for tests: repositories in memory behind a local HTTP server.

    with HubServer() as hub:
        ...  # a process with HF_ENDPOINT=hub.url creates repositories, uploads to them and loads from them
        hub.repositories["me/sam2"]["config.json"]  # the stored bytes
        hub.requests  # what was asked, such as "GET /api/models/me/sam2"

It speaks what huggingface_hub and transformers ask for in an upload and in `from_pretrained`: models only, one branch,
files inline in the commit. Writing needs a token, reading does not. Answers to errors carry the codes of the real Hub,
because the client tells a missing file, revision and repository apart by them.
"""

import base64
import hashlib
import json
import os
import re
import subprocess
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from urllib.parse import unquote, urlsplit

BRANCH = "main"
REPOSITORY = r"(?P<repo_id>[\w.-]+/[\w.-]+)"
ROUTES = {  # method and path -> the answering function
    r"POST /api/repos/create": "create",
    r"POST /api/validate-yaml": "validate",
    rf"POST /api/models/{REPOSITORY}/preupload/(?P<revision>\w+)": "preupload",
    rf"POST /api/models/{REPOSITORY}/commit/(?P<revision>\w+)": "commit",
    rf"GET /api/models/{REPOSITORY}(/revision/(?P<revision>\w+))?": "describe",
    rf"GET /api/models/{REPOSITORY}/tree/(?P<revision>\w+)(/(?P<folder>.+))?": "tree",
    rf"(GET|HEAD) /{REPOSITORY}/resolve/(?P<revision>\w+)/(?P<name>.+)": "resolve",
}


class HubError(Exception):
    """An answer other than 200: status, the code of the real Hub, and the commit in which a file is missing."""

    def __init__(self, status: int, code: str, commit: str | None = None):
        super().__init__(code)
        self.status, self.code = status, code
        self.headers = {"X-Repo-Commit": commit} if commit else {}


class HubServer:
    """Starts when entered, forgets everything when left."""

    def __init__(self):
        self.repositories: dict[str, dict[str, bytes]] = {}
        self.requests: list[str] = []
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
        self._server.hub = self
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def __enter__(self) -> "HubServer":
        Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_) -> None:
        self._server.shutdown()
        self._server.server_close()

    def files(self, repo_id: str, revision: str | None = None) -> dict[str, bytes]:
        """Files of a repository, by name."""
        if repo_id not in self.repositories:
            raise HubError(404, "RepoNotFound")
        if revision not in (None, BRANCH, self.commit_of(repo_id)):
            raise HubError(404, "RevisionNotFound")
        return self.repositories[repo_id]

    def commit_of(self, repo_id: str) -> str:
        """40 hexadecimal digits that change with the files."""
        content = [(name, _blob_id(data)) for name, data in sorted(self.repositories[repo_id].items())]
        return hashlib.sha1(repr(content).encode()).hexdigest()


def run(command: list, hub: HubServer, home: Path) -> str:
    """The stdout of a command whose Hub is the given server and whose cache is `home`."""
    settings = {"HF_ENDPOINT": hub.url, "HF_TOKEN": "hf_dummy", "HF_HOME": str(home), "NO_PROXY": "127.0.0.1"}
    settings |= {"HF_HUB_DISABLE_TELEMETRY": "1", "HF_HUB_DISABLE_XET": "1"}
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(("HF_", "TRANSFORMERS_"))}
    done = subprocess.run(
        list(map(str, command)), env=inherited | settings, cwd=home.parent, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


class _Handler(BaseHTTPRequestHandler):
    def _answer(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        request = f"{self.command} {unquote(urlsplit(self.path).path)}"
        self.server.hub.requests.append(request)
        routes = ((re.fullmatch(pattern, request), name) for pattern, name in ROUTES.items())
        try:
            match, name = next(((match, name) for match, name in routes if match), (None, None))
            if match is None:
                raise HubError(404, "UnknownRoute")
            if self.command == "POST" and not self.headers.get("Authorization", "").startswith("Bearer "):
                raise HubError(401, "TokenNeeded")
            reply = getattr(self, name)(body=body, **match.groupdict())
            content, headers = reply if isinstance(reply, tuple) else (json.dumps(reply).encode(), {})
            self._send(200, content, headers)
        except HubError as error:
            told = {"X-Error-Code": error.code, "X-Error-Message": error.code, **error.headers}
            self._send(error.status, b"{}", told)

    do_GET = do_HEAD = do_POST = _answer  # noqa: N815

    def _send(self, status: int, content: bytes, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in {"Content-Length": str(len(content)), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    def create(self, body: bytes) -> dict:
        wanted = json.loads(body)
        repo_id = f"{wanted['organization']}/{wanted['name']}"
        self.server.hub.repositories.setdefault(repo_id, {})
        return {"url": f"{self.server.hub.url}/{repo_id}"}

    def validate(self, body: bytes) -> dict:
        return {"errors": [], "warnings": []}

    def preupload(self, body: bytes, repo_id: str, revision: str) -> dict:
        self.server.hub.files(repo_id, revision)
        names = [file["path"] for file in json.loads(body)["files"]]
        return {"files": [{"path": name, "uploadMode": "regular", "shouldIgnore": False} for name in names]}

    def commit(self, body: bytes, repo_id: str, revision: str) -> dict:
        files = self.server.hub.files(repo_id, revision)
        for line in map(json.loads, body.splitlines()):
            if line["key"] == "file":
                files[line["value"]["path"]] = base64.b64decode(line["value"]["content"])
        commit = self.server.hub.commit_of(repo_id)
        return {"commitUrl": f"{self.server.hub.url}/{repo_id}/commit/{commit}", "commitOid": commit}

    def describe(self, body: bytes, repo_id: str, revision: str | None) -> dict:
        names = self.server.hub.files(repo_id, revision)
        siblings = [{"rfilename": name} for name in names]
        return {"id": repo_id, "sha": self.server.hub.commit_of(repo_id), "private": False, "siblings": siblings}

    def tree(self, body: bytes, repo_id: str, revision: str, folder: str | None) -> list[dict]:
        prefix = f"{folder}/" if folder else ""
        files = {n: d for n, d in self.server.hub.files(repo_id, revision).items() if n.startswith(prefix)}
        if folder and not files:
            raise HubError(404, "EntryNotFound")
        return [{"type": "file", "path": n, "size": len(d), "oid": _blob_id(d)} for n, d in files.items()]

    def resolve(self, body: bytes, repo_id: str, revision: str, name: str) -> tuple[bytes, dict[str, str]]:
        files = self.server.hub.files(repo_id, revision)
        if name not in files:
            raise HubError(404, "EntryNotFound", self.server.hub.commit_of(repo_id))
        etag = f'"{_blob_id(files[name])}"'
        return files[name], {"ETag": etag, "X-Repo-Commit": self.server.hub.commit_of(repo_id)}

    def log_message(self, *_) -> None:
        """Nothing: tests have their own output."""


def _blob_id(data: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()
