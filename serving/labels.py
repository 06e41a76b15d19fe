"""Which version a label such as "stable" stands for, by model; clients may ask by label instead of by number.

Source: ServerCore::UpdateModelVersionLabelMap and GetModelVersionForLabel in model_servers/server_core.cc.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping

from serving.config import ModelConfig
from serving.errors import FailedPrecondition, InvalidArgument, Unavailable


class LabelMap:
    """The labels in force. A whole new map takes the place of the old one, or none of it does."""

    def __init__(self) -> None:
        self._versions: Mapping[str, Mapping[str, int]] | None = None

    def version(self, name: str, label: str) -> int:
        """The version that a label of a model stands for, loaded or not.

        Raises: Unavailable, before there is any configuration; InvalidArgument, for an unknown label or model.
        """
        # One read: another thread may put a new map in place at any moment.
        versions = self._versions
        if versions is None:
            raise Unavailable(f"Model labels does not init yet.{label}")
        try:
            return versions[name][label]
        except KeyError:
            raise InvalidArgument(f"Unrecognized servable version label: {label}") from None

    def of(self, name: str) -> Mapping[str, int]:
        """The versions that a model's labels stand for."""
        return (self._versions or {}).get(name, {})

    def replace(
        self,
        models: Iterable[ModelConfig],
        available_versions: Callable[[str], Collection[int]],
        *,
        allow_unavailable: bool,
    ) -> None:
        """Put the labels of `models` in force.

        Args:
            models: The whole new configuration.
            available_versions: The versions of a model that answer now.
            allow_unavailable: Whether a new label may stand for a version that is not available; one that is
                moved may not, as upstream.
        Raises: FailedPrecondition; then the labels stay as they were.
        """
        before = self._versions or {}
        after: dict[str, dict[str, int]] = {}
        for model in models:
            available = available_versions(model.name)
            for label, version in model.version_labels:
                is_moved = before.get(model.name, {}).get(label, version) != version
                if version not in available and (is_moved or not allow_unavailable):
                    raise FailedPrecondition(
                        f"Request to assign label to version {version} of model {model.name}, which is not "
                        "currently available for inference"
                    )
                after.setdefault(model.name, {})[label] = version
        self._versions = after
