"""The few paths of a Kubernetes API server that a CA asks, with the faults a test wants. Not a cluster: the flows use that."""
import http.server
import json
import threading

import pki


class Api:
    def __init__(self):
        self.key = pki.key()
        self.keys = [self.key]
        self.issuer = "https://kubernetes.default.svc.cluster.local"
        self.records = {}
        self.posts = 0
        self.fail = []                      # statuses for the next POSTs of a record
        self.open = threading.Event()       # closed: a POST of a record waits
        self.open.set()
        self.waiting = threading.Event()
        self.tokens = {}                    # TokenReview: token -> status
        api = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *args):
                pass

            def answer(self, status, o):
                body = json.dumps(o).encode()
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def do_GET(self):
                if self.path == "/.well-known/openid-configuration":
                    self.answer(200, {"issuer": api.issuer, "jwks_uri": api.issuer + "/openid/v1/jwks"})
                elif self.path == "/openid/v1/jwks":
                    self.answer(200, pki.jwks(*api.keys))
                else:
                    self.status(404, "NotFound")

            def status(self, code, reason):
                self.answer(code, {"apiVersion": "v1", "kind": "Status", "status": "Failure", "code": code, "reason": reason, "message": reason})

            def do_POST(self):
                o = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                if self.path.endswith("/tokenreviews"):
                    return self.answer(201, o | {"status": api.tokens.get(o["spec"]["token"], {"authenticated": False})})
                if not self.path.endswith("/namespaces/istio-system/issuancerecords"):
                    return self.status(404, "NotFound")
                api.posts += 1
                api.waiting.set()
                api.open.wait(20)
                if api.fail:
                    code = api.fail.pop(0)
                    return self.status(code, {403: "Forbidden", 503: "ServiceUnavailable"}.get(code, "InternalError"))
                if o["metadata"]["name"] in api.records:
                    return self.status(409, "AlreadyExists")
                api.records[o["metadata"]["name"]] = o
                self.answer(201, o)

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def kubeconfig(self):
        cluster = {"name": "c", "cluster": {"server": f"http://127.0.0.1:{self.server.server_address[1]}"}}
        return json.dumps({"apiVersion": "v1", "kind": "Config", "clusters": [cluster], "users": [{"name": "u", "user": {"token": "t"}}],
                           "contexts": [{"name": "x", "context": {"cluster": "c", "user": "u"}}], "current-context": "x"})

    def close(self):
        self.open.set()
        self.server.shutdown()
        self.server.server_close()
