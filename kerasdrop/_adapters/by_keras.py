"""Layers that draw in a pass as in training, from Keras' own generators.

Only the seeds come from the pass: each time the layer asks one of its
`keras.random.SeedGenerator`s, it gets a pair of words of a new draw, and the
state of the generator does not change. Keras draws one tensor from a seed for
all samples and rows at once, so the numbers depend on the batch size, on the
number of samples and on the backend.
"""

import functools
import inspect

import keras
from keras import ops

from kerasdrop import masks
from kerasdrop._refusals import Refusal
from kerasdrop._structure import model_tree
from kerasdrop._types import Function
from kerasdrop._types import Given
from kerasdrop._types import Tensor
from kerasdrop.masks import plans
from kerasdrop.masks import scopes
from kerasdrop.masks.scopes import StochasticScope

# Keras on PyTorch adds the two words of a seed, which must not overflow.
_SEED_BITS = (1 << 30) - 1


def generators(layer: keras.layers.Layer) -> list[Given]:
    """The seed generators that are attributes of `layer`."""
    return [
        value
        for value in vars(layer).values()
        if isinstance(value, keras.random.SeedGenerator)
    ]


def is_augmentation(layer: keras.layers.Layer) -> bool:
    """Whether `layer` augments inputs at random, as a part of training."""
    return model_tree.is_preprocessing(layer) and bool(generators(layer))


def check(layer: keras.layers.Layer, plan: str) -> None:
    """Raises if the training call of `layer` cannot be drawn by `plan`."""
    who = f"layer '{layer.name}' ({type(layer).__name__})"
    instead = "register a function that draws: `register_stochastic(cls, f)`"
    if not generators(layer):
        raise Refusal(
            f"{who} was registered to draw by Keras, but no attribute of it is "
            "a `keras.random.SeedGenerator`, so its samples could not be "
            "reproduced. Make one in its `__init__` and hand it to "
            f"`keras.random` as `seed`, or {instead}."
        )
    if layer.non_trainable_weights:
        paths = [weight.path for weight in layer.non_trainable_weights]
        raise Refusal(
            f"{who} was registered to draw by Keras, in a call as in training, "
            "which may change its weights that are not trained. Instead, "
            f"{instead}. Received: non-trainable weights {paths}"
        )
    if plans.PLANS[plan].shares_rows:
        raise Refusal(
            f"{who} draws by Keras, which has no mask that all rows share. "
            f"Choose another plan, or {instead}. Received: plan={plan!r}"
        )


def methods(layer: keras.layers.Layer) -> dict[str, Function]:
    """The replacements of a layer's methods for a pass, by name."""
    takes_training = "training" in inspect.signature(layer.call).parameters
    return {"call": functools.partial(_training_call, takes_training)}


def generator_methods(generator: Given) -> dict[str, Function]:
    """The same for one of the layer's generators."""
    return {"next": functools.partial(_next, generator.state.dtype)}


def idle_methods(generator: Given) -> Given:
    """The same for a generator whose numbers are not used at inference.

    Some layers that augment images also draw at inference, without using the
    numbers. They get the same seed each time, and the state of the generator
    does not change.
    """

    def next_(ordered: bool = True) -> Given:
        if not scopes.is_inference():
            return plain(ordered)
        return ops.zeros(generator.state.shape, generator.state.dtype)

    plain = generator.next
    return {"next": functools.wraps(plain)(next_)}


def _training_call(
    takes_training: Given,
    plain: Function,
    layer: keras.layers.Layer,
    scope: StochasticScope,
    *args: Given,
    **kwargs: Given,
) -> Given:
    # Keras on PyTorch does not ask a generator for dropout without a seed.
    scope.asked[id(layer)] += 1
    if not takes_training:
        return plain(*args, **kwargs)

    def called(training: Given) -> Given:
        return plain(*args, **{**kwargs, "training": training})

    if scope.keep_all is None or scope.keep_all is True:
        return called(training=not scope.keep_all)
    return ops.cond(
        scope.keep_all,
        lambda: called(training=False),
        lambda: called(training=True),
    )


def _next(
    dtype: str,
    plain: Function,
    layer: keras.layers.Layer,
    scope: StochasticScope,
    ordered: Given = True,
) -> Given:
    return _seed(scope.draw(layer), dtype)


def _seed(draw: masks.Draw, dtype: str) -> Tensor:
    # The seed of the first folded row.
    rows: Tensor = draw.rows
    draw = draw._replace(index=draw.index[:1], rows=rows[:1])
    return ops.cast(masks.row_keys(draw, 1)[:, 0] & _SEED_BITS, dtype)


def generator_class() -> tuple[type, dict[str, Function]]:
    """The class of all generators, and its replacements for a pass.

    All code that has a generator, Keras itself included, draws from the seeds
    of the pass: no generator's state changes, and all samples differ.
    """
    cls = keras.random.SeedGenerator
    plain = vars(cls)["next"]

    @functools.wraps(plain)
    def next_(generator: Given, ordered: bool = True) -> Given:
        if not scopes.is_inference():
            return plain(generator, ordered)
        scope = scopes.current()
        if scope is None:
            raise scopes.DrawsInPrefix(None)
        owner = scope.owners.get(id(generator))
        return _seed(scope.seed_draw(owner), generator.state.dtype)

    return cls, {"next": next_}


def own_seed(scope: scopes.StochasticScope) -> Tensor:
    """A seed for random numbers from outside Keras, an int32 scalar tensor."""
    return _seed(scope.seed_draw(None), "int32")[0]
