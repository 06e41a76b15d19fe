"""What a user can mend. Each sentence gives the fact, the rule and the remedy.

GardenError
├── UsageError             the command line or an argument is wrong       exit code 2
├── ImageFolderError       the folder of pictures cannot be used as it is
├── ImageDecodeError       one picture cannot be read
├── ArchitectureError      no such network, or it cannot be built that way
├── WeightsError           weights are missing, damaged or of another network
├── RunError               a run directory is incomplete or of another run
├── ResourceError          memory or disk ran out
├── InspectionError        a network cannot be looked into that way
├── ExportError            an export cannot be written or does not answer as recorded
└── RemoteError            a server does not answer, or answers with an error
"""

from __future__ import annotations


class GardenError(Exception):
    """A world that the user can mend; the command line prints it as one sentence."""

    exit_code = 1


class UsageError(GardenError):
    """The command line or an argument is wrong."""

    exit_code = 2


class ImageFolderError(GardenError):
    """The folder of pictures cannot be used as it is."""


class ImageDecodeError(GardenError):
    """One picture cannot be read."""


class ArchitectureError(GardenError):
    """No such network, or it cannot be built that way."""


class WeightsError(GardenError):
    """Weights are missing, damaged or made for another network."""


class RunError(GardenError):
    """A run directory is incomplete, or belongs to another run."""


class ResourceError(GardenError):
    """Memory or disk ran out."""


class ExportError(GardenError):
    """An export cannot be written, or does not answer as it did when written."""


class RemoteError(GardenError):
    """A server does not answer, or answers with an error."""


class InspectionError(GardenError):
    """A network cannot be looked into that way."""
