# Copyright 2026 The flare-mri authors
# SPDX-License-Identifier: Apache-2.0
"""Two attacks on what leaves a hospital, with and without differential privacy; real data, small, without FLARE.

python benchmarks/attacks.py                          both; docs/explanation/privacy.md says what they show
python benchmarks/attacks.py --attacks membership     was this patient trained on? by the loss, and by shadow models
python benchmarks/attacks.py --attacks inversion      an image from one step's change of FedMRI's encoder

What was measured is kept as JSON in the workspace and not measured again, so that the benchmark can be continued. Each
attack is described in its own file.
"""

import argparse
import json
from collections.abc import Callable
from pathlib import Path

from inversion_attack import SEEN, inversion
from membership_attack import PRIVATE, membership

from flare_mri.atomic_file import write_atomically
from flare_mri.config.where import default_workspace
from flare_mri.files import read_json

ATTACKS: dict[str, tuple[Callable[[str, argparse.Namespace], dict[str, float]], list[str]]] = {
    "membership": (membership, list(PRIVATE)),
    "inversion": (inversion, [f"{kind}, batch {batch}" for batch in (1, 4) for kind in SEEN]),
}


def main(argv: list[str] | None = None) -> None:
    """Measure what is not there yet and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--attacks", nargs="+", choices=ATTACKS, default=list(ATTACKS))
    parser.add_argument("--models", type=int, default=4, help="of membership, each attacked with the others as shadows")
    parser.add_argument("--epochs", type=int, default=60, help="of each model")
    parser.add_argument("--steps", type=int, default=200, help="of inversion")
    parser.add_argument("--size", type=int, default=32, help="of inversion's images")
    parser.add_argument("--channels", type=int, default=8)
    parser.add_argument("--workspace", type=Path, default=default_workspace())
    args = parser.parse_args(argv)
    for attack in args.attacks:
        measure, settings = ATTACKS[attack]
        numbers = (args.models, args.epochs) if attack == "membership" else (args.steps, args.size)
        path = args.workspace / f"attacks-{attack}-{'-'.join(map(str, (*numbers, args.channels)))}.json"
        found = read_json(path, 2**20, "delete it") if path.exists() else {}
        for setting in settings:
            if setting not in found:
                found[setting] = measure(setting, args)
                write_atomically(path, json.dumps(found, indent=1))
        print(f"\n{attack:44s} " + " ".join(f"{setting:>20s}" for setting in settings))
        for key in found[settings[0]]:
            print(f"{key:44s} " + " ".join(f"{found[setting][key]:20.3f}" for setting in settings))


if __name__ == "__main__":
    main()
