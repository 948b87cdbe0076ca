# Copyright 2026 The flare-mri authors
# SPDX-License-Identifier: Apache-2.0
"""`make provisioned`: a provisioned consortium on one machine, where no one may bring code into a hospital.

The kits come from `nvflare provision` and poc/project.yml. Hospitals installed the package and list its classes;
a lead's job without code runs, and what they did not allow is refused.
"""

import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

from nvflare.fuel.flare_api.api_spec import AuthorizationError

import kits
from consortium import LEAD, MEMBER, SITES, Consortium
from demonstration import COMPLETED, SITE_YAML, SMALL, complaints, export, main, report, run


def with_foreign_class(job: Path) -> Path:
    """A copy of a job that asks every hospital to build an object of a class that no list names."""
    changed = job.with_name("foreign_class")
    shutil.copytree(job, changed)
    path = next(changed.rglob("config_fed_client.json"))
    config = json.loads(path.read_text())
    config["components"].append({"id": "foreign", "path": "subprocess.Popen", "args": {"args": ["true"]}})
    path.write_text(json.dumps(config))
    return changed


def show_refusal(consortium: Consortium, job: Path, what: str) -> None:
    """Submit a job that must not run, and print who refused it why.

    Raises:
        RuntimeError: it ran.
    """
    number = consortium.submit(job)
    status = consortium.wait_for_end(number, seconds=200)
    if status == COMPLETED:
        raise RuntimeError(f"{what}: expected it to be refused, it ended as {status}; look at the kits' local/")
    print(f"\n{what}: {status}\n  " + "\n  ".join(complaints(consortium, number)), flush=True)


def show_forbidden(act: Callable[[], object], what: str) -> None:
    """Do what the server must not let happen.

    Raises:
        RuntimeError: it was let happen.
    """
    try:
        act()
    except AuthorizationError as e:
        print(f"\n{what}: {e}", flush=True)
        return
    raise RuntimeError(f"{what}: expected the server to refuse it; look at its local/authorization.json")


def demonstrate(folder: Path, output: Path) -> None:
    """The demonstration, in an empty folder."""
    print(f"nvflare provision: server, {', '.join(SITES)}, {LEAD}, {MEMBER}", flush=True)
    consortium = Consortium(folder / "consortium", provisioned=True, site_yaml=SITE_YAML)
    small = [*SMALL, "--clients", ",".join(SITES)]
    plain = export("fedmri", folder / "without_code", *small, "--no_code")
    code = export("fedmri", folder / "with_code", *small)
    with consortium:
        print("connected: the server and 4 hospitals, each started from its own kit, by mutual TLS", flush=True)
        fedmri = run(consortium, plain, output)
        report(consortium, {"fedmri": fedmri}, output / "fedmri")
        show_refusal(consortium, code, "a job with code in it")
        show_refusal(consortium, with_foreign_class(plain), "a job with a class that the hospitals do not list")
        show_forbidden(lambda: consortium.submit(plain, MEMBER), "a job submitted by a member")
        kit = consortium.kit(LEAD)
        print("\n" + kits.nvflare(consortium.environment, "job", "list", "--startup-kit", kit), flush=True)


if __name__ == "__main__":
    sys.exit(main(__doc__, demonstrate, "demo-provisioned", None))
