"""The cache of an image of 60 layers and 1.5 GB, exported to each store and imported again."""
import http.server
import io
import json
import os
import shutil
import tarfile
import threading

from sides import Unsupported
from stores import STORES

LAYERS = 60
FILES = 190
FILE_SIZE = 128 << 10
COMPRESSION = os.environ.get("CACHE_COMPRESSION") or "gzip"

SIZE = f"{LAYERS * FILES * FILE_SIZE / 1e9:.1f} GB"
# what is measured : (goal for ours/peer, title)
MEASURES = {
    "export": (0.5, f"cache export, {{}}, {SIZE}"),
    "export-memory": (1.0, "  peak memory (MiB)"),
    "export-store-cpu": (None, "  CPU of the store"),
    "stored": (None, "  stored (MiB)"),
    "import": (0.8, f"cache import, {{}}, {SIZE}"),
    "import-memory": (1.0, "  peak memory (MiB)"),
    "import-store-cpu": (None, "  CPU of the store"),
}


def rows():
    """The rows of all stores, as scenarios.ROWS holds them."""
    return {f"cache-{store}-{measure}": (goal, title.format(store))
            for store in STORES for measure, (goal, title) in MEASURES.items()
            if store != "local" or not measure.endswith("store-cpu")}


def scenario(name):
    """Everything about one store: a cold export (no layer was ever compressed), then an import on a daemon that was pruned,
    with all layers fetched into an image archive."""
    def run(side, inputs):
        store_type = STORES[name]
        if missing := store_type.missing():
            raise Unsupported(f"{side.name}: {missing}")
        server = inputs.layers()
        store = store_type(os.path.join(inputs.work, "stores", name))
        store.start()
        try:
            return {f"cache-{name}-{measure}": value for measure, value in _measure(side, inputs, server, store)}
        finally:
            store.stop()
            side.prune()
    return run


def _measure(side, inputs, server, store):
    folder = inputs.dockerfile("layers", "FROM scratch\nCOPY busybox /bin/sh\nCOPY busybox /bin/busybox\n" + "".join(
        f"RUN busybox wget -q -O - {server.address}/{number} | busybox tar -x\n" for number in range(LAYERS)))
    side.prune()
    server.served = 0
    side.build(folder)
    if server.served != LAYERS:
        raise SystemExit(f"bench: {side.name} made {server.served} layers instead of {LAYERS}")
    os.sync()

    side.reset_peak()
    computed = store.computed()
    yield "export", side.build(folder, "--export-cache", f"{store.export()},mode=max,compression={COMPRESSION}")
    yield "export-memory", side.peak()
    if store.process:
        yield "export-store-cpu", store.computed() - computed
    yield "stored", store.stored()

    side.prune()
    os.sync()
    target, trace = os.path.join(side.work, "image.tar"), os.path.join(side.work, "trace")
    side.reset_peak()
    computed = store.computed()
    server.served = 0
    seconds = side.build(folder, "--import-cache", store.source(), "--output", f"type=oci,dest={target}", "--trace", trace)
    yield "import", seconds
    yield "import-memory", side.peak()
    if store.process:
        yield "import-store-cpu", store.computed() - computed
    _check(side, server, target, trace)


def _check(side, server, target, trace):
    """An import that missed would measure the build instead."""
    cached = set()
    with open(trace, encoding="utf-8") as lines:
        for line in lines:
            for vertex in json.loads(line).get("vertexes") or []:
                if vertex.get("cached") and "busybox wget " in vertex.get("name", ""):
                    cached.add(vertex["digest"])
    with tarfile.open(target) as archive:
        layers = max(len(json.load(archive.extractfile(member)).get("layers", []))
                     for member in archive if member.isfile() and "blobs/" in member.name and member.size < 100_000
                     and archive.extractfile(member).read(1) == b"{")
    os.unlink(target)
    os.unlink(trace)
    if server.served or layers != LAYERS + 2 or len(cached) < LAYERS - 1:
        # The reference's client shows the last step, which is fetched when the image is written, now and then as executed.
        raise SystemExit(f"bench: {side.name} executed {server.served} steps of an imported cache; "
                         f"{len(cached)} were shown as cached, the image has {layers} of {LAYERS + 2} layers")


class LayerServer:
    """Serves the contents of the layers to the steps that make them, so that steps are known without their contents: an
    import needs nothing but the cache. `served` counts the contents handed out."""

    def __init__(self, folder, pieces):
        self.served = 0
        os.makedirs(folder)
        for number in range(LAYERS):
            with tarfile.open(os.path.join(folder, str(number)), "w") as archive:
                for file in range(FILES):
                    entry = tarfile.TarInfo(f"layer{number:02}/{file:03}")
                    entry.size = FILE_SIZE
                    archive.addfile(entry, io.BytesIO(next(pieces)))
        outer = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                outer.served += 1
                path = os.path.join(folder, os.path.basename(self.path))
                self.send_response(200)
                self.send_header("Content-Length", str(os.path.getsize(path)))
                self.end_headers()
                with open(path, "rb") as file:
                    shutil.copyfileobj(file, self.wfile, 1 << 20)

            def log_message(self, *_):
                pass

        server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.address = f"http://127.0.0.1:{server.server_address[1]}"
        threading.Thread(target=server.serve_forever, daemon=True).start()


def note(measured):
    """What must be known to read the rows."""
    if not any(row.startswith("cache-") and row.endswith("-export") and values for side in measured.values() for row, values in side.items()):
        return []
    notes = [f"caches: {LAYERS} layers, {COMPRESSION}; peak memory is the daemon's resident memory"]
    if COMPRESSION != "gzip":
        notes.append("s3 and azblob: the reference always writes gzip there; compare the stored sizes")
    return notes
