"""Files for streaming, and a server of byte ranges with faults."""

import contextlib
import http.server
import socket
import threading
import time

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

WORDS = [f"w{number}" for number in range(400)]


def made_up_rows(n_rows, seed=0, n_negatives=4):
    """Rows of a query, a positive and negatives, of random words."""
    random = np.random.default_rng(seed)

    def text(n_words):
        return " ".join(random.choice(WORDS, n_words))

    return [
        {
            "query_id": f"{seed}-{number}",
            "query": text(6),
            "pos": [text(20)],
            "neg": [text(20) for _ in range(n_negatives)],
            "other": number,
        }
        for number in range(n_rows)
    ]


def write_shard(path, rows, rows_per_piece=20):
    """Write rows as Parquet, an Arrow file or an Arrow stream, by the name."""
    table = pa.Table.from_pylist(rows)
    if path.suffix == ".parquet":
        # Not compressed: pieces of a few rows.
        options = {"compression": "none", "use_dictionary": False}
        pq.write_table(table, path, row_group_size=rows_per_piece, **options)
        return
    new = pa.ipc.new_stream if path.stem == "stream" else pa.ipc.new_file
    with new(str(path), table.schema) as writer:
        writer.write_table(table, max_chunksize=rows_per_piece)


class RangeServer(http.server.ThreadingHTTPServer):
    """Serves a folder, also parts of its files.

    Attributes:
        n_faults: how many of the next answers are cut off in the middle.
        knows_ranges: whether it sends parts of files, or always the whole.
        delay: seconds that each answer takes.
        version: of all files; None for the time of their change.
        status: of each answer, if it is an error; None to answer.
        n_bytes: bytes that were sent, by file name.
        n_gets: answers that were sent, by file name.
    """

    daemon_threads = True
    allow_reuse_address = True
    n_faults = 0
    knows_ranges = True
    delay = 0.0
    status = None
    version = None

    def __init__(self, folder, port=0):
        self.folder, self.n_bytes, self.n_gets = folder, {}, {}
        self._connections = []
        super().__init__(("127.0.0.1", port), _Handler)

    def process_request(self, request, client_address):
        self._connections.append(request)
        super().process_request(request, client_address)

    def hang_up(self):
        """Close the connections that clients keep open."""
        for connection in self._connections:
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    def handle_error(self, request, client_address):
        pass  # a client that goes away


class _Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *arguments):
        pass

    def do_HEAD(self):
        self._answer(with_body=False)

    def do_GET(self):
        self._answer(with_body=True)

    def _answer(self, with_body):
        time.sleep(self.server.delay)
        name = self.path.lstrip("/")
        path = self.server.folder / name
        if self.server.status is not None or not path.is_file():
            self.send_error(self.server.status or 404)
            return
        content = path.read_bytes()
        status, begin, end = 200, 0, len(content)
        asked = self.headers.get("Range")
        if asked and self.server.knows_ranges:
            first, last = asked.removeprefix("bytes=").split("-")
            begin, end, status = int(first), min(int(last) + 1, len(content)), 206
        self.send_response(status)
        self.send_header("Accept-Ranges", "bytes")
        self.send_header("ETag", f'"{self.server.version or path.stat().st_mtime_ns}"')
        self.send_header("Content-Length", str(end - begin))
        if status == 206:
            self.send_header("Content-Range", f"bytes {begin}-{end - 1}/{len(content)}")
        self.end_headers()
        if not with_body:
            return
        if self.server.n_faults:
            self.server.n_faults -= 1
            self.wfile.write(content[begin : begin + (end - begin) // 2])
            self.close_connection = True
            return
        self.server.n_gets[name] = self.server.n_gets.get(name, 0) + 1
        self.server.n_bytes[name] = self.server.n_bytes.get(name, 0) + end - begin
        self.wfile.write(content[begin:end])


@contextlib.contextmanager
def served(folder, port=0):
    """Serve a folder; yields the server, whose ``address`` ends in a slash."""
    with RangeServer(folder, port) as server:
        server.address = f"http://127.0.0.1:{server.server_port}/"
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            server.hang_up()
            thread.join()
