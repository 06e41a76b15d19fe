"""METHODS: every way of looking into a network, one entry each."""

from __future__ import annotations

from garden.inspection import (
    deconvnet,
    grad_cam,
    gradient_times_input,
    guided_backprop,
    integrated_gradients,
    saliency,
    smooth_grad,
)
from garden.inspection.method import CLASSES, PHOTOS, Method

_ALL = (
    Method(
        name="saliency",
        title="Class saliency",
        group="attribution",
        source="Simonyan et al., 2013, https://arxiv.org/abs/1312.6034",
        about="How much each pixel would change the class's score if it changed a little.",
        panels=saliency.panels,
        needs=frozenset({PHOTOS, CLASSES}),
        attribute=saliency.saliency,
    ),
    Method(
        name="smooth_grad",
        title="SmoothGrad",
        group="attribution",
        source="Smilkov et al., 2017, https://arxiv.org/abs/1706.03825",
        about="Class saliency, averaged over noisy copies of the picture: fewer single pixels, clearer shapes.",
        panels=smooth_grad.panels,
        needs=frozenset({PHOTOS, CLASSES}),
        attribute=smooth_grad.smooth_grad,
    ),
    Method(
        name="gradient_times_input",
        title="Gradient × input",
        group="attribution",
        source="Shrikumar et al., 2016, https://arxiv.org/abs/1605.01713",
        about="What each pixel adds to the class's score, exact for linear networks only.",
        panels=gradient_times_input.panels,
        needs=frozenset({PHOTOS, CLASSES}),
        attribute=gradient_times_input.gradient_times_input,
        signed=True,
    ),
    Method(
        name="integrated_gradients",
        title="Integrated gradients",
        group="attribution",
        source="Sundararajan et al., 2017, https://arxiv.org/abs/1703.01365",
        about="What each pixel adds to the class's score on the way from a gray picture; nothing is lost in the sum.",
        panels=integrated_gradients.panels,
        needs=frozenset({PHOTOS, CLASSES}),
        attribute=integrated_gradients.integrated_gradients,
        signed=True,
        complete=True,
    ),
    Method(
        name="grad_cam",
        title="Grad-CAM",
        group="attribution",
        source="Selvaraju et al., 2017, https://arxiv.org/abs/1610.02391",
        about="Which places of a late layer speak for the class: coarse, but of the class that is asked.",
        panels=grad_cam.panels,
        needs=frozenset({PHOTOS, CLASSES}),
        attribute=grad_cam.grad_cam,
    ),
    Method(
        name="guided_backprop",
        title="Guided backpropagation",
        group="attribution",
        source="Springenberg et al., 2014, https://arxiv.org/abs/1412.6806",
        about="The gradient with only what is positive at every ReLU: sharp, and known to say little of the network.",
        panels=guided_backprop.panels,
        needs=frozenset({PHOTOS, CLASSES}),
        attribute=guided_backprop.guided_backprop,
    ),
    Method(
        name="deconvnet",
        title="DeconvNet",
        group="attribution",
        source="Zeiler & Fergus, 2013, https://arxiv.org/abs/1311.2901",
        about="What in the picture excites single units, projected back to the pixels; and the same for the class.",
        panels=deconvnet.panels,
        needs=frozenset({PHOTOS, CLASSES}),
        attribute=deconvnet.deconvnet_map,
    ),
)

METHODS: dict[str, Method] = {method.name: method for method in _ALL}
