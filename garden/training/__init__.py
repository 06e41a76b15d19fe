"""From a folder of pictures to a trained network: transfer, cached features, phases, calibration, evaluation."""
