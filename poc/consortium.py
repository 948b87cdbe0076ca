# Copyright 2026 The flare-mri authors
# SPDX-License-Identifier: Apache-2.0
"""A whole consortium on one machine: the server and every hospital a process of its own, started from its own kit.

    with Consortium(folder, ["hospital-1", "hospital-2"], provisioned=True) as consortium:
        job = consortium.submit(exported_job)
        consortium.wait_for_end(job, seconds=120)
        results = consortium.download(job, folder / "results")

The kits come from ``nvflare poc prepare`` or ``nvflare provision``; either way all connections are mutual TLS on a free
loopback port. Leaving the block, by an exception, Ctrl-C or SIGTERM too, ends every process that was started.
"""

import contextlib
import io
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Self, TypeVar

from nvflare.fuel.flare_api.api_spec import JobNotFound, NoConnection
from nvflare.fuel.flare_api.flare_api import Session, new_secure_session

import kits
import processes
from flare_mri.deploy import policies
from flare_mri.flare.session import submit_job

SERVER = "server"
ADMIN, LEAD, MEMBER = (f"{who}@coordination.example" for who in ("admin", "lead", "member"))
SITES = tuple(f"hospital-{number}" for number in range(1, 5))
T = TypeVar("T")


class Consortium:
    """A server and hospitals. The constructor makes their kits, ``with`` starts them and stops all.

    Args:
        folder: holds the kits and all they write; must be empty or absent.
        sites: names of the hospitals.
        provisioned: kits from ``nvflare provision``, where no one may bring code and jobs use the installed package;
            else from ``nvflare poc prepare`` with FLARE's default policy.
        methods: what provisioned hospitals take part in; None is the default of ``flare-mri-policies``.
        site_yaml: text of every hospital's ``local/site.yaml``; None leaves them without.
        environment: variables for every process, on top of this process's own.
        relay: hospitals come in by a relay, of provisioned kits alone.

    Attributes:
        processes: of every participant that was started, the process that was started last.
    """

    def __init__(
        self,
        folder: Path,
        sites: Sequence[str] = SITES,
        provisioned: bool = False,
        site_yaml: str | None = None,
        environment: Mapping[str, str] | None = None,
        methods: tuple[str, ...] | None = None,
        relay: bool = False,
    ):
        self.methods = methods
        self.folder = folder.absolute()
        self.sites = list(sites)
        self.provisioned = provisioned
        self.site_yaml = site_yaml
        self.environment = {**kits.environment(self.folder), **(environment or {})}
        self.processes: dict[str, subprocess.Popen] = {}
        self._started: dict[str, float] = {}
        self._session: Session | None = None
        self._cleanup = contextlib.ExitStack()
        self._between = [kits.RELAY] if relay else []
        self.kits = kits.prepare(self.folder, self.sites, provisioned, self.environment, relay)
        if provisioned:
            policies.keep_jobs_in(self.kit(SERVER), self.folder)
        for name in (SERVER, *self.sites):
            self._settle(name)

    def kit(self, name: str) -> Path:
        """The FLARE folder of the server, a hospital or a person: ``startup``, ``local``, logs and runs."""
        return self.kits / name

    def run_folder(self, name: str, job: str) -> Path:
        """The folder of a job's run at the server or a site. The server clears it when the job has ended: download."""
        return self.kit(name) / job

    def _settle(self, name: str) -> None:
        """Write what a participant writes for itself into its kit."""
        if self.provisioned:
            policies.allow_package(self.kit(name))
            policies.restrict_rights(self.kit(name))
            if name != SERVER:
                policies.take_part(self.kit(name), self.methods)
        if name != SERVER and self.site_yaml is not None:
            (self.kit(name) / "local" / "site.yaml").write_text(self.site_yaml)

    # ---- processes

    def __enter__(self) -> Self:
        with contextlib.ExitStack() as undo:  # __exit__ is not called when __enter__ fails
            undo.enter_context(processes.exit_on_termination())
            undo.callback(self.stop)
            for name in (SERVER, *self._between, *self.sites):
                self.start(name)
            self.wait_until_connected(self.sites)
            self._cleanup = undo.pop_all()
        return self

    def __exit__(self, *exception: Any) -> None:
        self._cleanup.close()

    def start(self, name: str, environment: Mapping[str, str] | None = None, supervised: bool = False) -> None:
        """Start the server or a hospital, again where it was killed. Does not wait until it is connected.

        Args:
            name: whom.
            environment: further variables for this one.
            supervised: under FLARE's own script, which starts a dead site again within 5 seconds.
        """
        log = self.folder / f"{name}.out"
        self._started[name] = time.time()
        self.processes[name] = processes.start(
            self.kit(name), {**self.environment, **(environment or {})}, log, supervised
        )

    def add_site(self, name: str) -> None:
        """Make the kit of a further hospital while the others run; :meth:`start` it then."""
        kits.add_site(self.folder, self.kits, name, self.provisioned, self.environment)
        self.sites.append(name)
        self._settle(name)

    def kill(self, name: str, seconds: float = 0.0) -> None:
        """End the server or a hospital with all its job processes: by SIGKILL, or after `seconds` of asking."""
        processes.end(self.kit(name), [self.processes[name]], seconds)

    def job_pid(self, name: str, job: str, seconds: float = 30.0) -> int:
        """The process that the server or a hospital runs a job in; waits for it to be there."""

        def look() -> int | None:
            return next((p.pid for p in processes.find(self.kit(name)) if p.runs_job(job)), None)

        return self.wait_for(look, seconds, f"a process of {name} for job {job}")

    def stop(self) -> None:
        """End every process of the consortium; none is left when this returns."""
        with processes.deaf_to_signals():
            if self._session is not None:
                self._session.api.close()  # no logout: the server may be gone, and it is about to be
                self._session = None
            processes.end(self.folder, self.processes.values())

    # ---- what a lead does

    def session(self, user: str = LEAD) -> Session:
        """A session of FLARE's API for one of the people; the caller closes it."""
        with contextlib.redirect_stdout(io.StringIO()):  # FLARE prints that it connects, at every attempt
            return new_secure_session(user, str(self.kit(user)), timeout=20.0)

    def ask(self, command: Callable[[Session], T]) -> T:
        """Ask the server something as the lead, in one session that is kept and, where it was lost, opened again."""
        for last in (False, True):
            if self._session is None:
                self._session = self.session()
            try:
                return command(self._session)
            except JobNotFound:
                raise
            except Exception:  # FLARE has a dozen for a session that ended, the server restarted among them
                self._session.api.close()
                self._session = None
                if last:
                    raise
        raise AssertionError("not reached")

    def submit(self, job: Path, user: str = LEAD) -> str:
        """Submit a job folder and return the job's id."""
        if user == LEAD:
            return self.ask(lambda session: submit_job(session, job))
        with contextlib.closing(self.session(user)) as session:
            return submit_job(session, job)

    def jobs(self) -> dict[str, str]:
        """Job id -> status of every job that the server knows."""
        return {job["job_id"]: job["status"] for job in self.ask(lambda session: session.list_jobs())}

    def status(self, job: str) -> str:
        """FLARE's status of a job: SUBMITTED, DISPATCHED, RUNNING, FINISHED:COMPLETED, ..."""
        return self.ask(lambda session: session.get_job_meta(job)["status"])

    def abort(self, job: str) -> None:
        """Abort a job."""
        self.ask(lambda session: session.abort_job(job))

    def download(self, job: str, destination: Path) -> Path:
        """Download a job's result; returns the folder that holds the server's run folder as ``workspace``."""
        return Path(self.ask(lambda session: session.download_job_result(job, str(destination))))

    # ---- waiting, always with a clock

    def wait_for(self, look: Callable[[], T | None], seconds: float, what: str) -> T:
        """Call `look` until it gives something.

        Raises:
            TimeoutError: it did not in time; the message says what was waited for and where the logs are.
        """
        deadline = time.monotonic() + seconds
        while True:
            if (found := look()) is not None:
                return found
            if time.monotonic() > deadline:
                raise TimeoutError(f"no {what} after {seconds:.0f} s; logs: {self.kits}/*/log.txt")
            time.sleep(0.2)

    def wait_until_connected(self, names: Sequence[str], seconds: float = 90.0) -> None:
        """Wait until the server has heard from hospitals since they were started last."""

        def look() -> bool | None:
            for name in (SERVER, *names):
                if self.processes[name].poll() is not None:
                    raise RuntimeError(f"{name} ended while it started; see {self.folder / name}.out")
            try:
                clients = self.ask(lambda session: session.get_connected_client_list())
            except NoConnection:  # the server is still starting
                return None
            heard = {client.name for client in clients if client.last_connect_time > self._started.get(client.name, 0)}
            return True if heard >= set(names) else None

        self.wait_for(look, seconds, f"connection of {', '.join(names)}")

    def wait_for_end(self, job: str, seconds: float) -> str:
        """Wait until a job has ended, well or not; returns its status."""

        def look() -> str | None:
            status = self.status(job)
            return status if status.startswith("FINISHED") else None

        return self.wait_for(look, seconds, f"end of job {job}")

    def wait_for_log(self, name: str, text: str, seconds: float, job: str | None = None) -> str:
        """Wait for a line that holds `text` in the log of the server or a hospital, or in that of its job."""
        path = (self.run_folder(name, job) if job else self.kit(name)) / "log.txt"

        def look() -> str | None:
            lines = path.read_text(errors="replace").splitlines() if path.exists() else []
            return next((line for line in lines if text in line), None)

        return self.wait_for(look, seconds, f"line with {text!r} in {path}")
