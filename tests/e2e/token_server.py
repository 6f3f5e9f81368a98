#!/usr/bin/env python3
"""A token service for a registry on loopback: token_server.py DIR

DIR has t.key and t.pem (RSA). Writes DIR/port when it listens and a line per request to DIR/log.
alice / "wonder land:7" may push and pull below team/; everybody may pull from open/.
"""
import base64
import http.server
import json
import os
import subprocess
import sys
import time
import urllib.parse

DIR = sys.argv[1]
LOGIN = "Basic " + base64.b64encode(b"alice:wonder land:7").decode()


def b64(data):
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def cert():
    der = subprocess.run(["openssl", "x509", "-in", DIR + "/t.pem", "-outform", "der"],
                         check=True, capture_output=True).stdout
    return base64.b64encode(der).decode()


X5C = cert()


def granted(scope, user):
    kind, name, actions = scope.split(":", 2)
    may = set()
    if user and name.startswith("team/"):
        may = {"pull", "push", "delete"}
    elif name.startswith("open/"):
        may = {"pull"}
    return {"type": kind, "name": name, "actions": [a for a in actions.split(",") if a in may]}


def token(scopes, user):
    now = int(time.time())
    head = {"typ": "JWT", "alg": "RS256", "x5c": [X5C]}
    claims = {"iss": "i", "sub": user or "", "aud": "reg", "exp": now + 60, "nbf": now - 10,
              "iat": now, "jti": str(time.time_ns()),
              "access": [granted(s, user) for s in scopes]}
    text = b64(json.dumps(head).encode()) + "." + b64(json.dumps(claims).encode())
    sign = subprocess.run(["openssl", "dgst", "-sha256", "-sign", DIR + "/t.key"], check=True,
                          input=text.encode(), capture_output=True).stdout
    return text + "." + b64(sign)


class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        auth = self.headers.get("Authorization")
        query = urllib.parse.parse_qs(urllib.parse.urlsplit(self.path).query)
        scopes = [s for value in query.get("scope", []) for s in value.split(" ")]
        with open(DIR + "/log", "a") as log:
            print("login" if auth else "anonymous", *scopes, file=log)
        if auth not in (None, LOGIN):
            self.send_error(401)
            return
        body = json.dumps({"token": token(scopes, "alice" if auth else None), "expires_in": 60})
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body.encode())

    def log_message(self, *args):
        pass


server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
with open(DIR + "/port.tmp", "w") as f:
    f.write(str(server.server_port))
os.rename(DIR + "/port.tmp", DIR + "/port")
server.serve_forever()
