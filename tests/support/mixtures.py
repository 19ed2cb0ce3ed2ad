"""Small sources and mixtures of mild rows, and a server that hands files out, or fails to."""

import hashlib
import json
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import yaml

TOPICS = ("bread", "tides", "chess", "maps", "tea", "kites", "owls", "clocks", "ferns", "drums", "wool", "bridges")


def pair_rows(count=48, name="kind"):
    """Rows of paired columns, four of each topic, one group a topic since they share a long reply."""
    return [
        {
            "topic": TOPICS[at % len(TOPICS)],
            "question": f"Question {at} of {name}: what about {TOPICS[at % len(TOPICS)]}?",
            "better": f"Gladly. A long and friendly answer about {TOPICS[at % len(TOPICS)]}, for {name}.",
            "worse": f"No idea, number {at} of {name}; look it up yourself and leave me alone.",
        }
        for at in range(count)
    ]


def write_rows(path, rows):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def digest(path):
    return hashlib.sha256(Path(path).read_bytes()).hexdigest()


def paired(source, **more):
    options = {"prompt": "question", "chosen": "better", "rejected": "worse"}
    return {"source": source, "converter": "paired_columns", "options": options, **more}


def small_mixture(folder, **changes):
    """A mixture of two objectives from two local files, with completions, prompts and a text; its path."""
    kind, clear = (write_rows(folder / f"{name}.jsonl", pair_rows(name=name)) for name in ("kind", "clear"))
    asked = write_rows(folder / "asked.jsonl", [{"text": f"How do owls sleep, case {at}?"} for at in range(6)])
    (folder / "text.txt").write_text("A line of text.\n" * 40, encoding="utf-8")
    source = {"licence": "MIT", "about": "made up"}
    content = {
        "sources": {
            **{path.stem: {**source, "files": [local(path)]} for path in (kind, clear, asked, folder / "text.txt")},
        },
        "objectives": {"kindness": [paired("kind")], "clarity": [paired("clear")]},
        "completions": {
            "harmful": [_completions("kind", "worse")],
            "humane": [_completions("kind", "better")],
        },
        "prompts": {"safety/asked.jsonl": [{"source": "asked", "converter": "prompts", "options": {"prompt": "text"}}]},
        "texts": {"capability/text.txt": {"source": "text", "characters": 100}},
        "least_held_out": 8,
        **changes,
    }
    return write_mixture(folder / "mixture.yaml", content)


def local(path):
    return {"name": path.name, "local": path.name, "sha256": digest(path)}


def write_mixture(path, content):
    path.write_text(yaml.safe_dump(content), encoding="utf-8")
    return path


def _completions(source, column):
    return {"source": source, "converter": "completions", "options": {"prompt": "question", "completion": column}}


@contextmanager
def file_server(folder, promised=0):
    """Serve a folder; `promised` more bytes are announced than are sent. Yields the address."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            path = folder / self.path.lstrip("/")
            if not path.is_file():
                self.send_error(404)
                return
            content = path.read_bytes()
            self.send_response(200)
            self.send_header("Content-Length", str(len(content) + promised))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *arguments):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
