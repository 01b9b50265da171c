"""The other side: a bank that is busy when it is first asked for an account in five, and sends nonsense for one account.

python bank.py FILE [--mended]      serves until it is ended, and writes its address into FILE
"""

import json
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

CONFUSED = 13
asked: set[str] = set()


class Bank(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        account = int(self.path.split("/")[1])
        busy = account % 5 == 0 and self.path not in asked
        asked.add(self.path)
        self.send_response(503 if busy else 200)
        self.end_headers()
        if account == CONFUSED and "--mended" not in sys.argv:
            self.wfile.write(b"<html>we are moving</html>")
        elif not busy:
            self.wfile.write(json.dumps([{"number": number, "cents": account * 100} for number in (1, 2, 3)]).encode())


if __name__ == "__main__":
    with ThreadingHTTPServer(("127.0.0.1", 0), Bank) as server:
        Path(sys.argv[1]).write_text(f"http://127.0.0.1:{server.server_port}")
        server.serve_forever()
