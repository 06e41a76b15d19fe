"""Ask servers of TF Serving's protocol, over gRPC or REST, with numpy and bytes in and out and without TensorFlow.

from serving.client import GrpcClient

with GrpcClient("localhost:8500") as client:
    answer = client.predict("pets", {"image_bytes": [picture]})
    print(answer.version, answer["classes"], answer["scores"])
"""

from __future__ import annotations

from serving.client.answers import Classification, Metadata, Prediction, Regression
from serving.client.async_grpc_client import AsyncGrpcClient
from serving.client.errors import (
    CancelledCallError,
    ClientError,
    DeadlineError,
    ForbiddenError,
    InvalidInputError,
    NotFoundError,
    OverloadedError,
    ServerFailedError,
    UnauthenticatedError,
    UnavailableError,
    UnsupportedError,
)
from serving.client.grpc_client import GrpcClient
from serving.client.model_config import ModelConfig
from serving.client.rest_client import RestClient
from serving.client.retries import NO_RETRIES, RetryPolicy
from serving.client.security import Tls
from serving.client.tf_example import encode_example
from serving.messages import Signature, State, TensorSpec, VersionStatus
from serving.status import Code

__all__ = [
    "NO_RETRIES",
    "AsyncGrpcClient",
    "CancelledCallError",
    "Classification",
    "ClientError",
    "Code",
    "DeadlineError",
    "ForbiddenError",
    "GrpcClient",
    "InvalidInputError",
    "Metadata",
    "ModelConfig",
    "NotFoundError",
    "OverloadedError",
    "Prediction",
    "Regression",
    "RestClient",
    "RetryPolicy",
    "ServerFailedError",
    "Signature",
    "State",
    "TensorSpec",
    "Tls",
    "UnauthenticatedError",
    "UnavailableError",
    "UnsupportedError",
    "VersionStatus",
    "encode_example",
]
