"""A bundle changed for a measurement: the same network, used in another way."""

from __future__ import annotations

from dataclasses import replace

from MAPDiffLib.model.bundle import Bundle
from MAPDiffLib.model.manifest import Fit


def with_fit(bundle: Bundle, fit: Fit) -> Bundle:
    """The bundle with this fit alone."""
    return replace(bundle, manifest=replace(bundle.manifest, fits=(fit,)))


def without_path(bundle: Bundle) -> Bundle:
    """The bundle with one timestep, the noisiest, and full dose as the only anchor: as a one-pass regression."""
    manifest = bundle.manifest
    first = manifest.timesteps[0]
    fits = tuple(replace(fit, ensemble_weights={first: 1.0}) for fit in manifest.fits)
    return replace(bundle, manifest=replace(manifest, anchors=manifest.anchors[-1:], timesteps=(first,), fits=fits))
