"""Real docker and podman for tests, with an image that contains Vellum's workflow server.

The image is built once, from Debian's packages and PyPI, and stored in the user's cache folder.
`docker` uses the daemon that runs, or starts one if the tests run as root, and ends it afterwards.
`UnavailableError` names the program or file that is missing.
"""

import fcntl
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path

CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "vellum_nb-tests"
VERSION = version("vellum-ai")
IMAGE, TAG = "localhost/vellum-nb-workflow-server", f"{VERSION}-compiled"
_PACKAGES = "python3,ca-certificates"
_LIBRARY = "usr/local/lib/python3.11/dist-packages"
_COMMAND = "#!/usr/bin/python3\nfrom workflow_server.start import start\n\nstart()\n"
_RUNC = '[engine]\nruntime = "runc"\n'  # crun refuses a machine with cgroups of both versions
_STORAGE = '[storage]\ndriver = "overlay"\ngraphroot = "{0}/podman"\nrunroot = "{1}/run"\n'


class UnavailableError(Exception):
    """Containers cannot be run on this machine; the message is the reason."""


@dataclass
class Engine:
    """A program that runs containers, with the environment variables that it needs."""

    program: str
    environment: dict[str, str] = field(default_factory=dict)

    def call(self, *arguments: str) -> str:
        return _output([self.program, *arguments], {**os.environ, **self.environment})

    def answers(self) -> bool:
        """Return whether its daemon answers."""
        try:
            self.call("info")
        except UnavailableError:
            return False
        return True

    def containers(self) -> set[str]:
        """Return the names of our containers, in any state."""
        listed = self.call("ps", "--all", "--filter", "label=vellum-nb", "--format", "{{.Names}}")
        return set(listed.split())

    def remove_containers(self) -> None:
        """Remove all containers: those of a test run that was killed keep their ports."""
        if left := self.call("ps", "--all", "--quiet").split():
            self.call("rm", "--force", *left)

    def prepare(self) -> None:
        """Make the image unless it is there, and run a program in it."""
        name = f"{IMAGE}:{TAG}"
        try:
            self.call("image", "inspect", name)
        except UnavailableError:
            self._make(name)
        self.call("run", "--rm", "--publish", "127.0.0.1::8000", name, "true")

    def _make(self, name: str) -> None:
        """Import the file system, and compile the packages once instead of in each container."""
        source, container = f"{IMAGE}:{VERSION}-source", f"compiling-{os.getpid()}"
        self.call("import", str(_archive()), source)
        compiling = f"python3 -m compileall -q -j0 /{_LIBRARY} || true"  # some files are templates
        self.call("run", "--name", container, source, "sh", "-c", compiling)
        self.call("commit", "--change", 'CMD ["vellum_start_server"]', container, name)
        self.call("rm", container)


@contextmanager
def docker() -> Iterator[Engine]:
    """Yield docker, with a daemon that is started if none runs."""
    program = _program("docker", "docker-cli")
    engine = Engine(program)
    if engine.answers():
        engine.prepare()
        yield engine
        return
    with tempfile.TemporaryDirectory(prefix="vellum_nb-docker-") as folder, _lock() as lock:
        engine = Engine(program, {"DOCKER_HOST": f"unix://{folder}/socket"})
        with _daemon(engine, Path(folder), lock):
            engine.remove_containers()
            engine.prepare()
            yield engine


@contextmanager
def _daemon(engine: Engine, folder: Path, lock: int) -> Iterator[None]:
    """Run a daemon of docker's, which holds the lock of its data as long as it lives."""
    _check_root("No docker daemon runs, and one is started")
    command = [_program("setpriv", "util-linux"), "--pdeathsig", "TERM"]
    command += [_program("dockerd", "docker.io"), "--data-root", str(CACHE / "docker")]
    command += ["--exec-root", f"{folder}/exec", "--pidfile", f"{folder}/pid"]
    command += ["--host", engine.environment["DOCKER_HOST"]]
    log = folder / "log"
    with log.open("wb") as output:
        daemon = subprocess.Popen(command, stdout=output, stderr=output, pass_fds=[lock])
    try:
        until = time.monotonic() + 300
        while not engine.answers():
            if daemon.poll() is not None or time.monotonic() > until:
                lines = log.read_text("utf-8", "replace").strip().splitlines() or [""]
                raise UnavailableError(f"dockerd does not start here: {lines[-1][:300]}")
            time.sleep(0.1)
        yield
    finally:
        daemon.terminate()
        try:
            daemon.wait(60)
        except subprocess.TimeoutExpired:
            daemon.kill()
            daemon.wait()


