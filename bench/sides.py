"""The two sides of a comparison: a daemon that runs, and the client that drives it."""
import os
import select
import shutil
import signal
import socket
import subprocess
import threading
import time


class Unsupported(Exception):
    """The side cannot do what a scenario asks for."""


class Timing(float):
    """Seconds that something took; `cpu` are the seconds the daemon, its steps and the client computed meanwhile.

    On a busy machine it is what can still be compared: other programs' load makes everything longer, but little of it
    makes a program compute more.
    """

    def __new__(cls, seconds, cpu):
        timing = super().__new__(cls, seconds)
        timing.cpu = cpu
        return timing


class Side:
    """A BuildKit daemon with a state folder of its own, and a `buildctl` for it."""

    def __init__(self, name, programs, work):
        self.name = name
        self.buildctl = os.path.join(programs, "buildctl")
        self.buildkitd = os.path.join(programs, "buildkitd")
        self.work = os.path.join(work, name)
        self.process = None
        os.makedirs(self.work, exist_ok=True)
        for program in (self.buildctl, self.buildkitd):
            if not os.access(program, os.X_OK):
                raise SystemExit(f"bench: {program} is missing or cannot be executed")

    @property
    def address(self):
        return f"unix://{self.work}/daemon.sock"

    def command(self, state):
        """The daemon's command line."""
        config = os.path.join(self.work, "buildkitd.toml")
        with open(config, "w", encoding="utf-8") as file:
            file.write("# The defaults.\n")
        return [self.buildkitd, "--config", config, "--root", state, "--addr", self.address,
                "--otel-socket-path", os.path.join(self.work, "otel.sock")]

    def start(self):
        """Starts the daemon on an empty state folder; returns how long it took until it said that it is ready."""
        state = os.path.join(self.work, "state")
        shutil.rmtree(state, ignore_errors=True)
        notify = os.path.join(self.work, "notify.sock")
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as ready, \
                open(os.path.join(self.work, "daemon.log"), "ab") as log:
            ready.bind(notify)
            try:
                begin = time.monotonic()
                self.process = subprocess.Popen(self.command(state), stdout=log, stderr=log,
                                                env=dict(os.environ, NOTIFY_SOCKET=notify))
                seconds = self._wait_until_ready(ready, begin)
            finally:
                os.unlink(notify)
        return Timing(seconds, self.computed())

    def _wait_until_ready(self, ready, begin):
        while time.monotonic() - begin < 60:
            if select.select([ready], [], [], 0.2)[0] and b"READY=1" in ready.recv(4096):
                return time.monotonic() - begin
            if self.process.poll() is not None:
                break
        self.stop()
        raise SystemExit(f"bench: the daemon of '{self.name}' did not become ready; see {self.work}/daemon.log")

    def resident(self):
        """The daemon's resident memory in MiB."""
        return self._memory("VmRSS")

    def reset_peak(self):
        """Begins to watch the daemon's peak memory."""
        with open(f"/proc/{self.process.pid}/clear_refs", "w", encoding="utf-8") as refs:
            refs.write("5")

    def peak(self):
        """The most resident memory in MiB since `reset_peak`."""
        return self._memory("VmHWM")

    def _memory(self, field):
        with open(f"/proc/{self.process.pid}/status", encoding="utf-8") as status:
            for line in status:
                if line.startswith(field + ":"):
                    return int(line.split()[1]) / 1024
        raise SystemExit(f"bench: /proc tells no {field}")

    def computed(self):
        """CPU seconds of the daemon and of the steps that ended."""
        with open(f"/proc/{self.process.pid}/stat", encoding="utf-8") as stat:
            fields = stat.read().rsplit(")", 1)[1].split()
        return sum(map(int, fields[11:15])) / os.sysconf("SC_CLK_TCK")

    def run(self, *arguments):
        """Runs buildctl to its end; returns the time it took."""
        log = os.path.join(self.work, "buildctl.log")
        with open(log, "wb") as output:
            before = self.computed()
            begin = time.monotonic()
            client = subprocess.Popen([self.buildctl, "--addr", self.address, *arguments],
                                      stdin=subprocess.DEVNULL, stdout=output, stderr=output)
            _, status, used = os.wait4(client.pid, 0)
            client.returncode = os.waitstatus_to_exitcode(status)
            seconds = time.monotonic() - begin
            timing = Timing(seconds, self.computed() - before + used.ru_utime + used.ru_stime)
        if status != 0:
            with open(log, encoding="utf-8", errors="replace") as output:
                last = output.read().strip().splitlines()[-8:]
            raise Unsupported(f"{self.name}: buildctl {' '.join(arguments)}\n    " + "\n    ".join(last))
        return timing

    def build(self, context, *arguments):
        """Builds the Dockerfile of a folder; returns the time the whole client process took."""
        return self.run("build", "--progress", "plain", "--frontend", "dockerfile.v0",
                        "--local", f"context={context}", "--local", f"dockerfile={context}", *arguments)

    def prune(self):
        """Removes everything the daemon keeps."""
        self.run("prune", "--all")

    def stop(self):
        if self.process is None:
            return
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(20)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        self.process = None


class DockerSide(Side):
    """dockerd's embedded BuildKit. It answers on /grpc of the Docker API, where a small bridge leads our buildctl."""

    def __init__(self, name, programs, work):
        super().__init__(name, programs, work)
        self.dockerd = shutil.which("dockerd") or "/usr/sbin/dockerd"
        self.listener = None

    def command(self, state):
        return [self.dockerd, "--data-root", state, "--exec-root", os.path.join(self.work, "exec"),
                "--pidfile", os.path.join(self.work, "docker.pid"), "--config-file", self._config(),
                "--host", f"unix://{self.work}/docker.sock", "--bridge", "none", "--iptables=false"]

    def build(self, context, *arguments):
        # Steps get the host's network, as on the other side: dockerd's own would need its bridge on this machine.
        return super().build(context, "--allow", "network.host", "--opt", "force-network-mode=host", *arguments)

    def _config(self):
        path = os.path.join(self.work, "docker.json")
        with open(path, "w", encoding="utf-8") as file:
            file.write('{"features": {"buildkit": true}}\n')
        return path

    def start(self):
        seconds = super().start()
        path = os.path.join(self.work, "daemon.sock")
        if os.path.exists(path):
            os.unlink(path)
        self.listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.listener.bind(path)
        self.listener.listen()
        threading.Thread(target=self._accept, args=(self.listener,), daemon=True).start()
        return seconds

    def _accept(self, listener):
        while True:
            try:
                client, _ = listener.accept()
            except OSError:
                return
            threading.Thread(target=self._bridge, args=(client,), daemon=True).start()

    def _bridge(self, client):
        docker = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        docker.connect(os.path.join(self.work, "docker.sock"))
        docker.sendall(b"POST /grpc HTTP/1.1\r\nHost: docker\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n")
        answer = b""
        while b"\r\n\r\n" not in answer:
            received = docker.recv(1)
            if not received:
                break
            answer += received
        if b" 101 " in answer.split(b"\r\n", 1)[0]:
            threading.Thread(target=_copy, args=(client, docker), daemon=True).start()
            _copy(docker, client)
        client.close()
        docker.close()

    def stop(self):
        if self.listener is not None:
            self.listener.close()
            self.listener = None
        super().stop()


def _copy(source, target):
    try:
        while data := source.recv(1 << 16):
            target.sendall(data)
        target.shutdown(socket.SHUT_WR)
    except OSError:
        pass
