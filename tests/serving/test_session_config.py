"""TensorFlow's session options: what the file says, what the flags say, and that sessions compute with them."""

from __future__ import annotations

import os

import numpy as np
import pytest
import tensorflow as tf
from tensorflow.core.protobuf import rewriter_config_pb2

from serving import session_config
from serving.errors import ServingError
from serving.session_engine import SessionEngine
from serving.status import Code


@pytest.fixture(autouse=True)
def environment(monkeypatch):
    monkeypatch.setenv("TF_XLA_FLAGS", "")


def test_a_flag_wins_over_the_file(tmp_path):
    file = tmp_path / "session.txt"
    file.write_text(
        "gpu_options { per_process_gpu_memory_fraction: 0.25 allow_growth: true } inter_op_parallelism_threads: 5\n"
    )
    config = session_config.make(file=file, gpu_memory_fraction=0.5)
    assert config.gpu_options.per_process_gpu_memory_fraction == 0.5
    assert config.gpu_options.allow_growth
    assert session_config.make(file=file).gpu_options.per_process_gpu_memory_fraction == 0.25
    sessions = SessionEngine(session_config=config, intra_op_threads=3, default_threads=9)
    assert sessions._config.intra_op_parallelism_threads == 3
    assert sessions._config.inter_op_parallelism_threads == 5
    assert SessionEngine(default_threads=9)._config.inter_op_parallelism_threads == 9


def test_nothing_asked_is_an_empty_configuration():
    assert session_config.make() == tf.compat.v1.ConfigProto()


def test_a_file_that_cannot_be_read_is_one_sentence(tmp_path):
    missing = tmp_path / "missing.txt"
    with pytest.raises(ServingError) as raised:
        session_config.make(file=missing)
    assert (raised.value.code, raised.value.message) == (
        Code.INVALID_ARGUMENT,
        f"Invalid protobuf file: '{missing}' ([Errno 2] No such file or directory: '{missing}')",
    )
    missing.write_text("intra_op_parallelism_threads: many\n")
    with pytest.raises(ServingError) as raised:
        session_config.make(file=missing)
    assert raised.value.code is Code.INVALID_ARGUMENT
    assert raised.value.message == (
        f"Invalid protobuf file: '{missing}'\nError parsing text-format tensorflow.ConfigProto: "
        "1:31 : 'intra_op_parallelism_threads: many': Couldn't parse integer: many"
    )


@pytest.mark.parametrize(("on_cpu", "on_gpu"), [(True, False), (False, True), (True, True)])
def test_xla(on_cpu, on_gpu):
    config = session_config.make(xla_on_cpu=on_cpu, xla_on_gpu=on_gpu)
    assert config.graph_options.optimizer_options.global_jit_level == tf.compat.v1.OptimizerOptions.ON_1
    session_config.make(xla_on_cpu=on_cpu)
    assert os.environ["TF_XLA_FLAGS"] == ("--tf_xla_cpu_global_jit" if on_cpu else "")


def test_bfloat16():
    config = session_config.make(mixed_precision="bfloat16")
    rewriting = config.graph_options.rewrite_options
    assert rewriting.auto_mixed_precision_onednn_bfloat16 == rewriter_config_pb2.RewriterConfig.ON


@pytest.mark.parametrize("options", [{"xla_on_gpu": True}, {"mixed_precision": "bfloat16"}])
def test_models_answer_with_these_options(saved_models, options):
    servable = SessionEngine(session_config=session_config.make(**options)).load(saved_models.arithmetic)
    name = servable.signatures["serving_default"].outputs["sum"].name
    inputs = {"serving_default_a:0": np.float32([1, 2]), "serving_default_b:0": np.float32([10, 20])}
    assert servable.run(inputs, [name])[0].tolist() == [11, 22]
    servable.unload()
