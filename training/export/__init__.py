"""From a training run to a bundle: calibration, fits on validation cases, the bundle."""
