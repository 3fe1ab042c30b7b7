"""Stores a cache is exported to: each started on an empty folder for one measurement, and stopped after it."""
import os
import re
import shutil
import socket
import subprocess
import time

HERE = os.path.dirname(os.path.abspath(__file__))
# Account and key that every azurite knows.
AZURE_ACCOUNT = "devstoreaccount1"
AZURE_KEY = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="


class Store:
    """A folder on the client (`local`): the one store that is no program."""

    program = None

    def __init__(self, folder):
        self.folder = folder
        self.process = None
        shutil.rmtree(folder, ignore_errors=True)
        os.makedirs(folder)

    @classmethod
    def missing(cls):
        """What to install before this store can be measured; empty when it is there."""
        return ""

    def start(self):
        """Starts the store's program, if it has one, and waits until it answers."""

    def export(self):
        """The value of --export-cache, without what every store takes."""
        return f"type=local,dest={self.folder}/cache"

    def source(self):
        """The value of --import-cache."""
        return f"type=local,src={self.folder}/cache"

    def computed(self):
        """CPU seconds of the store's program so far."""
        if self.process is None:
            return 0
        with open(f"/proc/{self.process.pid}/stat", encoding="utf-8") as stat:
            fields = stat.read().rsplit(")", 1)[1].split()
        return sum(map(int, fields[11:15])) / os.sysconf("SC_CLK_TCK")

    def stored(self):
        """MiB of the files in the store."""
        return sum(os.lstat(os.path.join(path, name)).st_size
                   for path, _, names in os.walk(self.folder) for name in names if not name.endswith(".log")) / (1 << 20)

    def stop(self):
        """Ends the program and removes the folder."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()
        shutil.rmtree(self.folder, ignore_errors=True)

    def _run(self, command, **options):
        with open(os.path.join(self.folder, "store.log"), "wb") as log:
            self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, **options)

    def _wait_for_port(self, port):
        for _ in range(600):
            try:
                socket.create_connection(("127.0.0.1", port), 1).close()
                return
            except OSError:
                if self.process.poll() is not None:
                    break
                time.sleep(0.05)
        raise SystemExit(f"bench: {type(self).program} did not start: {self.folder}/store.log")


class Registry(Store):
    """Debian's docker-registry."""

    program = "docker-registry"

    @classmethod
    def missing(cls):
        return "" if shutil.which(cls.program) else "docker-registry is not installed (Debian: docker-registry)"

    def start(self):
        config = os.path.join(self.folder, "registry.yml")
        with open(config, "w", encoding="utf-8") as file:
            file.write("version: 0.1\nlog: { level: info, accesslog: { disabled: true } }\n"
                       f"storage: {{ filesystem: {{ rootdirectory: {self.folder}/data }} }}\n"
                       'http: { addr: "127.0.0.1:0" }\n')
        self._run([self.program, "serve", config])
        for _ in range(100):
            with open(os.path.join(self.folder, "store.log"), encoding="utf-8", errors="replace") as output:
                if port := re.search(r"listening on 127\.0\.0\.1:(\d+)", output.read()):
                    self.address = f"localhost:{port[1]}"
                    return
            time.sleep(0.1)
        raise SystemExit(f"bench: docker-registry did not start: {self.folder}/store.log")

    def export(self):
        return self.source()

    def source(self):
        return f"type=registry,ref={self.address}/cache:latest"


class NodeStore(Store):
    """A program of build/stores.sh."""

    @classmethod
    def path(cls):
        return os.path.join(HERE, "..", "artifacts", "stores", "node_modules", ".bin", cls.program)

    @classmethod
    def missing(cls):
        if not shutil.which("node"):
            return "node is not installed (Debian: nodejs)"
        return "" if os.path.exists(cls.path()) else f"{cls.program} is not installed (build/stores.sh, which needs npm)"

    def start(self):
        port = _free_port()
        self.endpoint = f"http://127.0.0.1:{port}"
        os.makedirs(os.path.join(self.folder, "data"))
        self._run([self.path(), *self.arguments(str(port), os.path.join(self.folder, "data"))], cwd=self.folder)
        self._wait_for_port(port)

    def export(self):
        return self.source()


class S3(NodeStore):
    """s3rver, with the bucket `bench`."""

    program = "s3rver"

    def arguments(self, port, folder):
        return ["--address", "127.0.0.1", "--port", port, "--directory", folder, "--configure-bucket", "bench",
                "--no-vhost-buckets", "--silent"]

    def source(self):
        return (f"type=s3,bucket=bench,region=us-east-1,endpoint_url={self.endpoint},use_path_style=true,"
                "access_key_id=S3RVER,secret_access_key=S3RVER")


class AzureBlob(NodeStore):
    """azurite's blob service."""

    program = "azurite-blob"

    def arguments(self, port, folder):
        return ["--blobHost", "127.0.0.1", "--blobPort", port, "--location", folder, "--skipApiVersionCheck",
                "--disableTelemetry", "--silent"]

    def source(self):
        return (f"type=azblob,account_url={self.endpoint}/{AZURE_ACCOUNT},account_name={AZURE_ACCOUNT},"
                f"container=bench,secret_access_key={AZURE_KEY}")


def _free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


STORES = {"local": Store, "registry": Registry, "s3": S3, "azblob": AzureBlob}
