"""One SavedModel from a trained network: bytes of a picture in, class names and scores out."""

from garden.export.golden import GoldenImage
from garden.export.saved_model import ExportedModel, export
from garden.export.verification import verify_address, verify_directory

__all__ = ["ExportedModel", "GoldenImage", "export", "verify_address", "verify_directory"]
