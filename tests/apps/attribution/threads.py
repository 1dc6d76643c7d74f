"""A thread for each connection, by Python's own http.server. UPSTREAM is the port of a server that answers late."""

import http.client
import os
import threading
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from work import target, work

UPSTREAM = int(os.environ["UPSTREAM"])
pool = ThreadPoolExecutor(4)
local = threading.local()


def sync(number):
    work(number, 1)


def executor(number):
    work(number, 1)
    pool.submit(work, number, 2).result()
    work(number, 3)


def upstream(number):
    work(number, 1)
    if not hasattr(local, "upstream"):
        local.upstream = http.client.HTTPConnection("127.0.0.1", UPSTREAM)
    local.upstream.request("GET", "/")
    local.upstream.getresponse().read()
    work(number, 2)


SHAPES = {"sync": sync, "executor": executor, "upstream": upstream}


class Handler(BaseHTTPRequestHandler):
    # Connections are kept alive.
    protocol_version = "HTTP/1.1"
    # A body that waits for the head's acknowledgement takes 40 ms.
    disable_nagle_algorithm = True

    def do_GET(self):
        shape, number = target(self.path)
        SHAPES[shape](number)
        self.send_response(200)
        self.send_header("Content-Length", "5")
        self.end_headers()
        self.wfile.write(b"done\n")

    def log_message(self, *arguments):
        pass


class Server(ThreadingHTTPServer):
    # As many as there may be clients.
    request_queue_size = 1024


server = Server(("127.0.0.1", 0), Handler)
print("listening on", server.server_address[1], flush=True)
server.serve_forever()
