"""16 clients who know every answer: half over gRPC with the stock stubs, half over REST on kept connections."""

from __future__ import annotations

import http.client
import json
import threading
import time
from collections import Counter
from dataclasses import dataclass
from typing import Any

import grpc
import numpy as np
from tensorflow_serving.apis import predict_pb2, prediction_service_pb2_grpc

CONCURRENCY = 16
_SECONDS_TO_REOPEN = 0.2


class WrongAnswer(Exception):
    """An answer that cannot be right."""


@dataclass(frozen=True)
class Report:
    """What the clients saw: how many right answers, what failed and how often, and the slowest hundredth by wire."""

    num_answers: int
    failures: Counter[str]
    p99_milliseconds: dict[str, float]


class Clients:
    """Ask from the start of the `with` block to its end."""

    def __init__(self, server: Any) -> None:
        self._server = server
        self._is_over = threading.Event()
        self._lock = threading.Lock()
        self._failures: Counter[str] = Counter()
        self._seconds: dict[str, list[float]] = {"gRPC": [], "REST": []}
        # While the process is dead, a refused or broken connection is no failure.
        self.may_be_refused = False
        self._threads = [
            threading.Thread(target=self._ask_grpc if index % 2 else self._ask_rest, args=(index,), daemon=True)
            for index in range(CONCURRENCY)
        ]

    def __enter__(self) -> Clients:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._is_over.set()
        for thread in self._threads:
            thread.join(60)

    def forgive_refusals_since_now(self) -> None:
        """The server is back: give every client's channel the time to find out, then refusals count again."""
        time.sleep(2)
        self.may_be_refused = False

    def report(self) -> Report:
        """After the `with` block."""
        p99 = {
            wire: float(np.percentile(seconds, 99)) * 1000 for wire, seconds in self._seconds.items() if len(seconds)
        }
        return Report(sum(map(len, self._seconds.values())), self._failures, p99)

    def _ask_grpc(self, index: int) -> None:
        options = [("grpc.use_local_subchannel_pool", 1), ("grpc.max_reconnect_backoff_ms", 500)]
        with grpc.insecure_channel(f"127.0.0.1:{self._server.grpc_port}", options) as channel:
            stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)
            number = index
            while not self._is_over.is_set():
                number += 1
                request = predict_pb2.PredictRequest()
                request.model_spec.name = ("published", "labelled", "labelled")[number % 3]
                if number % 3 == 1:
                    request.model_spec.version_label = "stable"
                elif number % 3 == 2:
                    request.model_spec.version.value = 1 + number % 2
                tensor = request.inputs["x"]
                tensor.dtype = 1
                tensor.tensor_shape.dim.add().size = 2
                tensor.float_val.extend([1.0, 2.0])
                begun = time.perf_counter()
                try:
                    response = stub.Predict(request, timeout=30)
                    seconds = time.perf_counter() - begun
                    answers = list(response.outputs["y"].float_val)
                    version = response.model_spec.version.value
                    wanted = request.model_spec.version.value if number % 3 == 2 else version
                    if answers != [version, version] or version != wanted:
                        raise WrongAnswer(f"version {version} answered {answers}; asked for {wanted or 'any'}")
                    self._seconds["gRPC"].append(seconds)
                except grpc.RpcError as error:
                    self._failed("gRPC", error, error.code() is grpc.StatusCode.UNAVAILABLE)
                except WrongAnswer as error:
                    self._failed("gRPC", error, False)

    def _ask_rest(self, index: int) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", self._server.rest_port, timeout=30)
        number = index
        while not self._is_over.is_set():
            number += 1
            asked = 1 + number % 2
            path = (
                "/v1/models/published:predict",
                "/v1/models/labelled/labels/stable:predict",
                f"/v1/models/labelled/versions/{asked}:predict",
            )[number % 3]
            begun = time.perf_counter()
            try:
                connection.request("POST", path, b'{"inputs": [1, 2]}')
                response = connection.getresponse()
                body = response.read()
                seconds = time.perf_counter() - begun
                if response.status != 200:
                    raise WrongAnswer(f"{response.status} {body[:200].decode(errors='replace')}")
                one, other = json.loads(body)["outputs"]
                if one != other or (number % 3 == 2 and one != asked) or (number % 3 == 1 and one not in (1, 2)):
                    raise WrongAnswer(f"{path} answered {[one, other]}")
                self._seconds["REST"].append(seconds)
            except (OSError, http.client.HTTPException) as error:
                connection.close()
                self._failed("REST", error, True)
            except WrongAnswer as error:
                self._failed("REST", error, False)
        connection.close()

    def _failed(self, wire: str, error: Exception, is_refusal: bool) -> None:
        if is_refusal and self.may_be_refused:
            time.sleep(_SECONDS_TO_REOPEN)
            return
        if isinstance(error, grpc.RpcError):
            what = f"{error.code().name}: {error.details()}"
        else:
            what = f"{type(error).__name__}: {error}"
        with self._lock:
            self._failures[f"{wire}: {what}"[:300]] += 1
