"""Host SavedModels and answer clients in TensorFlow Serving's protocol, over gRPC and REST.

Speaks what `tensorflow_model_server` speaks (same flags, paths, status codes and sentences) and
knows nothing of how a model was made: it meets the training side only on disk, at
`models/<name>/<version>/saved_model.pb`.
"""