@contextmanager
def podman() -> Iterator[Engine]:
    """Yield podman, with the runtime runc."""
    _check_root("podman is tested")
    for name, package in (("runc", "runc"), ("nft", "nftables")):
        _program(name, package)
    program = _program("podman", "podman")
    with _lock():
        folder = CACHE / "podman-settings"  # stays: supervisors of killed tests need it
        folder.mkdir(exist_ok=True)
        files = {"CONTAINERS_CONF": _RUNC, "CONTAINERS_STORAGE_CONF": _STORAGE}
        environment = {"PODMAN_IGNORE_CGROUPSV1_WARNING": "1", "PATH": _without_docker(folder)}
        for name, text in files.items():
            path = folder / name
            path.write_text(text.format(CACHE, folder))
            environment[name] = str(path)
        engine = Engine(program, environment)
        engine.remove_containers()
        engine.prepare()
        yield engine


def _without_docker(folder: Path) -> str:
    """Return a folder with links to all programs except docker, which would be preferred."""
    links = folder / "bin"
    links.mkdir(exist_ok=True)
    for place in os.get_exec_path():
        for path in Path(place).glob("*"):
            link = links / path.name
            if path.name != "docker" and not link.exists():
                link.unlink(missing_ok=True)
                link.symlink_to(path)
    return str(links)


def _check_root(reason: str) -> None:
    if os.geteuid() != 0:
        raise UnavailableError(f"{reason} as root only")


def _program(name: str, package: str) -> str:
    path = shutil.which(name)
    if path is None:
        raise UnavailableError(f"{name} is missing: apt-get install {package}")
    return path


@contextmanager
def _lock() -> Iterator[int]:
    """Hold the lock of the cache folder."""
    CACHE.mkdir(parents=True, exist_ok=True)
    with (CACHE / "lock").open("wb") as file:
        until = time.monotonic() + 1200  # a busy test run holds it for minutes
        while True:
            with suppress(BlockingIOError):
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            if time.monotonic() > until:
                raise UnavailableError(f"another test run uses {CACHE}")
            time.sleep(0.2)
        yield file.fileno()


def _archive() -> Path:
    """Return the file system of the image as a tar archive, built unless it is stored."""
    archive = CACHE / f"workflow-server-{VERSION}.tar"
    if not archive.exists():
        _check_root("The image is built")
        for old in CACHE.glob("workflow-server-*.tar"):
            old.unlink()
        with tempfile.TemporaryDirectory(prefix="image-", dir=CACHE) as folder:
            root, made = Path(folder, "root"), Path(folder, "made")
            _build(root)
            _output(["tar", "--directory", str(root), "--create", "--file", str(made), "."])
            made.rename(archive)
    return archive


def _build(root: Path) -> None:
    """Install Debian 12 and the workflow server, whose packages need Python below 3.13."""
    mirror = _output(
        ["apt-get", "indextargets", "--format", "$(REPO_URI)", "Created-By: Packages",
         "Label: Debian", "Component: main"]
    ).split()  # fmt: skip
    if not mirror:
        raise UnavailableError("apt names no mirror of Debian to build the image from")
    debootstrap = _program("debootstrap", "debootstrap")
    options = ["--variant=minbase", f"--include={_PACKAGES}"]
    _output([debootstrap, *options, "bookworm", str(root), mirror[0]])
    target = root / _LIBRARY
    uv = str(Path(sys.executable).with_name("uv"))
    install = [uv, "pip", "install", "--quiet", "--target", str(target), "--python-version", "3.11"]
    install += ["--python-platform", f"{platform.machine()}-manylinux_2_28"]
    _output([*install, f"vellum-workflow-server=={VERSION}"])
    command = root / "usr/local/bin/vellum_start_server"
    command.write_text(_COMMAND)
    command.chmod(0o755)
    for folder in (root / "var/cache/apt", root / "var/lib/apt/lists", root / "usr/share/doc"):
        shutil.rmtree(folder, ignore_errors=True)


def _output(command: list[str], environment: dict[str, str] | None = None) -> str:
    """Return what a command prints; raises `UnavailableError` with its last lines if it fails."""
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, check=False, timeout=600, env=environment
        )
    except (OSError, subprocess.TimeoutExpired) as exc:
        raise UnavailableError(f"{Path(command[0]).name} failed: {exc}") from exc
    if done.returncode:
        last = " ".join((done.stderr or done.stdout).split())[-300:]
        raise UnavailableError(f"{' '.join([Path(command[0]).name, *command[1:2]])} failed: {last}")
    return done.stdout
