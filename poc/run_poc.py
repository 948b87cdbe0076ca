# Copyright 2026 The flare-mri authors
# SPDX-License-Identifier: Apache-2.0
"""`make poc`: four hospitals of FLARE's proof-of-concept deployment, FedMRI, IOP-FL, and a hospital from outside.

Every hospital is a process with its own certificate, site.yaml and site store. The jobs carry the package's code, which
FLARE's default policy lets a lead do. The fifth hospital's kit is made, and started, when training is over.
"""

import shutil
import sys
from pathlib import Path

from consortium import SITES, Consortium
from demonstration import SITE_YAML, export, main, only_at, report, run
from flare_mri.routing.space import SPACE_FILE

OUTSIDE = "hospital-5"
TRAINING = ["--num_rounds", "8", "--local_epochs", "2", "--lr", "1e-3", "--lr_step", "0"]
TRAINING += ["--channels", "8", "--num_pools", "2", "--clients", ",".join(SITES)]


def demonstrate(folder: Path, output: Path) -> None:
    """The demonstration, in an empty folder."""
    print(f"nvflare poc prepare: {', '.join(SITES)}", flush=True)
    space = folder / SPACE_FILE
    consortium = Consortium(
        folder / "consortium", site_yaml=SITE_YAML, environment={"FLARE_MRI_ROUTING_SPACE": str(space)}
    )
    with consortium:
        print("connected: the server and 4 hospitals", flush=True)
        fedmri = run(consortium, export("fedmri", folder, *TRAINING), output)
        report(consortium, {"fedmri": fedmri}, output / "fedmri")
        iopfl = run(consortium, export("iopfl", folder, *TRAINING), output)

        print(f"\nnvflare poc add-site: {OUTSIDE}, which did not train", flush=True)
        consortium.add_site(OUTSIDE)
        consortium.start(OUTSIDE)
        consortium.wait_until_connected([OUTSIDE])
        shutil.copy(iopfl / SPACE_FILE, space)  # a lead downloads it, whoever runs the server puts it there
        job = export("iopfl_outside", folder, "--clients", OUTSIDE, "--epochs", "2")
        only_at(job, [OUTSIDE])
        outside = run(consortium, job, output)
        report(consortium, {"iopfl": iopfl, "iopfl_outside": outside}, output / "iopfl", "slice_dice", "dice", "hd95")


if __name__ == "__main__":
    sys.exit(main(__doc__, demonstrate, "demo-poc", None))
