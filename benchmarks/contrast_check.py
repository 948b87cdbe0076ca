# Copyright 2026 The flare-mri authors
# SPDX-License-Identifier: Apache-2.0
"""How surely a model tells, of one volume, which way round bright and dark are.

python benchmarks/contrast_check.py routing_space.safetensors

Of each test volume of the inside sites, by each personal model and the global one: divergence of its negative over that
of the volume itself, as `flare-mri segment` compares them; and of each volume of the outside sites by their matched
mix. No label is used.
"""

import statistics

from quality_estimate import mix, open_site, parser_of_space
from torch import nn

from flare_mri.datasets.pieces import Pieces
from flare_mri.datasets.segmentation_slices import SegmentationDataset
from flare_mri.networks import build_network
from flare_mri.routing.contrast import CLEARLY, ENOUGH_OF_A_VOLUME, compare_with_negatives
from flare_mri.routing.space import RoutingSpace, load_routing_space


def ratios_of(network: nn.Module, dataset: SegmentationDataset, space: RoutingSpace) -> list[float]:
    """One of each volume."""
    found = []
    for number in dataset.used:
        pieces = Pieces([dataset.volumes[number].slices], space.plan)
        ratio = compare_with_negatives(network, pieces, ENOUGH_OF_A_VOLUME)
        if ratio is None:
            raise SystemExit("the network has no BatchNorm statistics, or takes no negatives: there is nothing to tell")
        found.append(ratio)
    return found


def row(model: str, site: str, ratios: list[float]) -> str:
    """A line of the table."""
    least, middle, most = min(ratios), statistics.median(ratios), max(ratios)
    warned = sum(ratio < CLEARLY for ratio in ratios)
    return f"{model:16s} {site:12s} {len(ratios):7d} {least:6.2f} {middle:7.2f} {most:6.2f} {warned:7d}"


def main(argv: list[str] | None = None) -> None:
    """Compare and print, a line for each model and site."""
    args = parser_of_space(__doc__).parse_args(argv)
    space, lines = load_routing_space(args.space), []
    for folder in args.inside:
        data = open_site(folder, space.plan).test
        for name, state in space.experts.items():
            network = build_network(space.network, 0)
            network.load_state_dict(state)
            lines.append(row(name, folder.name, ratios_of(network.eval(), data, space)))
            print(lines[-1], flush=True)
    for folder in args.outside:
        data = open_site(folder, space.plan).outside
        lines.append(row("matched mix", folder.name, ratios_of(mix(space, data), data, space)))
    print(f"\n{'model':16s} {'volumes of':12s} {'number':>7s} {'least':>6s} {'median':>7s} {'most':>6s} {'warned':>7s}")
    print("\n".join(lines))


if __name__ == "__main__":
    main()
