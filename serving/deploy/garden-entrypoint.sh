#!/bin/sh
# Starts our server as tensorflow/serving's image starts its own: the same variables, ports and arguments. `exec`, so
# that SIGTERM reaches the server; the last of two equal arguments wins.
#
#   MODEL_NAME        the one model to serve, from $MODEL_BASE_PATH/$MODEL_NAME    (every model under MODEL_BASE_PATH)
#   MODEL_BASE_PATH   where the models lie                                         (/models)
set -eu

models=${MODEL_BASE_PATH:-/models}
if [ -n "${MODEL_NAME:-}" ]; then
    set -- --model_name="$MODEL_NAME" --model_base_path="$models/$MODEL_NAME" "$@"
else
    # Whoever names models means these and no others.
    names_models=false
    for argument in "$@"; do
        case $argument in
            --model_config_file | --model_config_file=* | --model_base_path | --model_base_path=* | --models_dir | --models_dir=*)
                names_models=true
                ;;
        esac
    done
    if [ "$names_models" = false ]; then
        set -- --models_dir="$models" "$@"
    fi
fi

exec tensorflow_model_server \
    --port=8500 \
    --rest_api_port=8501 \
    --monitoring_config_file=/config/monitoring.config \
    "$@"
