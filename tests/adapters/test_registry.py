"""The one table of what is known about classes of layers."""

import ast
import pathlib

import keras
import numpy as np
import pytest
from keras import ops

import kerasdrop
from kerasdrop import layers
from kerasdrop import schedules
from kerasdrop._adapters import registry
from kerasdrop.layers.base import StochasticLayer
from kerasdrop.layers.base import StochasticWrapper

stock = keras.layers
FOLDER = pathlib.Path(kerasdrop.__file__).parent
TABLE = FOLDER / "_adapters" / "registry.py"


def is_layer_class(node):
    """Whether a part of a source is `keras.layers.X` or `layers.X`."""
    if not isinstance(node, ast.Attribute) or not node.attr[:1].isupper():
        return False
    return ast.unparse(node.value).endswith("layers")


def tables_in(source):
    """Lines on which a source lists two or more classes of layers.

    What a layer of ours accepts is said in its own class.
    """
    tree = ast.parse(source)
    own = {
        id(statement.value)
        for cls in ast.walk(tree)
        if isinstance(cls, ast.ClassDef)
        for statement in cls.body
        if isinstance(statement, ast.Assign)
    }
    # Annotations: `tuple[keras.layers.Layer, keras.layers.Layer]`.
    own |= {
        id(node.slice)
        for node in ast.walk(tree)
        if isinstance(node, ast.Subscript)
    }
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Dict):
            parts = [*node.keys, *node.values]
        elif isinstance(node, (ast.Tuple, ast.List, ast.Set)):
            parts = node.elts
        elif isinstance(node, ast.BoolOp):
            parts = [
                one
                for test in node.values
                if isinstance(test, ast.Call) and len(test.args) == 2
                for one in test.args[1:]
            ]
        else:
            continue
        if id(node) not in own and sum(map(is_layer_class, parts)) > 1:
            found.append(node.lineno)
    return found


@pytest.mark.parametrize(
    "source",
    [
        "x = (keras.layers.Dense, keras.layers.Conv1D)",
        "x = {layers.Dropout: 1, keras.layers.Dense: 2}",
        "def f(y):\n    return isinstance(y, (layers.A, layers.B))",
        "isinstance(x, layers.A) or isinstance(x, layers.B)",
    ],
)
def test_a_table_would_be_noticed(source):
    assert tables_in(source)


def test_a_table_of_layers_stands_in_the_registry_alone():
    others = {
        f"{path.relative_to(FOLDER)}:{line}"
        for path in FOLDER.rglob("*.py")
        if path != TABLE
        for line in tables_in(path.read_text())
    }
    assert others == set()
    assert tables_in(TABLE.read_text())


def test_each_layer_of_ours_is_known_by_itself():
    for name in layers.__all__:
        assert registry.facts_of(getattr(layers, name)) is not None


def classes_that_draw():
    """Layers of Keras with a seed generator, or a rate, but for what augments.

    As the sources of their classes have it.
    """
    for name in dir(stock):
        cls = getattr(stock, name)
        if not isinstance(cls, type) or ".preprocessing." in cls.__module__:
            continue
        code = getattr(cls.__init__, "__code__", None)
        names = code.co_varnames if code else ()
        if {"dropout", "rate", "stddev"} & set(names):
            yield cls


@pytest.mark.parametrize(
    "cls", list(classes_that_draw()), ids=lambda cls: cls.__name__
)
def test_each_layer_of_keras_that_draws_is_known(cls):
    facts = registry.facts_of(cls)
    assert facts is not None
    assert facts.adapter or facts.inner_rates


def test_a_counterpart_is_of_the_same_name():
    for name in dir(stock):
        cls = getattr(stock, name)
        facts = isinstance(cls, type) and registry.facts_of(cls)
        if facts and facts.counterpart:
            assert facts.counterpart is getattr(layers, name)


@pytest.mark.parametrize("name", layers.__all__)
def test_what_multiplies_is_told_from_what_adds(name):
    """By its own draws, of the same numbers: `f(2 x) = 2 f(x)` or not."""
    cls = getattr(layers, name)
    facts = registry.facts_of(cls)
    if not issubclass(cls, StochasticLayer) or issubclass(
        cls, StochasticWrapper
    ):
        assert not facts.is_multiplicative
        return
    rate = schedules.Constant(0.4) if name == "ScheduledDropout" else 0.4
    settings = {"seed": 0}
    if name.startswith("DropBlock"):
        settings["block_size"] = 1
    shapes = {"2D": (8, 6, 6, 2), "3D": (8, 4, 4, 4, 2)}
    x = np.ones(shapes.get(name[-2:], (8, 6, 2)), "float32")
    once, twice = (
        ops.convert_to_numpy(cls(rate, **settings)(factor * x, training=True))
        for factor in (1, 2)
    )
    assert (once != x).any()
    assert np.allclose(twice, 2 * once) == facts.is_multiplicative


def test_a_subclass_is_known_by_its_parent_alone():
    class Own(stock.Dropout):
        pass

    class OwnRNN(stock.LSTM):
        pass

    assert registry.facts_of(Own) is None
    assert registry.nearest(Own) is stock.Dropout
    assert registry.is_stock_dropout(Own(0.5))
    assert registry.is_around_cell(OwnRNN(2))
    assert not registry.is_stock_dropout(layers.Dropout(0.5))
