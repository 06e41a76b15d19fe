"""How requests are merged: names, meaning and defaults of TF Serving's BatchingParameters."""

from __future__ import annotations

from dataclasses import dataclass

from serving.errors import InvalidArgument

# What upstream calls the threads when no file names them.
THREAD_POOL_NAME_WITHOUT_FILE = "model_server_batch_threads"


@dataclass(frozen=True)
class BatchingConfig:
    """How requests are merged.

    Attributes:
        max_batch_size: Most rows in one execution, and in one request.
        batch_timeout_micros: How long an open batch waits for company after its first request.
        max_enqueued_batches: Waiting batches per queue; past it a request is UNAVAILABLE.
        num_batch_threads: Batches executed at once, over all models; None: one a core.
        thread_pool_name: Label of the queueing times among the metrics.
        allowed_batch_sizes: Sizes to pad up to; empty: any size runs as it is.
        pad_variable_length_inputs: Whether requests of different lengths are made equal to share a batch.
        enable_large_batch_splitting: Whether requests of more rows than an execution takes run in several.
        max_execution_batch_size: With splitting: most rows in one execution; None: `max_batch_size`.
    """

    max_batch_size: int = 1000
    batch_timeout_micros: int = 0
    max_enqueued_batches: int = 10
    num_batch_threads: int | None = None
    thread_pool_name: str = "batch_threads"
    allowed_batch_sizes: tuple[int, ...] = ()
    pad_variable_length_inputs: bool = False
    enable_large_batch_splitting: bool = False
    max_execution_batch_size: int | None = None

    @property
    def execution_limit(self) -> int:
        """Most rows in one execution."""
        if self.enable_large_batch_splitting and self.max_execution_batch_size is not None:
            return self.max_execution_batch_size
        return self.max_batch_size

    def check(self) -> None:
        """Refuse parameters that contradict each other. Upstream does so when a version is loaded, which then ends.

        Sources: tensorflow_serving/batching/batching_session.cc, tensorflow_serving/servables/tensorflow/
        bundle_factory_util.h and tensorflow/core/kernels/batching_util/shared_batch_scheduler.h.

        Raises: InvalidArgument, in TF Serving's words.
        """
        self._check_allowed_sizes()
        if self.num_batch_threads is not None and self.num_batch_threads < 1:
            raise InvalidArgument(f"num_batch_threads must be positive; was {self.num_batch_threads}")
        if self.max_batch_size < 1:
            raise InvalidArgument(f"input_batch_size_limit must be positive; was {self.max_batch_size}")
        if self.batch_timeout_micros < 0:
            raise InvalidArgument(f"batch_timeout_micros must be non-negative; was {self.batch_timeout_micros}")
        if self.max_enqueued_batches < 1:
            raise InvalidArgument(f"max_enqueued_batches must be positive; was {self.max_enqueued_batches}")
        if self.execution_limit < 1:
            raise InvalidArgument(f"max_execution_batch_size must be positive; was {self.execution_limit}")
        if self.max_batch_size < self.execution_limit:
            raise InvalidArgument(
                "When enable_large_batch_splitting is true, input_batch_size_limit must be greater than or equal to "
                "max_execution_batch_size."
            )

    def _check_allowed_sizes(self) -> None:
        sizes = self.allowed_batch_sizes
        if not sizes:
            return
        last = sizes[-1]
        if not self.enable_large_batch_splitting:
            # As upstream, whether they increase is looked at with splitting only.
            if last != self.max_batch_size:
                raise InvalidArgument(
                    "Last entry in allowed_batch_sizes must match max_batch_size; "
                    f"last entry was {last}; expected {self.max_batch_size}"
                )
            return
        if any(a >= b for a, b in zip(sizes, sizes[1:], strict=False)):
            raise InvalidArgument("allowed_batch_sizes entries must be monotonically increasing")
        if last > self.max_batch_size:
            raise InvalidArgument(
                "Last entry in allowed_batch_sizes must be less than or equal to max_batch_size; "
                f"last entry was {last}; expected {self.max_batch_size}"
            )
        if last != self.execution_limit:
            raise InvalidArgument(
                "Last entry in allowed_batch_sizes must be equal to max_execution_batch_size; "
                f"last entry was {last}; expected {self.execution_limit}"
            )
