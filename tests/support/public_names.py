"""All public names of the package, and the examples in their docstrings."""

import doctest
import inspect
import types

import keras
import numpy as np

import kerasdrop

NAMESPACES = {
    name: getattr(kerasdrop, name)
    for name in kerasdrop.__all__
    if isinstance(getattr(kerasdrop, name), types.ModuleType)
}


def public_objects():
    """Dict from each public name, `kerasdrop.layers.Dropout`, to its object."""
    objects = {
        f"kerasdrop.{name}": getattr(kerasdrop, name)
        for name in kerasdrop.__all__
        if name not in NAMESPACES
    }
    for space, module in NAMESPACES.items():
        for name in module.__all__:
            objects[f"kerasdrop.{space}.{name}"] = getattr(module, name)
    return objects


class Names(dict):
    """The names that examples may use, which docs/reference/index.md lists.

    They are all names of `kerasdrop` and of the object's namespace, and a small
    classifier with its data, which is made when an example needs it.
    """

    def __init__(self, name):
        super().__init__(vars_of(kerasdrop), keras=keras, np=np)
        self["kerasdrop"] = kerasdrop
        *_, space, _ = name.split(".")
        self.update(vars_of(NAMESPACES.get(space, kerasdrop)))

    def add_model_and_data(self):
        generator = np.random.default_rng(0)
        x = generator.normal(size=(64, 4)).astype("float32")
        y = (x[:, 0] > 0.0).astype("int32") + (x[:, 1] > 0.0)
        model = keras.Sequential(
            [
                keras.Input((4,)),
                keras.layers.Dense(8, activation="relu"),
                kerasdrop.layers.Dropout(0.5, name="dropout"),
                keras.layers.Dense(3, activation="softmax"),
            ],
            name="classifier",
        )
        model.compile("adam", "sparse_categorical_crossentropy")
        self.update(model=model, x=x, y=y)


def vars_of(module):
    return {name: getattr(module, name) for name in module.__all__}


def example_of(name, value):
    """The doctest of a public object, or None if it has no example."""
    text = inspect.cleandoc(value.__doc__ or "")
    names = Names(name)
    test = doctest.DocTestParser().get_doctest(text, names, name, name, 0)
    if not test.examples:
        return None
    source = "\n".join(example.source for example in test.examples)
    if not {"model", "x", "y"}.isdisjoint(
        compile(source, name, "exec").co_names
    ):
        # `DocTest` keeps a copy of its names.
        names.add_model_and_data()
        test.globs.update(names)
    return test


def failures_of(test):
    """Runs a doctest and returns its failures, "" if there are none."""
    said = []
    runner = doctest.DocTestRunner(
        optionflags=doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
    )
    runner.run(test, out=said.append)
    return "".join(said)
