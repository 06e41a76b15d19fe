"""One phase of training: a part of the network, on what enters it, for a number of epochs.

Whatever is left to chance in an epoch (order, views, mixing, dropout) follows from the seed, the phase and the
epoch alone. A run that was killed therefore ends with the weights of one that was not.
"""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Protocol

import keras
import numpy as np
import tensorflow as tf

from garden.training import losses
from garden.training.config import TrainingConfig

WARMUP_SHARE = 0.05
RATE_FINDER_STEPS = 60
RATE_FINDER_RANGE = (1e-6, 1.0)


Indices = Sequence[int] | np.ndarray


class Activations(Protocol):
    """What enters a part of the network, by image and view."""

    def rows(self, image_indices: Indices, views: Indices, output: str) -> np.ndarray:
        """Shape `(len(image_indices), …)`, float32."""


@dataclasses.dataclass(frozen=True)
class Images:
    """Some images of the run: how to get their activations, and their classes.

    Args:
        activations: Where rows come from.
        indices: Positions of the images in `activations`.
        class_indices: Class of each image.
        num_views: Versions of each image; view 0 is the plain one.
    """

    activations: Activations
    indices: np.ndarray
    class_indices: np.ndarray
    num_views: int = 1


class LayerwiseAdamW(keras.optimizers.AdamW):
    """AdamW whose rate is scaled for each variable.

    Source: Kingma and Ba, 2015; Loshchilov and Hutter, 2019; layer-wise rates as in Howard and Ruder, 2018.

    Args:
        multipliers: Share of the learning rate for each variable, by its path; 1 where none is given.
    """

    def __init__(self, multipliers: Mapping[str, float], **options: Any) -> None:
        super().__init__(**options)
        self._multipliers = dict(multipliers)

    def build(self, variables: Sequence[keras.Variable]) -> None:
        super().build(variables)
        self._multiplier_of = [self._multipliers.get(variable.path, 1.0) for variable in variables]

    def update_step(self, gradient: tf.Tensor, variable: tf.Variable, learning_rate: tf.Tensor) -> None:
        # Here Keras hands over TensorFlow's variable, which has no path; its position it knows.
        multiplier = self._multiplier_of[self._get_variable_index(variable)]
        super().update_step(gradient, variable, learning_rate * multiplier)

    def _apply_weight_decay(self, variables: Sequence[keras.Variable]) -> None:
        # Keras decays at the optimizer's rate; a layer that learns slowly must forget as slowly.
        if self.weight_decay is None:
            return
        for variable in variables:
            if self._use_weight_decay(variable):
                rate = self.learning_rate * self._multipliers.get(variable.path, 1.0)
                variable.assign_sub(variable * rate * self.weight_decay)


@dataclasses.dataclass
class PhaseState:
    """What a phase carries from epoch to epoch besides weights and optimizer."""

    epoch: int = 0
    best_loss: float = math.inf
    epochs_since_best: int = 0
    best: list[np.ndarray] | None = None


