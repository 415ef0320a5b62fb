"""Sample app of a pod: HTTP on 8080 answers the request's headers as JSON, TCP on 9000 repeats lines."""
import http.server
import json
import socketserver
import threading


class Web(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        body = json.dumps({"path": self.path, "headers": {k.lower(): v for k, v in self.headers.items()}}).encode()
        self.send_response(200)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args):
        pass


class Lines(socketserver.StreamRequestHandler):
    def handle(self):
        for line in self.rfile:
            self.wfile.write(line)


class TcpServer(socketserver.ThreadingTCPServer):
    allow_reuse_address = True
    daemon_threads = True


threading.Thread(target=TcpServer(("0.0.0.0", 9000), Lines).serve_forever, daemon=True).start()
server = http.server.ThreadingHTTPServer(("0.0.0.0", 8080), Web)
print("ready", flush=True)
server.serve_forever()
