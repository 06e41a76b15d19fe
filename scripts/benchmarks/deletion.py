#!/usr/bin/env python3
"""How often hiding what an attribution ranks first lowers the class's probability faster than hiding in random order.

For pictures of a folder, spread evenly, and a network of the catalogue with its pretrained weights: the share of
pictures whose deletion area is below the mean of five random orders, for each attribution, and the mean areas. What is
hidden, and how, is what the grades of `garden inspect` use.

example:
  scripts/benchmarks/deletion.py demo/photos --count 40
  scripts/benchmarks/deletion.py demo/photos --architecture efficientnet_lite0
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path

import numpy as np
import side_by_side

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")


def main() -> None:
    """Grade every picture with every attribution, print shares."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="pictures, in folders or not")
    parser.add_argument("--architecture", default="squeezenet1_1", help="default: squeezenet1_1")
    parser.add_argument("--count", type=int, default=40, help="pictures (default: 40)")
    arguments = parser.parse_args()

    from garden.commands.predict_command import find_images
    from garden.inspection import METHODS, InspectionSession
    from garden.inspection_inputs import networks, pictures

    paths = list(find_images([str(arguments.folder)]))
    chosen = [paths[round(place)] for place in np.linspace(0, len(paths) - 1, min(arguments.count, len(paths)))]
    network = networks.open_network(arguments.architecture).network
    session = InspectionSession(network, pictures.read_photos(chosen, network.image_spec))
    print(f"{side_by_side.machine()}; {arguments.architecture}, {len(chosen)} of {len(paths)} pictures")
    print(f"{'method':<22} {'better than random':>18}  {'deletion':>8}  {'random':>8}")
    for name, method in METHODS.items():
        if method.attribute is None or method.group != "attribution":
            continue
        grades = [panel.grade for panel in method.panels(session) if panel.grade is not None]
        areas = np.array([(grade.deletion_auc, grade.random_deletion_auc) for grade in grades], np.float64)
        share = float((areas[:, 0] < areas[:, 1]).mean())
        print(f"{name:<22} {share:>17.0%}  {areas[:, 0].mean():>8.3f}  {areas[:, 1].mean():>8.3f}", flush=True)


if __name__ == "__main__":
    main()
