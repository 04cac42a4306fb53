"""Objects that live exactly as long as a model, without being a part of it."""

import keras

from kerasdrop._types import Function
from kerasdrop._types import Given


class KeptWithModel:
    """The last few objects of one sort that were made for each model.

    A model holds them in an attribute. It is set without Keras' attribute
    tracker, so they are not tracked parts of the model, and Keras' savers skip
    such names.

    Args:
        name: String, what the name of the attribute contains.
        most: Integer, how many objects a model keeps.
    """

    def __init__(self, name: str, most: int) -> None:
        self._attribute = f"__kerasdrop_{name}__"
        self._most = most

    def of(
        self,
        model: keras.Model,
        key: Given,
        make: Function,
        state: Given = None,
    ) -> Given:
        """Returns the object of an earlier call, or a new one.

        Args:
            model: The model.
            key: What distinguishes the objects of a model.
            make: Function without arguments that makes the object.
            state: What all objects of the model depend on. If it has changed,
                or if the model is a shallow copy of another, they are dropped.
        """
        now = id(model), state
        made_for, kept = vars(model).get(self._attribute, (None, {}))
        if made_for != now:
            kept = {}
        if key not in kept:
            made = make()
            if len(kept) == self._most:
                kept.pop(next(iter(kept)))
            kept[key] = made
        vars(model)[self._attribute] = now, kept
        return kept[key]
