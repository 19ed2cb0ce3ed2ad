"""A small stand-in for the Hub over real HTTP: create, upload through LFS, commit, download; and faults on demand."""

import base64
import hashlib
import json
import re
import threading
from collections import Counter
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

TOKEN = "hf_standin"


class StandIn(ThreadingHTTPServer):
    """Holds repositories in memory.

    Attributes:
        repositories: files by path, for each id; a commit changes all of its files at once.
        faults: (method, part of the path) to a list of what to answer next: a status, or "cut" to drop the connection.
        requests: how often each (method, kind of path) was asked for.
    """

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.repositories, self.blobs, self.commits = {}, {}, Counter()
        self.faults, self.requests = {}, Counter()

    @property
    def url(self):
        return f"http://127.0.0.1:{self.server_address[1]}"

    def __enter__(self):
        threading.Thread(target=self.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *error):
        self.shutdown()
        self.server_close()

    def sha(self, repository):
        return hashlib.sha1(f"{repository}{self.commits[repository]}".encode()).hexdigest()


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *arguments):
        pass

    def answer(self, status, content=None, headers=None, error=None):
        body = content if isinstance(content, bytes) else json.dumps(content if content is not None else {}).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        if error:
            self.send_header("X-Error-Message", error)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def handle_request(self):
        path = self.path.split("?")[0]
        for (method, part), answers in self.server.faults.items():
            if method == self.command and part in path and answers:
                fault = answers.pop(0)
                if fault == "cut":
                    # Half of what was sent is read, and the connection dropped.
                    self.rfile.read(int(self.headers.get("Content-Length", 0)) // 2)
                    self.close_connection = True
                    self.connection.close()
                    return
                self.body()
                self.answer(fault, {"error": "asked for"}, error=f"fault {fault}")
                return
        for method, pattern, action in ROUTES:
            match = re.fullmatch(pattern, path)
            if match and self.command in method:
                self.server.requests[self.command, action.__name__] += 1
                if self.command in ("POST", "PUT") and "/lfs-store/" not in path and not self.authorised():
                    return
                action(self, *match.groups())
                return
        self.body()
        self.answer(404, {"error": path}, error="no such route")

    do_GET = do_HEAD = do_POST = do_PUT = do_DELETE = handle_request  # noqa: N815

    def body(self):
        return self.rfile.read(int(self.headers.get("Content-Length", 0)))

    def authorised(self):
        if self.headers.get("Authorization") == f"Bearer {TOKEN}":
            return True
        self.body()
        self.answer(401, {"error": "Invalid credentials"}, error="Invalid credentials in Authorization header")
        return False

    def create(self):
        asked = json.loads(self.body())
        name = f"{asked['organization']}/{asked['name']}" if asked.get("organization") else asked["name"]
        if asked.get("type") == "space":
            name = f"spaces/{name}"
        url = {"url": f"{self.server.url}/{name}", "id": name, "name": name}
        if name in self.server.repositories:
            self.answer(409, url, error="You already created this model repo")
            return
        self.server.repositories[name] = {}
        self.answer(200, url)

    def delete(self):
        asked = json.loads(self.body())
        del self.server.repositories[f"{asked['organization']}/{asked['name']}"]
        self.answer(200)

    def validate(self):
        self.body()
        self.answer(200, {"errors": [], "warnings": []})

    def preupload(self, name):
        files = json.loads(self.body())["files"]
        modes = [
            {
                "path": file["path"],
                "uploadMode": "lfs" if file["path"].endswith((".safetensors", ".png")) else "regular",
                "shouldIgnore": False,
            }
            for file in files
        ]
        self.answer(200, {"files": modes})

    def batch(self, name):
        objects = []
        for one in json.loads(self.body())["objects"]:
            known = one["oid"] in self.server.blobs
            upload = {"upload": {"href": f"{self.server.url}/lfs-store/{one['oid']}", "header": {}}}
            objects.append(one if known else one | {"actions": upload})
        self.answer(200, {"transfer": "basic", "objects": objects})

    def store(self, oid):
        content = self.body()
        if hashlib.sha256(content).hexdigest() != oid:
            self.answer(400, error="the content is not what its hash says")
            return
        self.server.blobs[oid] = content
        self.answer(200)

    def commit(self, name):
        changes = {}
        for line in self.body().decode().splitlines():
            item = json.loads(line)
            value = item["value"]
            if item["key"] == "file":
                changes[value["path"]] = base64.b64decode(value["content"])
            elif item["key"] == "lfsFile":
                changes[value["path"]] = self.server.blobs[value["oid"]]
        self.server.repositories[name] |= changes
        self.server.commits[name] += 1
        sha = self.server.sha(name)
        self.answer(
            200, {"commitUrl": f"{self.server.url}/{name}/commit/{sha}", "commitOid": sha, "pullRequestUrl": None}
        )

    def commit_of_space(self, name):
        self.commit(f"spaces/{name}")

    def info(self, name):
        if name not in self.server.repositories:
            self.answer(404, {"error": "Repository not found"}, headers={"X-Error-Code": "RepoNotFound"})
            return
        files = [{"rfilename": path} for path in sorted(self.server.repositories[name])]
        self.answer(200, {"id": name, "sha": self.server.sha(name), "siblings": files, "tags": [], "private": False})

    def tree(self, name):
        files = self.server.repositories[name]
        listing = [
            {"type": "file", "path": path, "size": len(content), "oid": hashlib.sha1(content).hexdigest()}
            for path, content in sorted(files.items())
        ]
        self.answer(200, listing)

    def resolve(self, name, path):
        content = self.server.repositories.get(name, {}).get(path)
        if content is None:
            self.answer(404, headers={"X-Error-Code": "EntryNotFound"})
            return
        etag = hashlib.sha256(content).hexdigest()
        self.answer(200, content, {"ETag": f'"{etag}"', "X-Repo-Commit": self.server.sha(name)})


NAME = r"([\w.-]+/[\w.-]+)"
ROUTES = (
    (("POST",), r"/api/repos/create", Handler.create),
    (("DELETE",), r"/api/repos/delete", Handler.delete),
    (("POST",), r"/api/validate-yaml", Handler.validate),
    (("POST",), rf"/api/models/{NAME}/preupload/main", Handler.preupload),
    (("POST",), rf"/api/spaces/{NAME}/preupload/main", Handler.preupload),
    (("POST",), rf"/api/spaces/{NAME}/commit/main", Handler.commit_of_space),
    (("POST",), rf"/{NAME}\.git/info/lfs/objects/batch", Handler.batch),
    (("PUT",), r"/lfs-store/(\w+)", Handler.store),
    (("POST",), rf"/api/models/{NAME}/commit/main", Handler.commit),
    (("GET",), rf"/api/models/{NAME}(?:/revision/\w+)?", Handler.info),
    (("GET",), rf"/api/models/{NAME}/tree/\w+", Handler.tree),
    (("GET", "HEAD"), rf"/{NAME}/resolve/\w+/(.+)", Handler.resolve),
)
