"""Convert the networks whose weights are in the package, so that OpenVINO has them at once.

    python docs/models/convert_for_openvino.py

To be run after weights in srcli/weights/bundled have changed. Writes a .graph file beside each file
of weights: its graph, and those constants that are none of its tensors.
"""

import json

from safetensors.numpy import load

from srcli import catalog
from srcli.engine.openvino import graph_files
from srcli.engine.openvino.convert import convert
from srcli.engine.pytorch.network import Network
from srcli.weights import WeightsOptions, bundled_path
from srcli.weights import load as load_network


def main() -> None:
    options = WeightsOptions.from_environment()
    for model in catalog.built_in().models.values():
        for variant in model.variants:
            weights = variant.weights
            if weights is None or not weights.bundled:
                continue
            path = bundled_path(weights)
            network = load_network(model, variant.scale, options)
            parts = dict(convert(Network(network, model.arch, model.preprocessing, variant.scale)))
            facts = json.loads(parts[graph_files.FACTS]) | {"weights": weights.sha256}
            parts[graph_files.FACTS] = json.dumps(facts).encode()
            tensors = {name: a.tobytes() for name, a in load(path.read_bytes()).items()}
            small = graph_files.without(parts, tensors)
            assert graph_files.together(small, tensors) == parts
            data = graph_files.pack(small, small=True)
            path.with_suffix(".graph").write_bytes(data)
            print(f"{path.stem}.graph: {len(data):,} bytes")


if __name__ == "__main__":
    main()
