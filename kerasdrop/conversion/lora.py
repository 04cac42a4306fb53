"""Low-rank adapters (LoRA) that were enabled after a model was made."""

import keras

from kerasdrop._structure import model_tree
from kerasdrop._types import Given

Pairs = list[tuple[keras.layers.Layer, keras.layers.Layer]]


def enable_again(pairs: Pairs) -> None:
    """Enables adapters of the same rank in the copies of layers.

    If a model enabled them (a backbone of KerasHub), its copy enables them, so
    that the copy knows them, too.

    Args:
        pairs: List of (layer, its copy), outer layers before inner ones.
    """
    for old, new in _missing(pairs):
        holders = [
            one
            for before, one in pairs
            if isinstance(before, keras.Model)
            and hasattr(before, "enable_lora")
            and any(each is old for _, each in model_tree.walk(before))
        ]
        if holders and not new.lora_enabled:
            names = {
                copy.name
                for before, copy in _missing(pairs)
                if before.lora_rank == old.lora_rank
            }
            holders[0].enable_lora(
                old.lora_rank, target_layer_names=sorted(names)
            )
        if not new.lora_enabled:
            new.enable_lora(old.lora_rank, lora_alpha=old.lora_alpha)
    for old, new in pairs:
        if getattr(old, "lora_enabled", False):
            # A rebuilt Dense uses the rank as its `lora_alpha`.
            new.lora_alpha = old.lora_alpha


def _missing(pairs: Pairs) -> Pairs:
    return [
        (old, new)
        for old, new in pairs
        if getattr(old, "lora_enabled", False)
        and not getattr(new, "lora_enabled", True)
    ]


def trainable_as_before(old: Given, new: Given) -> None:
    """Freezes the kernels under adapters, which `layer.trainable` would free.

    Args:
        old: A layer.
        new: Its copy, with as many weights.
    """
    for one, other in zip(old.weights, new.weights):
        if other.trainable != one.trainable:
            other.trainable = one.trainable