class Phase:
    """One phase of training.

    Args:
        name: "head", "late" or "all".
        network: The part that trains: activations to logits.
        output: Which activations enter it, "features" or "boundary".
        epochs: Number of passes over the training images.
        peak_rate: Learning rate after the warm-up, where the multiplier is 1.
        multipliers: Share of the rate for each variable, by its path.
        train: Training images.
        validation: Images to choose and stop by.
        config: The run's settings.
    """

    def __init__(
        self,
        name: str,
        network: keras.Model,
        *,
        output: str,
        epochs: int,
        peak_rate: float | None,
        multipliers: Mapping[str, float],
        train: Images,
        validation: Images,
        config: TrainingConfig,
    ) -> None:
        self.name = name
        self.network = network
        self.output = output
        self.epochs = epochs
        self.peak_rate = peak_rate
        self.train = train
        self.validation = validation
        self.config = config
        self.state = PhaseState()
        self.variables = network.trainable_variables
        # Moving averages of layers that train; gradients do not touch them, and a run must not lose them.
        self._statistics = [
            weight for layer in network.layers if layer.trainable for weight in layer.non_trainable_weights
        ]
        self.num_classes = network.output.shape[-1]
        self._multipliers = multipliers
        self._class_weights = np.ones(self.num_classes, np.float32)
        if config.class_weights == "balanced":
            self._class_weights = losses.balanced_class_weights(train.class_indices, self.num_classes)
        self._average = [variable.numpy() for variable in self.variables] if config.ema else None
        self._seed_generators = [
            layer.seed_generator for layer in network.layers if getattr(layer, "seed_generator", None) is not None
        ]
        self._make_optimizer()
        self._predict_step = tf.function(lambda rows: network(rows, training=False), reduce_retracing=True)

    def _make_optimizer(self) -> None:
        optimizer: keras.optimizers.Optimizer = LayerwiseAdamW(
            self._multipliers, learning_rate=0.0, weight_decay=self.config.weight_decay
        )
        optimizer.exclude_from_weight_decay(var_names=["bias", "gamma", "beta"])
        if self.config.mixed_precision:
            optimizer = keras.optimizers.LossScaleOptimizer(optimizer)
        optimizer.build(self.variables)
        self.optimizer = optimizer
        self._train_step = tf.function(self._step, reduce_retracing=True)

    @property
    def steps_per_epoch(self) -> int:
        """Batches in one pass; the last may be smaller."""
        return math.ceil(len(self.train.indices) / self.config.batch_size)

    def rate(self, step: int) -> float:
        """Learning rate of a step: a short linear warm-up, then half a cosine down to zero."""
        if self.peak_rate is None:
            raise ValueError("`peak_rate` must be set, for example to what `find_rate` chooses. Received: None.")
        total = self.epochs * self.steps_per_epoch
        warmup = max(1, round(WARMUP_SHARE * total))
        if step < warmup:
            return self.peak_rate * (step + 1) / warmup
        return self.peak_rate * 0.5 * (1 + math.cos(math.pi * (step - warmup) / max(1, total - warmup)))

    def run_epoch(self) -> dict[str, float]:
        """Train one epoch, measure it on validation, remember the best weights.

        Returns: train/loss, train/accuracy, validation/loss, validation/accuracy, rate.
        """
        epoch = self.state.epoch
        if epoch == 0 and self.name == "late" and self.config.early_stopping:
            # This phase begins with a trained head, and must not leave the network worse than it found it. The other
            # phases begin with random weights, which may look good on a few images but know nothing.
            self._remember(self.measure(self.validation)["loss"])
        first_step = epoch * self.steps_per_epoch
        loss_sum = correct = count = 0.0
        for offset, (rows, targets) in enumerate(self._batches(epoch)):
            loss, hits = self._apply(rows, targets, self.rate(first_step + offset))
            loss_sum += loss * len(rows)
            correct += hits
            count += len(rows)
        with self._averaged_weights():
            figures = self.measure(self.validation)
            self._remember(figures["loss"])
        self.state.epoch += 1
        return {
            "train/loss": loss_sum / count,
            "train/accuracy": correct / count,
            "validation/loss": figures["loss"],
            "validation/accuracy": figures["accuracy"],
            "rate": self.rate(first_step + self.steps_per_epoch - 1),
        }

    @property
    def done(self) -> bool:
        """Whether all epochs ran, or validation has stopped getting better."""
        patience = self.config.early_stopping
        return self.state.epoch >= self.epochs or bool(patience and self.state.epochs_since_best >= patience)

    def finish(self) -> None:
        """Leave the network with the best weights, or the last where early stopping is off."""
        if self.config.early_stopping and self.state.best is not None:
            _assign([*self.variables, *self._statistics], self.state.best)
        elif not self.config.early_stopping and self._average is not None:
            _assign(self.variables, self._average)

    def logits(self, images: Images) -> np.ndarray:
        """Logits of the plain view of `images`, shape `(images, classes)`, float32."""
        size = max(self.config.batch_size, 64)
        parts = []
        for start in range(0, len(images.indices), size):
            indices = images.indices[start : start + size]
            rows = images.activations.rows(indices, [0] * len(indices), self.output)
            parts.append(np.asarray(self._predict_step(rows), np.float32))
        return np.concatenate(parts)

    def measure(self, images: Images) -> dict[str, float]:
        """Plain cross-entropy ("loss") and accuracy on `images`."""
        logits = self.logits(images).astype(np.float64)
        logits -= logits.max(axis=1, keepdims=True)
        log_scores = logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))
        chosen = log_scores[np.arange(len(logits)), images.class_indices]
        accuracy = np.mean(logits.argmax(axis=1) == images.class_indices)
        return {"loss": float(-chosen.mean()), "accuracy": float(accuracy)}

    def find_rate(self) -> tuple[np.ndarray, np.ndarray, float]:
        """Try rates from tiny to huge for a few steps and choose one; the weights are as before afterwards.

        Source: Smith, "Cyclical learning rates for training neural networks", 2017, section 3.3.

        Returns: the rates, the smoothed losses, and a tenth of the rate at which the loss was least.
        """
        changing = [*self.variables, *self._statistics]
        before = [variable.numpy() for variable in changing]
        low, high = np.log10(RATE_FINDER_RANGE)
        rates = np.logspace(low, high, RATE_FINDER_STEPS)
        smoothed: list[float] = []
        average = 0.0
        endless = (batch for epoch in itertools.count() for batch in self._batches(epoch))
        for step, (rate, (rows, targets)) in enumerate(zip(rates, endless, strict=False)):
            loss, _ = self._apply(rows, targets, float(rate))
            average = 0.9 * average + 0.1 * loss
            smoothed.append(average / (1 - 0.9 ** (step + 1)))
            if not math.isfinite(loss) or smoothed[-1] > 4 * min(smoothed):
                break
        _assign(changing, before)
        if self._average is not None:
            self._average = [variable.numpy() for variable in self.variables]
        self._make_optimizer()
        # The first steps average too few batches to mean anything.
        steady = min(5, len(smoothed) - 1)
        best = steady + int(np.nanargmin(smoothed[steady:]))
        return rates[: len(smoothed)], np.array(smoothed), float(rates[best] / 10)

    def arrays(self) -> dict[str, np.ndarray]:
        """Everything a checkpoint needs besides `state`'s numbers."""
        arrays = {f"weight{i}": value.numpy() for i, value in enumerate(self.variables)}
        arrays |= {f"statistic{i}": value.numpy() for i, value in enumerate(self._statistics)}
        arrays |= {f"optimizer{i}": value.numpy() for i, value in enumerate(self.optimizer.variables)}
        if self._average is not None:
            arrays |= {f"average{i}": value for i, value in enumerate(self._average)}
        if self.state.best is not None:
            arrays |= {f"best{i}": value for i, value in enumerate(self.state.best)}
        return arrays

    def restore(self, position: Mapping[str, Any], arrays: Mapping[str, np.ndarray]) -> None:
        """Go on from a checkpoint of this phase."""

        def saved(name: str, count: int) -> list[np.ndarray]:
            return [arrays[f"{name}{i}"] for i in range(count)]

        _assign(self.variables, saved("weight", len(self.variables)))
        _assign(self._statistics, saved("statistic", len(self._statistics)))
        _assign(self.optimizer.variables, saved("optimizer", len(self.optimizer.variables)))
        if self._average is not None:
            self._average = saved("average", len(self.variables))
        self.state = PhaseState(
            epoch=position["epoch"],
            best_loss=position["best_loss"] if position["best_loss"] is not None else math.inf,
            epochs_since_best=position["epochs_since_best"],
            best=saved("best", len(self.variables) + len(self._statistics)) if "best0" in arrays else None,
        )
        self.peak_rate = position["peak_rate"]

    def position(self) -> dict[str, Any]:
        """The numbers of `state`, as plain JSON."""
        return {
            "phase": self.name,
            "epoch": self.state.epoch,
            "best_loss": self.state.best_loss if math.isfinite(self.state.best_loss) else None,
            "epochs_since_best": self.state.epochs_since_best,
            "peak_rate": self.peak_rate,
        }

    def _batches(self, epoch: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        chance = np.random.default_rng([self.config.seed, _PHASE_NUMBERS[self.name], epoch])
        for generator in self._seed_generators:
            generator.state.assign(chance.integers(0, 2**31, size=2).astype(np.uint32))
        images = self.train
        order = chance.permutation(len(images.indices))
        # Each image takes turns with its views, and starts at a view of its own.
        first_views = np.random.default_rng(self.config.seed).integers(0, images.num_views, len(images.indices))
        views = (first_views + epoch) % images.num_views
        one_hot = np.eye(self.num_classes, dtype=np.float32)
        for start in range(0, len(order), self.config.batch_size):
            chosen = order[start : start + self.config.batch_size]
            rows = images.activations.rows(images.indices[chosen], views[chosen], self.output)
            targets = one_hot[images.class_indices[chosen]]
            yield self._mix(rows, targets, chance)

    def _mix(self, rows: np.ndarray, targets: np.ndarray, chance: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        if self.config.mix == "none":
            return rows, targets
        partners = chance.permutation(len(rows))
        share = np.float32(chance.beta(self.config.mix_alpha, self.config.mix_alpha))
        if self.config.mix == "cutmix" and rows.ndim == 4:
            return _cut_mix(rows, targets, partners, float(share), chance)
        if self.config.mix == "cutmix":
            return rows, targets  # A feature vector has no region to cut out.
        return share * rows + (1 - share) * rows[partners], share * targets + (1 - share) * targets[partners]

    def _apply(self, rows: np.ndarray, targets: np.ndarray, rate: float) -> tuple[float, float]:
        self.optimizer.learning_rate.assign(rate)
        loss, hits = self._train_step(tf.constant(rows), tf.constant(targets), tf.constant(self._class_weights))
        if self._average is not None:
            momentum = np.float32(self.config.ema)
            self._average = [
                momentum * average + (1 - momentum) * variable.numpy()
                for average, variable in zip(self._average, self.variables, strict=True)
            ]
        return float(loss), float(hits)

    def _step(self, rows: tf.Tensor, targets: tf.Tensor, class_weights: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        with tf.GradientTape() as tape:
            logits = self.network(rows, training=True)
            loss = losses.cross_entropy(
                targets, logits, label_smoothing=self.config.label_smoothing, class_weights=class_weights
            )
            scaled_loss = self.optimizer.scale_loss(loss)
        values = [variable.value for variable in self.variables]
        self.optimizer.apply(tape.gradient(scaled_loss, values), self.variables)
        hits = tf.equal(tf.argmax(logits, axis=-1), tf.argmax(targets, axis=-1))
        return loss, tf.reduce_sum(tf.cast(hits, tf.float32))

    def _averaged_weights(self) -> _Swapped:
        return _Swapped(self.variables, self._average)

    def _remember(self, loss: float) -> None:
        if loss < self.state.best_loss:
            self.state.best_loss = loss
            self.state.epochs_since_best = 0
            if self.config.early_stopping:
                self.state.best = [variable.numpy() for variable in (*self.variables, *self._statistics)]
        else:
            self.state.epochs_since_best += 1


# Part of the seed: the phases of one run must not repeat each other's chance.
_PHASE_NUMBERS = {"head": 1, "late": 2, "all": 3}


class _Swapped:
    """While open, the variables hold other values; afterwards their own again."""

    def __init__(self, variables: Sequence[keras.Variable], values: Sequence[np.ndarray] | None) -> None:
        self._variables, self._values = variables, values

    def __enter__(self) -> None:
        if self._values is not None:
            self._own = [variable.numpy() for variable in self._variables]
            _assign(self._variables, self._values)

    def __exit__(self, *exception: object) -> None:
        if self._values is not None:
            _assign(self._variables, self._own)


def _assign(variables: Sequence[keras.Variable], values: Sequence[np.ndarray]) -> None:
    for variable, value in zip(variables, values, strict=True):
        variable.assign(value)


def _cut_mix(
    rows: np.ndarray, targets: np.ndarray, partners: np.ndarray, share: float, chance: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Paste one rectangle of each partner; targets in proportion to the area that was really pasted."""
    height, width = rows.shape[1:3]
    cut = math.sqrt(1 - share)
    centre_y, centre_x = chance.integers(height), chance.integers(width)
    top, bottom = (int(np.clip(centre_y + s * cut * height / 2, 0, height)) for s in (-1, 1))
    left, right = (int(np.clip(centre_x + s * cut * width / 2, 0, width)) for s in (-1, 1))
    mixed = rows.copy()
    mixed[:, top:bottom, left:right] = rows[partners, top:bottom, left:right]
    kept = np.float32(1 - (bottom - top) * (right - left) / (height * width))
    return mixed, kept * targets + (1 - kept) * targets[partners]
