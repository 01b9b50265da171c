"""The other side: forty accounts. Number 13 is out of order until there is a file named `mended`."""

import json
import sys
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path


class Accounts(BaseHTTPRequestHandler):
    def do_GET(self):
        *_, last = self.path.split("/")
        if last == "accounts":
            return self.answer(200, list(range(1, 41)))
        time.sleep(0.1)
        with open("requests.log", "a") as log:
            log.write(f"{last}\n")
        if last == "13" and not Path("mended").exists():
            return self.answer(500, "out of order")
        return self.answer(200, [{"cents": 100 * int(last)}, {"cents": 25}])

    def answer(self, status, value):
        body = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args):
        pass


server = ThreadingHTTPServer(("127.0.0.1", 0), Accounts)
Path(sys.argv[1]).write_text(f"http://127.0.0.1:{server.server_port}")
server.serve_forever()
