"""What is measured. A scenario runs once on one side and tells the seconds (or MiB) of each of its rows."""
import os
import random
import shutil
import time

import caches

MIB = 1 << 20
LAYER_MIB = 390
FILES = 20_000

# row : (goal for ours/peer or None, what the row says)
ROWS = {
    "ready": (1.0, "daemon ready"),
    "memory": (1.0, "idle memory (MiB)"),
    "noop": (1.0, "no-op rebuild"),
    "run20": (0.7, "20 RUN steps"),
    "parallel16": (1.0, "16 parallel stages"),
    "context-cold": (1.0, "20,000-file context, cold"),
    "context-same": (1.0, "20,000-file context, unchanged"),
    "context-one": (1.0, "20,000-file context, one changed"),
    "export-none": (1.0, "export 390 MiB layer, uncompressed"),
    "export-gzip": (0.3, "export 390 MiB layer, gzip"),
    "export-zstd": (1.0, "export 390 MiB layer, zstd"),
    "cache-export": (1.0, "cache export of 60 steps"),
    "cache-import": (1.0, "cache import of 60 steps"),
} | caches.rows()


class Inputs:
    """Folders to build, made once and used by both sides."""

    def __init__(self, work, registry):
        self.work = work
        self.registry = registry
        self._serial = 0
        self._layers = None

    def serial(self):
        """A text that was never used before, to make steps new."""
        self._serial += 1
        return f"{os.getpid()}-{self._serial}"

    def dockerfile(self, name, text):
        """A context with a Dockerfile and busybox, which is /bin/sh in the images."""
        folder = os.path.join(self.work, "contexts", name)
        os.makedirs(folder, exist_ok=True)
        busybox = os.path.join(folder, "busybox")
        if not os.path.exists(busybox):
            shutil.copy("/bin/busybox", busybox)
        _write(os.path.join(folder, "Dockerfile"), text.encode())
        return folder

    def files(self):
        """A context of 20,000 files of 1 KiB in 200 folders."""
        folder = os.path.join(self.work, "contexts", "files")
        if not os.path.isdir(folder):
            source = random.Random(1)
            for number in range(FILES):
                path = os.path.join(folder, f"d{number % 200:03}")
                os.makedirs(path, exist_ok=True)
                _write(os.path.join(path, f"f{number:05}"), source.randbytes(1024))
            _write(os.path.join(folder, "Dockerfile"), b"FROM scratch\nCOPY . /\n")
        return folder

    def layer(self):
        """A context of 390 MiB cut from this machine's programs and libraries: as compressible as real layers."""
        folder = os.path.join(self.work, "contexts", "layer")
        if not os.path.isdir(folder):
            os.makedirs(os.path.join(folder, "data"))
            pieces = _pieces_of_real_files(MIB)
            for number in range(LAYER_MIB):
                _write(os.path.join(folder, "data", f"{number:03}"), next(pieces))
            _write(os.path.join(folder, "Dockerfile"), b"FROM scratch\nCOPY . /\n")
        return folder

    def layers(self):
        """A server of the contents of the layers of the large cache."""
        if self._layers is None:
            self._layers = caches.LayerServer(os.path.join(self.work, "layers"), _pieces_of_real_files(caches.FILE_SIZE))
        return self._layers


def ready_and_memory(side, inputs):
    """From starting the process on an empty state folder to READY=1, then two seconds of rest."""
    seconds = side.start()
    time.sleep(2)
    memory = side.resident()
    side.stop()
    return {"ready": seconds, "memory": memory}


def noop(side, inputs):
    context = inputs.dockerfile("noop", SHELL + "WORKDIR /work\n" + "".join(
        f"RUN echo {n} > step{n}\n" for n in range(8)) + "FROM scratch\nCOPY --from=0 /work /work\n")
    side.build(context)
    return {"noop": [side.build(context) for _ in range(5)]}


