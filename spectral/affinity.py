"""Features -> edge weights."""

from __future__ import annotations

from xai.spectral.arrays import Array, namespace


def cosine_relu(features: Array) -> Array:
    """The published affinity (spec.md, Spectral methods): W = relu(F F^T) / max with L2-normalised rows F.

    `features` (..., n, d) -> W (..., n, n), same dtype, symmetric. A zero row stays zero: an isolated node.
    """
    xp = namespace(features)
    norms = xp.linalg.norm(features, axis=-1, keepdims=True)
    unit = features / xp.where(norms == 0, 1, norms)
    weights = xp.maximum(unit @ xp.swapaxes(unit, -1, -2), 0)
    largest = weights.max(axis=(-1, -2), keepdims=True, initial=0)
    return weights / xp.where(largest == 0, 1, largest)
