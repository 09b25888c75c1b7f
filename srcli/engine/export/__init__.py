"""A network as a file for other programs, loaded back and compared.

An export gets its name only after it has been read from disk, run on two odd picture sizes and
found to compute what the network here computes.
"""

from srcli.engine.export.files import Exported
from srcli.engine.export.onnx import DEFAULT_OPSET, OPSETS, export_onnx
from srcli.engine.export.openvino import export_openvino
from srcli.engine.export.weights import export_safetensors, provenance_of

__all__ = [
    "DEFAULT_OPSET",
    "OPSETS",
    "Exported",
    "export_onnx",
    "export_openvino",
    "export_safetensors",
    "provenance_of",
]
