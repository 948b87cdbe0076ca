# Copyright 2026 The flare-mri authors
# SPDX-License-Identifier: Apache-2.0
"""What a federation is worth to a hospital that joins at its end: sites of examples/brain in one process.

python benchmarks/late_joiner.py                         the small fastMRI site joins the three others after 12 rounds
python benchmarks/late_joiner.py --joiner ge-dicom --num_rounds 8

The others share their encoders for so many rounds. The joiner then trains alone, for as many rounds, from the shared
encoders and fresh decoders, and once more from nothing. A row is its test PSNR after each round. Runs that are complete
in the workspace are not run again.
"""

import argparse
import json

from sharing import add_run_arguments, average_shared, build_learners
from torch import Tensor


def train_alone(args: argparse.Namespace, start: dict[str, Tensor] | None) -> list[float]:
    """The joiner's test PSNR (dB) after each round from a shared part, or from its initial weights."""
    (learner,) = build_learners(args, "encoder", [args.joiner])
    if start is not None:
        learner.receive(start)
    curve = []
    for round_number in range(args.num_rounds):
        learner.train(learner.shared_state(), round_number)
        curve.append(learner.task.evaluate(learner.network, "test")["psnr"])
        print(f"  {args.joiner} round {round_number + 1}/{args.num_rounds}: {curve[-1]:.2f} dB", flush=True)
    return curve


def train_others(args: argparse.Namespace) -> dict[str, Tensor]:
    """The encoders that the other sites share after their rounds."""
    others = {path.parent.name for path in args.sites.glob("*/site.yaml")} - {args.joiner}
    learners = build_learners(args, "encoder", others)
    average = learners[0].shared_state()
    for round_number in range(args.num_rounds):
        for learner in learners:
            learner.train(average, round_number)
        average = average_shared(learners)
        print(f"  the others, round {round_number + 1}/{args.num_rounds}", flush=True)
    return average


def main(argv: list[str] | None = None) -> None:
    """Run what is not there yet and print the curves."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--joiner", default="fastmri-h5")
    add_run_arguments(parser)
    args = parser.parse_args(argv)
    if not (args.sites / args.joiner / "site.yaml").is_file():
        parser.error(f"--joiner {args.joiner}: expected a site of {args.sites}")
    args.workspace.mkdir(parents=True, exist_ok=True)
    of_run = (args.num_rounds, args.images, args.local_epochs, args.channels, args.lr, args.seed)
    path = args.workspace / f"late-joiner-{args.joiner}-{'-'.join(map(str, of_run))}.json"
    if not path.is_file():
        curves = {"from nothing": train_alone(args, None), "from the shared encoders": None}
        curves["from the shared encoders"] = train_alone(args, train_others(args))
        path.write_text(json.dumps(curves))
    curves = json.loads(path.read_text())
    print(f"\n{args.joiner}, test PSNR (dB) after round {', '.join(str(n + 1) for n in range(args.num_rounds))}")
    for name, curve in curves.items():
        print(f"{name:26s}" + " ".join(f"{value:6.2f}" for value in curve))
    best = max(curves["from nothing"])
    reached = next((n + 1 for n, value in enumerate(curves["from the shared encoders"]) if value >= best), None)
    print(f"the best of training from nothing, {best:.2f} dB, is reached after {reached or 'none'} of the rounds")


if __name__ == "__main__":
    main()
