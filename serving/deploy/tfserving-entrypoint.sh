#!/bin/sh
# Starts stock TF Serving with every model under /models; the image's own script knows one model only, and as it does
# not `exec`, SIGTERM never reaches the server. Extra arguments are passed on: the last of two equal flags wins.
#
#   --check-only         warn of models that were exported by a newer TensorFlow, and stop
#   MODELS_DIR           where the models lie                                    (/models)
#   MODEL_CONFIG_FILE    a ModelServerConfig instead of the one written here     (none)
#   ENABLE_BATCHING      "false": requests are not merged                        (true)
#   TF_SERVING_VERSION   the version of TF Serving, for the warning              (asked from the binary)
set -eu

models_dir=${MODELS_DIR:-/models}

# The first two numbers of a version as one: 2.20.1 becomes 2020. Nothing, if it is no version.
comparable() {
    echo "$1" | sed -n 's/^[^0-9]*\([0-9][0-9]*\)\.\([0-9][0-9]*\).*$/\1 \2/p' | while read -r major minor; do
        echo $((major * 1000 + minor))
    done
}

warn_of_newer_exports() {
    serving_version=${TF_SERVING_VERSION:-$(tensorflow_model_server --version 2>/dev/null | head -n 1 || true)}
    serving_number=$(comparable "$serving_version")
    for manifest in "$models_dir"/*/*/assets.extra/garden.json; do
        [ -f "$manifest" ] || continue
        exported_with=$(sed -n 's/^ *"tensorflow": *"\([^"]*\)".*$/\1/p' "$manifest" | head -n 1)
        exported_number=$(comparable "$exported_with")
        if [ -z "$serving_number" ] || [ -z "$exported_number" ]; then
            echo "WARNING: cannot compare TF Serving '$serving_version' with TensorFlow '$exported_with' of $manifest" >&2
        elif [ "$serving_number" -lt "$exported_number" ]; then
            version_dir=${manifest%/assets.extra/garden.json}
            echo "WARNING: $version_dir was exported by TensorFlow $exported_with, but this is TF Serving" \
                "$serving_version: it may not know every operation. If it does not load, export with TensorFlow" \
                "$serving_version, or build with --build-arg TF_SERVING_VERSION=$exported_with once there is one." >&2
        fi
    done
}

# One entry for each directory with a numbered version: one missing base path would keep all models from loading.
write_model_config() {
    echo "model_config_list {"
    for model_dir in "$models_dir"/*/; do
        name=$(basename "$model_dir")
        case $name in *[!A-Za-z0-9_.-]*) continue ;; esac
        if ls "$model_dir" | grep -q '^[0-9][0-9]*$'; then
            echo "  config { name: \"$name\" base_path: \"$models_dir/$name\" model_platform: \"tensorflow\" }"
        fi
    done
    echo "}"
}

warn_of_newer_exports
if [ "${1:-}" = "--check-only" ]; then
    exit 0
fi

if [ -z "${MODEL_CONFIG_FILE:-}" ]; then
    MODEL_CONFIG_FILE=$(mktemp)
    write_model_config >"$MODEL_CONFIG_FILE"
    if ! grep -q "config {" "$MODEL_CONFIG_FILE"; then
        echo "There is no model under $models_dir: a model is a directory with a numbered version, such as" \
            "$models_dir/pets/1/saved_model.pb. Export one with: garden export RUN --models DIR --name pets" >&2
        exit 1
    fi
fi

if [ "${ENABLE_BATCHING:-true}" != "false" ]; then
    set -- --enable_batching --batching_parameters_file=/config/batching.config "$@"
fi

exec tensorflow_model_server \
    --port=8500 \
    --rest_api_port=8501 \
    --model_config_file="$MODEL_CONFIG_FILE" \
    --monitoring_config_file=/config/monitoring.config \
    "$@"
