# Two images that answer for exported models, on the same ports, under the same names.
#
#   docker build --target tfserving --tag pets:tfserving .    stock TF Serving (amd64)
#   docker build --target garden    --tag pets:garden    .    our server (wherever TensorFlow runs)
#   docker run --rm --publish 8500:8500 --publish 8501:8501 pets:tfserving
#
# Both take the models from `models/` beside this file, as `garden export --models models` writes them. Our server
# without models takes the place of tensorflow/serving, with the same variables, arguments, ports and paths:
#
#   docker build --target garden-server --tag garden-server:0.1.0 .
#   docker run --rm --publish 8501:8501 --env MODEL_NAME=pets --volume "$PWD/models/pets:/models/pets" garden-server:0.1.0
#
# For both architectures at once: docker buildx build --platform linux/amd64,linux/arm64 --target garden-server .

# The newest release of TF Serving. It is older than the TensorFlow 2.21 that exports: the build says so. The graphs of
# `garden export` were loaded and answered by TensorFlow 2.20's own runtime (docs/how-to/deploy.md says how).
ARG TF_SERVING_VERSION=2.20.0
ARG PYTHON_VERSION=3.11


FROM tensorflow/serving:${TF_SERVING_VERSION} AS tfserving

ARG TF_SERVING_VERSION
ARG MODELS=models
# The entry point compares it with the TensorFlow that exported.
ENV TF_SERVING_VERSION=${TF_SERVING_VERSION}

COPY serving/deploy/models.config serving/deploy/batching.config serving/deploy/monitoring.config /config/
COPY serving/deploy/tfserving-entrypoint.sh /usr/local/bin/
COPY ${MODELS} /models
RUN sh /usr/local/bin/tfserving-entrypoint.sh --check-only

EXPOSE 8500 8501
USER 1000:1000
# The gRPC port opens when every model is loaded; there is no curl in the image.
HEALTHCHECK --interval=10s --timeout=3s --start-period=120s \
    CMD ["bash", "-c", "exec 3<>/dev/tcp/127.0.0.1/8500"]
ENTRYPOINT ["sh", "/usr/local/bin/tfserving-entrypoint.sh"]


# The server without models: mount them, or let KServe bring them (serving/deploy/kserve).
FROM python:${PYTHON_VERSION}-slim AS garden-server

ENV PYTHONUNBUFFERED=1

WORKDIR /src
COPY pyproject.toml setup.cfg README.md LICENSE ./
COPY garden garden
COPY serving serving
# The binary's name and place in tensorflow/serving, so that manifests which name them need another image only.
RUN pip install --no-cache-dir . \
    && ln -s "$(command -v garden-serving)" /usr/bin/tensorflow_model_server \
    && useradd --uid 1000 --create-home garden

COPY serving/deploy/models.config serving/deploy/batching.config serving/deploy/monitoring.config /config/
COPY serving/deploy/garden-entrypoint.sh /usr/local/bin/

EXPOSE 8500 8501
USER 1000:1000
# Not /src: the installed package shall answer, not the copy that it was built from.
WORKDIR /home/garden
HEALTHCHECK --interval=10s --timeout=3s --start-period=120s \
    CMD ["python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:8501/readyz', timeout=2)"]
# Not merging requests is quicker on a few cores (docs/how-to/serve.md); to merge them, append
# --enable_batching --batching_parameters_file=/config/batching.config
ENTRYPOINT ["sh", "/usr/local/bin/garden-entrypoint.sh"]


FROM garden-server AS garden

ARG MODELS=models
COPY ${MODELS} /models
