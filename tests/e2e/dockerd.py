#!/usr/bin/env python3
"""The part of docker's engine API that moves images, on a unix socket: dockerd.py SOCKET FOLDER.

FOLDER holds what was loaded: <name with / as _>.tar, and log, a line per request. Two ways of answering,
as daemons differ: names beginning with "sized" get Content-Length, the others chunks. FOLDER/mode changes it:
"refuse" makes a load fail under status 200, "die" closes the connection in the middle, "containerd" tells
manifests' digests as IDs.
"""
import hashlib, http.server, io, json, os, socketserver, sys, tarfile, urllib.parse

sock, folder = sys.argv[1:]


def mode():
    try:
        return open(os.path.join(folder, "mode")).read().strip()
    except FileNotFoundError:
        return ""


def full(name):
    for p in ("docker.io/library/", "docker.io/"):
        name = name.removeprefix(p)
    if name.startswith("sha256:"):
        return name
    return name if ":" in name.rsplit("/", 1)[-1] else name + ":latest"


def path_of(name):
    return os.path.join(folder, full(name).replace("/", "_") + ".tar")


def image_id(data):
    with tarfile.open(fileobj=io.BytesIO(data)) as t:
        if mode() == "containerd":
            return json.load(t.extractfile("index.json"))["manifests"][0]["digest"]
        config = json.load(t.extractfile("manifest.json"))[0]["Config"]
        return "sha256:" + hashlib.sha256(t.extractfile(config).read()).hexdigest()


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def address_string(self):
        return "unix"

    def log_message(self, *_):
        pass

    def note(self):
        with open(os.path.join(folder, "log"), "a") as f:
            print(self.command, self.path, file=f)

    def answer(self, status, body, sized=True):
        self.send_response(status)
        if sized:
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)
            return
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        for i in range(0, len(body), 30011):
            part = body[i:i + 30011]
            self.wfile.write(b"%x\r\n%s\r\n" % (len(part), part))
            if mode() == "die":
                self.close_connection = True
                return
        self.wfile.write(b"0\r\n\r\n")

    def do_GET(self):
        self.note()
        name, what = urllib.parse.unquote(self.path).removeprefix("/images/").rsplit("/", 1)
        try:
            data = open(path_of(name), "rb").read()
        except FileNotFoundError:
            self.answer(404, json.dumps({"message": "No such image: " + name}).encode())
            return
        if what == "json":
            self.answer(200, json.dumps({"Id": image_id(data)}).encode())
        else:
            self.answer(200, data, name.startswith("sized"))

    def do_POST(self):
        self.note()
        data = self.rfile.read(int(self.headers["Content-Length"]))
        if mode() == "refuse":
            self.answer(200, b'{"errorDetail":{"message":"no space left"},"error":"no space left"}\r\n', False)
            return
        with tarfile.open(fileobj=io.BytesIO(data)) as t:
            tags = json.load(t.extractfile("manifest.json"))[0]["RepoTags"] or []
        said = "Loaded image: " + tags[0] if tags else "Loaded image ID: " + image_id(data)
        for n in tags + [image_id(data)]:
            with open(path_of(n), "wb") as f:
                f.write(data)
        self.answer(200, json.dumps({"stream": said + "\n"}).encode() + b"\r\n", False)


class Server(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
    daemon_threads = True


with Server(sock, Handler) as s:
    s.serve_forever()
