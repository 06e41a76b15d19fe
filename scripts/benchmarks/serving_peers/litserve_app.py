"""The SavedModel behind LitServe: JSON over REST. LitServe reads the annotations themselves, so they are not postponed.

Source of the form: LitServe's pages "LitAPI" and "LitServer".
"""

import argparse
from typing import Any

import litserve
from engine import Engine, plain


class Served(litserve.LitAPI):
    def setup(self, device: str) -> None:
        self._engine = Engine()

    def decode_request(self, request) -> dict[str, Any]:
        return {name: self._engine.array(name, values) for name, values in request.items()}

    def predict(self, inputs: dict[str, Any]) -> dict[str, Any]:
        return self._engine.run(inputs)

    def encode_response(self, outputs: dict[str, Any]) -> dict[str, Any]:
        return {name: plain(array) for name, array in outputs.items()}


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int)
    # One process computes and one answers; LitServe's faster queue between them.
    server = litserve.LitServer(Served(), accelerator="cpu", workers_per_device=1, fast_queue=True)
    server.run(
        host="127.0.0.1",
        port=parser.parse_args().port,
        num_api_servers=1,
        log_level="warning",
        generate_client_file=False,
        access_log=False,
    )
