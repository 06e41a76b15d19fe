"""Ways to see what a network has learned, for any functional Keras model.

Maps of a picture: `method(network, images, objective)` gives `(batch, height, width)`. Pictures made by the network,
folders and networks: see each function. `METHODS` holds all, with what `garden inspect` shows of them.
"""

from __future__ import annotations

import importlib
import sys
import types
from typing import Any

# Public name → the module that defines it.
_PUBLIC = {
    "AdversarialExamples": "adversarial",
    "Curves": "deletion",
    "Dissection": "dissection",
    "DrawnConcepts": "concepts",
    "Embedding": "embedding",
    "Grade": "panel",
    "INPUT": "inspected_network",
    "InspectedNetwork": "inspected_network",
    "InspectionSession": "session",
    "IntegratedGradients": "integrated_gradients",
    "InvarianceCurves": "invariance",
    "Inversion": "code_inversion",
    "METHODS": "methods",
    "MaskedPictures": "concepts",
    "Method": "method",
    "Objective": "objectives",
    "Occlusion": "occlusion",
    "Panel": "panel",
    "Photo": "session",
    "ReceptiveField": "receptive_field",
    "SCORES": "inspected_network",
    "Synthesis": "optimization",
    "activation_maximization": "activation_maximization",
    "activation_statistics": "feature_maps",
    "average_precision": "class_selectivity",
    "box_constrained_lbfgs": "adversarial",
    "cascade": "randomisation",
    "class_model": "class_model",
    "code_inversion": "code_inversion",
    "codes_of": "codes",
    "ddn": "adversarial",
    "deconvnet": "deconvnet",
    "deconvnet_map": "deconvnet",
    "deep_dream": "deep_dream",
    "deletion_insertion": "deletion",
    "dissect": "dissection",
    "dream_zoom": "deep_dream",
    "effective_fields": "effective_field",
    "fgsm": "adversarial",
    "filters_of": "first_layer_filters",
    "find_patches": "top_patches",
    "grad_cam": "grad_cam",
    "gradient_times_input": "gradient_times_input",
    "guided_backprop": "guided_backprop",
    "image_grid": "embedding",
    "integrate": "integrated_gradients",
    "integrated_gradients": "integrated_gradients",
    "invariance": "invariance",
    "nearest": "nearest_neighbours",
    "occlude": "occlusion",
    "occlude_classifier": "occlusion",
    "occlusion": "occlusion",
    "pgd": "adversarial",
    "random_deletion_insertion": "deletion",
    "receptive_fields": "receptive_field",
    "saliency": "saliency",
    "selectivity": "class_selectivity",
    "smooth_grad": "smooth_grad",
    "tsne": "embedding",
}
_MODULES = ("input_space", "objectives", "rendering")

__all__ = sorted([*_PUBLIC, *_MODULES])


class _MethodFile(types.ModuleType):
    """A file that is called as the function of its name: `saliency(…)` and `saliency.over_channels` are both of it."""

    def __call__(self, *arguments: Any, **options: Any) -> Any:
        return getattr(self, self.__name__.rpartition(".")[2])(*arguments, **options)


class _Package(types.ModuleType):
    # Once a file is imported, Python gives its name to the file, not to the function that is public under it.
    def __setattr__(self, name: str, value: Any) -> None:
        if isinstance(value, types.ModuleType) and _PUBLIC.get(name) == name:
            value.__class__ = _MethodFile
        super().__setattr__(name, value)


sys.modules[__name__].__class__ = _Package


def __getattr__(name: str) -> Any:
    if name in _MODULES or _PUBLIC.get(name) == name:
        return importlib.import_module(f"garden.inspection.{name}")
    if name in _PUBLIC:
        return getattr(importlib.import_module(f"garden.inspection.{_PUBLIC[name]}"), name)
    raise AttributeError(f"module 'garden.inspection' has no attribute {name!r}")