def run20(side, inputs):
    serial = inputs.serial()
    context = inputs.dockerfile("run20", SHELL + "".join(f"RUN echo {serial} > /step{n}\n" for n in range(20)))
    side.build(inputs.dockerfile("shell", SHELL))
    return {"run20": side.build(context)}


def parallel16(side, inputs):
    serial = inputs.serial()
    text = SHELL.replace("FROM scratch", "FROM scratch AS shell")
    text += "".join(f"FROM shell AS s{n}\nRUN echo {serial} > /out{n}\n" for n in range(16))
    text += "FROM scratch\n" + "".join(f"COPY --from=s{n} /out{n} /\n" for n in range(16))
    context = inputs.dockerfile("parallel16", text)
    side.build(inputs.dockerfile("shell", SHELL))
    return {"parallel16": side.build(context)}


def context(side, inputs):
    folder = inputs.files()
    side.prune()
    os.sync()
    cold = side.build(folder)
    same = side.build(folder)
    _write(os.path.join(folder, "d007", "f00007"), inputs.serial().encode().ljust(1024))
    return {"context-cold": cold, "context-same": same, "context-one": side.build(folder)}


def export(compression):
    """The export of a layer that was made but never compressed before; what is made is a tar on the client."""
    def scenario(side, inputs):
        folder = inputs.layer()
        _write(os.path.join(folder, "serial"), inputs.serial().encode())
        side.build(folder)
        os.sync()
        target = os.path.join(side.work, "image.tar")
        mode = "uncompressed" if compression == "none" else compression
        seconds = side.build(folder, "--output", f"type=oci,dest={target},compression={mode},force-compression=true")
        os.unlink(target)
        side.prune()
        return {f"export-{compression}": seconds}
    return scenario


def cache(side, inputs):
    """Export after the build; import on a daemon that was pruned, with all layers fetched into an image archive."""
    serial = inputs.serial()
    folder = inputs.dockerfile("cache60", SHELL + "".join(f"RUN echo {serial} > /step{n}\n" for n in range(60)))
    where = f"type=registry,ref={inputs.registry}/{side.name}:{serial}"
    side.build(folder)
    exported = side.build(folder, "--export-cache", where + ",mode=max")
    side.prune()
    target = os.path.join(side.work, "image.tar")
    imported = side.build(folder, "--import-cache", where, "--output", f"type=oci,dest={target}")
    os.unlink(target)
    return {"cache-export": exported, "cache-import": imported}


SHELL = "FROM scratch\nCOPY busybox /bin/sh\nCOPY busybox /bin/busybox\n"

# (rows it fills, needs a running daemon, scenario)
SCENARIOS = [
    (("ready", "memory"), False, ready_and_memory),
    (("noop",), True, noop),
    (("run20",), True, run20),
    (("parallel16",), True, parallel16),
    (("context-cold", "context-same", "context-one"), True, context),
    (("export-none",), True, export("none")),
    (("export-gzip",), True, export("gzip")),
    (("export-zstd",), True, export("zstd")),
    (("cache-export", "cache-import"), True, cache),
    *((tuple(row for row in ROWS if row.startswith(f"cache-{store}-")), True, caches.scenario(store)) for store in caches.STORES),
]

# Rows that take a minute a run, and are measured as often as was asked for, not more.
LONG = set(caches.rows())


def _write(path, content):
    with open(path, "wb") as file:
        file.write(content)


def _pieces_of_real_files(size):
    """Pieces of the files below /usr, again from the start (each piece marked) should they not suffice."""
    for turn in range(100):
        held = b""
        for folder in ("/usr/lib", "/usr/bin", "/usr/share"):
            for path, folders, names in os.walk(folder):
                folders.sort()
                for name in sorted(names):
                    file = os.path.join(path, name)
                    if os.path.islink(file) or not os.path.isfile(file):
                        continue
                    with open(file, "rb") as source:
                        while part := source.read(MIB):
                            held += part
                            whole = len(held) - len(held) % size
                            for offset in range(0, whole, size):
                                yield bytes([turn]) + held[offset + 1:offset + size]
                            held = held[whole:]
