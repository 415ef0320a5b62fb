"""Load of a pod: HTTP requests on kept and on new connections and one long TCP conversation, until stdin closes; then one
line of JSON. A request that is not answered with 200 in a second is a failure; nothing is tried twice."""
import http.client
import json
import socket
import sys
import threading
import time

ip, host = sys.argv[1], sys.argv[2]
stop, lock = threading.Event(), threading.Lock()
result = {"requests": 0, "failures": [], "servers": []}


def note(failure=None, server=None):
    with lock:
        result["requests"] += 1
        if failure:
            result["failures"].append([round(time.time(), 3), failure])
        if server and server not in result["servers"]:
            result["servers"].append(server)


def requests(kept):
    c = None
    while not stop.is_set():
        try:
            c = c or http.client.HTTPConnection(ip, 80, timeout=1)
            c.request("GET", "/", headers={"Host": host})
            r = c.getresponse()
            body = r.read()
            if r.status == 200:
                xfcc = json.loads(body)["headers"].get("x-forwarded-client-cert", "")
                note(server=xfcc.partition(";")[0])
            else:
                note(f"{r.status} {body[:200].decode()}")
        except OSError as e:
            note(f"{'kept' if kept else 'new'}: {e!r}")
            c = None
        except http.client.HTTPException as e:
            note(f"{'kept' if kept else 'new'}: {e!r}")
            c = None
        if c and not kept:
            c.close()
            c = None
        time.sleep(0.01)


def conversation():
    try:
        s = socket.create_connection((ip, 9000), 3)
        s.settimeout(2)
        while not stop.is_set():
            s.sendall(b"line\n")
            if s.recv(100) != b"line\n":
                raise OSError("cut")
            note()
            time.sleep(0.02)
    except OSError as e:
        note(f"tcp: {e!r}")


threads = [threading.Thread(target=requests, args=(kept,)) for kept in (True, True, False, False)] + [threading.Thread(target=conversation)]
for t in threads:
    t.start()
print("ready", flush=True)
sys.stdin.read()
stop.set()
for t in threads:
    t.join()
print(json.dumps(result))
