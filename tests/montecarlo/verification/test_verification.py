"""The self-check: planted faults are found and named, sound models pass."""

import contextlib
import threading

import keras
import numpy as np
import pytest
from keras import layers
from keras import ops

import kerasdrop
from kerasdrop import functional
from kerasdrop import masks
from kerasdrop._structure import keras_graph
from kerasdrop.masks import plans
from kerasdrop.masks import scopes
from kerasdrop.montecarlo.engine import engine
from kerasdrop.montecarlo.sampling import passes
from kerasdrop.montecarlo.splitting import replay
from kerasdrop.montecarlo.splitting import walking
from kerasdrop.montecarlo.verification import self_check
from tests.support import helpers
from tests.support import zoo
from tests.support import zoo_checks
from tests.support.zoo import registry

X = np.random.default_rng(0).normal(size=(6, 5)).astype("float32")
TOKENS = np.array([[3, 4, 0, 0], [1, 2, 3, 4], [5, 0, 0, 0], [2, 2, 1, 0]])


# Models that are compiled take long, and rows are chosen alike.
IS_SLOW = keras.backend.backend() != "torch"


def predicted(model, x=X, num_samples=20, **settings):
    settings = {"kind": "regression", "seed": 1, "verbose": 0, **settings}
    return kerasdrop.mc_predict(model, x, num_samples, **settings)


def dense(*drawn, last=None):
    x = keras.Input((5,))
    h = layers.Dense(8, activation="tanh", name="first")(x)
    for layer in drawn:
        h = layer(h)
    h = layers.Dense(3, name="second")(h)
    return keras.Model(x, h if last is None else last(h), name="net")


def tokens():
    x = keras.Input((4,), dtype="int32")
    h = layers.Embedding(9, 3, mask_zero=True)(x)
    h = layers.Dropout(0.3)(h)
    return keras.Model(x, layers.GlobalAveragePooling1D(name="pool")(h))


@contextlib.contextmanager
def fails(*words):
    """Asserts that the block raises an error of the check with these words."""
    with pytest.raises(kerasdrop.VerificationError) as raised:
        yield
    for word in (*words, "mc_predict", "verify=False"):
        assert word in str(raised.value)


# Faults of the engine.


def lose_masks(monkeypatch):
    plain = keras_graph.arguments_of

    def arguments_of(node, values):
        args, kwargs = plain(node, values)
        return args, {k: v for k, v in kwargs.items() if k != "mask"}

    monkeypatch.setattr(keras_graph, "arguments_of", arguments_of)
    # It travels with the tensors, too.
    monkeypatch.setattr(walking.Fold, "compute_mask", lambda *_: None)


def test_a_lost_padding_mask(monkeypatch):
    lose_masks(monkeypatch)
    with fails("layer 'pool'", "nothing dropped", "vectorized=False"):
        predicted(tokens(), TOKENS)


def test_rows_in_another_order(monkeypatch):
    plain = replay.FoldedModel.samples

    def samples(self, *args):
        return ops.flip(plain(self, *args), axis=0)

    monkeypatch.setattr(replay.FoldedModel, "samples", samples)
    with fails("the model returns other outputs"):
        predicted(dense(layers.Dropout(0.5)))


def plant_repeat(monkeypatch, repeat):
    """Rows are repeated by another function, in a layer and outside."""

    class Planted:
        def __getattr__(self, name):
            return getattr(ops, name)

    Planted.repeat = staticmethod(repeat)
    monkeypatch.setattr(walking, "ops", Planted())


def test_rows_repeated_in_another_order(monkeypatch):
    def repeat(x, repeats, axis):
        assert axis == 0
        return ops.tile(x, (repeats, *(1,) * (len(x.shape) - 1)))

    plant_repeat(monkeypatch, repeat)
    with fails("layer 'drop'"):
        predicted(dense(layers.Dropout(0.5, name="drop")))


def test_a_cast_that_loses_digits(monkeypatch):
    def repeat(x, repeats, axis):
        x = ops.repeat(x, repeats, axis)
        return ops.cast(ops.cast(x, "float16"), "float32")

    plant_repeat(monkeypatch, repeat)
    with fails("layer 'drop'", "the difference is"):
        predicted(dense(layers.Dropout(0.5, name="drop")))


def test_a_saturated_output_hides_nothing(monkeypatch):
    lose_masks(monkeypatch)
    model = tokens()
    h = layers.Activation("sigmoid")(layers.Dense(2)(model.output) * 0 + 90.0)
    model = keras.Model(model.input, h)
    plain = predicted(model, TOKENS, verify=False, kind="binary")
    assert (plain.mean == 1.0).all()
    with fails("layer 'pool'"):
        predicted(model, TOKENS, kind="binary")


def test_masks_that_belong_to_places_in_the_batch(monkeypatch):
    plain = plans.index_and_rows

    def index_and_rows(plan, samples, rows):
        return plain(plan, samples, ops.arange(rows.shape[0], dtype="int32"))

    monkeypatch.setattr(plans, "index_and_rows", index_and_rows)
    with fails("layer 'drop'", "draws for a row depends on the other rows"):
        predicted(dense(layers.Dropout(0.5, name="drop")))


def test_masks_that_belong_to_a_number_of_samples(monkeypatch):
    plain = plans.index_and_rows

    def index_and_rows(plan, samples, rows):
        return plain(plan, samples + samples.shape[0], rows)

    monkeypatch.setattr(plans, "index_and_rows", index_and_rows)
    with fails("layer 'drop'", "mask of its own sample"):
        predicted(dense(layers.Dropout(0.5, name="drop")))


def test_masks_that_are_the_same_in_all_samples(monkeypatch):
    plain = plans.index_and_rows

    def index_and_rows(plan, samples, rows):
        return plain(plan, ops.zeros_like(samples), rows)

    monkeypatch.setattr(plans, "index_and_rows", index_and_rows)
    with fails("layer 'drop'", "draws the same in each sample"):
        predicted(dense(layers.Dropout(0.5, name="drop")), plan="independent")


@pytest.mark.parametrize("layer", [layers.Dropout, kerasdrop.layers.Dropout])
def test_a_unit_that_is_dropped_twice(monkeypatch, layer):
    plain = functional.dropout

    def dropout(inputs, *args):
        return plain(plain(inputs, *args), *args)

    monkeypatch.setattr(functional, "dropout", dropout)
    with fails("layer 'drop'", "is not drawn at its rate of 0.5"):
        predicted(dense(layer(0.5, name="drop")))


def three_dropouts():
    x = keras.Input((5,))
    h = x
    for number, units in enumerate((9, 8, 7)):
        h = layers.Dense(units, activation="tanh")(h)
        h = layers.Dropout(0.5, name=f"drop_{number}")(h)
    return keras.Model(x, layers.Dense(2)(h), name="net")


def test_a_third_layer_of_a_class_whose_mask_is_not_used(monkeypatch):
    plain = functional.dropout

    def dropout(inputs, *args):
        return inputs if inputs.shape[-1] == 7 else plain(inputs, *args)

    monkeypatch.setattr(functional, "dropout", dropout)
    with fails("layer 'drop_2'", "is not drawn at its rate of 0.5"):
        predicted(three_dropouts())


def test_a_third_layer_of_a_class_at_another_rate(monkeypatch):
    plain = functional.dropout

    def dropout(inputs, draw, rate, *args):
        rate = rate * 0.5 if inputs.shape[-1] == 7 else rate
        return plain(inputs, draw, rate, *args)

    monkeypatch.setattr(functional, "dropout", dropout)
    with fails("layer 'drop_2'", "is not drawn at its rate of 0.5"):
        predicted(three_dropouts())


def test_a_layer_that_is_called_twice_for_a_sample(monkeypatch):
    plain = walking.Walk._made

    def made(self, step, *args):
        if step.node.operation.name == "drop_2":
            plain(self, step, *args)
        return plain(self, step, *args)

    monkeypatch.setattr(walking.Walk, "_made", made)
    with fails("layer 'drop_2'", "is called 2 times in a pass, and 1 times"):
        predicted(three_dropouts())


def test_a_rate_of_before():
    class Stale(kerasdrop.layers.Dropout):
        def _rate_tensor(self, step=None):
            return ops.convert_to_tensor(0.5, "float32")

    with fails("layer 'drop'", "is not drawn at its rate of 0.1"):
        predicted(dense(Stale(0.1, name="drop")))


def test_another_value_at_inference(monkeypatch):
    monkeypatch.setattr(
        kerasdrop.layers.ClassicDropout,
        "stochastic",
        lambda self, inputs, draw, rate: functional.dropout(inputs, draw, rate),
    )
    with fails("layer 'drop'", "nothing dropped"):
        predicted(dense(kerasdrop.layers.ClassicDropout(0.5, name="drop")))


def test_a_compiled_pass_that_is_another(monkeypatch):
    plain = passes.precise

    def precise(output):
        # Of more samples than the check draws on its few rows.
        return plain(output) + float(output.shape[1] > 2)

    monkeypatch.setattr(passes, "precise", precise)
    with fails("the samples of the pass differ from the plain outputs"):
        predicted(dense(layers.Dropout(0.5)))


def test_a_variable_that_a_pass_changes(monkeypatch):
    model = dense(layers.Dropout(0.5))
    plain = engine.Pass.statistics

    def statistics(self):
        kernel = model.variables[0]
        kernel.assign_add(ops.ones(kernel.shape))
        return plain(self)

    monkeypatch.setattr(engine.Pass, "statistics", statistics)
    with fails("a prediction changes variable", "kernel"):
        predicted(model)


# Faults of layers.


def test_rows_that_see_each_other():
    class Mixed(layers.Layer):
        def call(self, inputs):
            return inputs - ops.flip(inputs, axis=0) * 0.5

    model = dense(layers.Dropout(0.5), last=Mixed())
    with fails("depends on the other rows", "vectorized=False"):
        predicted(model)
    assert predicted(model, vectorized=False).variance.all()


class Centred(layers.Layer):
    def call(self, inputs):
        return inputs - ops.mean(inputs, axis=0, keepdims=True)


def test_centring():
    with fails("layer 'centred'"):
        predicted(dense(Centred(name="centred"), layers.Dropout(0.5)))


ALIKE = {"one": X[:1], "alike": X[[2] * 6], "zeros": np.zeros_like(X)}


@pytest.mark.parametrize("name", ["one"] if IS_SLOW else ALIKE)
def test_rows_without_a_difference_show_whether_they_see_each_other(name):
    x = ALIKE[name]
    with fails("layer 'centred'", "depends on the other rows"):
        predicted(dense(layers.Dropout(0.5), Centred(name="centred")), x)
    found = kerasdrop.inspect(dense(layers.Dropout(0.5)), x)
    assert found.verification.largest_difference < 1e-6


def test_one_row_of_tokens_shows_whether_rows_see_each_other():
    x = keras.Input((4,), dtype="int32")
    h = layers.Dropout(0.3)(layers.Embedding(9, 3)(x))
    model = keras.Model(x, layers.Flatten()(Centred(name="centred")(h)))
    with fails("layer 'centred'", "depends on the other rows"):
        predicted(model, TOKENS[:1])


@pytest.mark.parametrize("place", [2] if IS_SLOW else [0, 2, 5])
def test_one_row_that_all_others_see(place):
    class OverLargest(layers.Layer):
        def call(self, inputs):
            return inputs / ops.max(ops.abs(inputs))

    x = X.copy()
    x[place] *= 9.0
    stack = [OverLargest(name="over"), layers.Dropout(0.5)]
    for ordered in (stack, stack[::-1]):
        with fails("layer 'over'", "depends on the other rows"):
            predicted(dense(*ordered), x)


@pytest.mark.parametrize("vectorized", [True, False])
def test_a_layer_that_is_told_to_be_in_training(vectorized):
    class Normalized(layers.Layer):
        def __init__(self):
            super().__init__(name="normalized")
            self.inner = layers.BatchNormalization(name="inner")

        def build(self, shape):
            self.inner.build(shape)
            self.built = True

        def call(self, inputs):
            return self.inner(inputs, training=True)

    model = dense(Normalized(), layers.Dropout(0.5))
    before = [np.array(value) for value in model.get_weights()]
    with fails("layer 'normalized/inner'", "is called with `training=True`"):
        predicted(model, vectorized=vectorized)
    for one, other in zip(before, model.get_weights()):
        np.testing.assert_array_equal(one, other)


def test_a_layer_that_counts_its_rows():
    class OverRows(layers.Layer):
        def call(self, inputs):
            return inputs / ops.cast(ops.shape(inputs)[0], inputs.dtype)

    for stack in (
        [OverRows(name="over"), layers.Dropout(0.5)],
        [layers.Dropout(0.5), OverRows(name="over")],
    ):
        for rows in (1, 3, len(X)):
            with fails("layer 'over'", "depends on the other rows"):
                predicted(dense(*stack), X[:rows])


class Doubling(layers.Layer):
    """A noise layer of whose function and rate a test makes something."""

    rate = 0.5

    def call(self, inputs):
        return inputs * 2.0


def registered(function, rate=0.5):
    cls = type("Doubling", (Doubling,), {"rate": rate})
    kerasdrop.register_stochastic(cls, function)
    return dense(cls(name="mine"))


def test_a_function_that_is_not_the_layer_at_inference():
    with fails("layer 'mine'", "function that was registered"):
        predicted(
            registered(lambda layer, draw, x: functional.dropout(x, draw, 0.5))
        )


def test_a_function_that_draws_nothing():
    with fails("layer 'mine'", "does not change with what is drawn"):
        predicted(registered(lambda layer, draw, x: x * 2.0))


def test_a_function_of_words_is_kept_as_well():
    def function(layer, draw, x):
        keep = masks.words(draw, tuple(x.shape)) > 0
        return x * 2.0 * ops.cast(keep, x.dtype)

    assert predicted(registered(function)).variance.all()


def drawn_by_numpy():
    return float(np.random.normal())  # noqa: NPY002


def place_in_numpy():
    return np.random.get_state()[2]  # noqa: NPY002


class Drifting(layers.Layer):
    """Adds what NumPy draws."""

    def call(self, inputs):
        return inputs + drawn_by_numpy()


@pytest.mark.filterwarnings("ignore:.*random numbers of their own")
def test_a_layer_that_draws_by_itself():
    model = dense(Drifting(name="drifting"), layers.Dropout(0.5))
    state = place_in_numpy()
    with fails("layer 'drifting'", "returns something else in each call"):
        predicted(model)
    assert place_in_numpy() == state


@pytest.mark.filterwarnings("ignore:.*random numbers of their own")
def test_a_generator_that_is_moved():
    class Moving(layers.Layer):
        def call(self, inputs):
            return inputs + 0.0 * drawn_by_numpy()

    model = dense(Moving(), layers.Dropout(0.5))
    state = place_in_numpy()
    with fails("changes the global generator `numpy.random`"):
        predicted(model)
    assert place_in_numpy() == state
    with another_thread(), fails("changes the global generator `numpy.random`"):
        predicted(model)
    assert place_in_numpy() == state


def test_a_generator_that_another_thread_moves():
    with another_thread(drawn_by_numpy):
        assert predicted(dense(layers.Dropout(0.5))).variance.all()


@contextlib.contextmanager
def another_thread(function=lambda: None):
    """Calls a function again and again, beside the block."""
    over = threading.Event()

    def call():
        while not over.wait(0.001):
            function()

    thread = threading.Thread(target=call)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


# Sound models.


def test_units_without_an_effect_are_a_warning_or_nothing():
    x = keras.Input((5,))
    h = layers.ReLU(max_value=0.0, name="dead")(x)
    model = keras.Model(x, x + layers.Dropout(0.5, name="drop")(h))
    found = kerasdrop.inspect(model, X)
    assert found.verification.without_effect == ("drop",)
    assert "Without effect on these rows: drop." in str(found)
    with pytest.warns(UserWarning, match="'drop' of model .* no effect"):
        predicted(model)


def checks_made(monkeypatch):
    """A list that gets longer by each self-check."""
    made = []
    plain = self_check.Check.on

    def on(self, *args):
        made.append(None)
        return plain(self, *args)

    monkeypatch.setattr(self_check.Check, "on", on)
    return made


def test_it_is_made_once(monkeypatch):
    made = checks_made(monkeypatch)
    model = dense(layers.Dropout(0.5))
    predicted(model)
    predicted(model, seed=2)
    predicted(model, X[:5])
    assert len(made) == 1
    predicted(model, num_samples=17)  # other settings
    assert len(made) == 2
    model.layers[2].rate = 0.25
    predicted(model)
    assert len(made) == 3
    predicted(dense(layers.Dropout(0.5)), verify=False)
    assert len(made) == 3


@pytest.mark.skipif(
    keras.backend.backend() != "jax", reason="only there it is compiled"
)
def test_it_is_compiled_once_for_all_numbers_of_samples():
    traced = []

    class Traced(layers.Layer):
        def call(self, inputs):
            if scopes.is_inference() and inputs.shape[0] < len(X):
                traced.append(tuple(inputs.shape))
            return inputs

    model = dense(layers.Dropout(0.5), Traced())
    predicted(model)
    assert traced
    traced.clear()
    predicted(model, num_samples=33)
    predicted(model, quantiles=(0.5,))
    assert not traced
    model.layers[2].rate = 0.25
    predicted(model)
    assert traced


def test_it_is_made_once_for_a_layer_that_counts_its_calls(monkeypatch):
    class Counting(layers.Layer):
        calls = 0

        def call(self, inputs):
            self.calls += 1
            return inputs

    made = checks_made(monkeypatch)
    model = dense(Counting(), layers.Dropout(0.5))
    for _ in range(3):
        predicted(model)
    assert len(made) == 1


def test_it_is_left_out_where_asked(monkeypatch):
    lose_masks(monkeypatch)
    predicted(tokens(), TOKENS, verify=False)
    with pytest.raises(ValueError, match="`verify` must be True or False"):
        predicted(tokens(), TOKENS, verify=1)


def test_no_batch_of_a_generator_is_lost():
    model = dense(layers.Dropout(0.5))
    result = predicted(model, (part for part in (X[:3], X[3:])))
    expected = predicted(model, X, verify=False)
    np.testing.assert_allclose(result.mean, expected.mean, rtol=1e-5)


IN_ANY_DTYPE = (
    "a_class_token",
    "convolutions",
    "dense_blocks",
    "inner_model_of_lists",
    "nested",
    "tied_weights",
)
IN_ANY_DTYPE_TOO = (
    *IN_ANY_DTYPE,
    "a_gate",
    "masked_sequence",
    "skip_connections",
    "subclassed",
)


# Keras on JAX has no float64, unless JAX is told.
POLICIES = ["mixed_float16", "mixed_bfloat16", "float64"]
if keras.backend.backend() == "jax":
    POLICIES.remove("float64")


@pytest.mark.parametrize("policy", POLICIES)
def test_rounding_in_any_dtype_is_no_fault(policy):
    for name in IN_ANY_DTYPE:
        entry = zoo.ENTRIES[name]
        with registry.of_policy(policy):
            model, x = zoo_checks.prepared(entry)
        found = kerasdrop.inspect(model, x).verification
        assert found.num_calls > 1
        assert found.largest_difference <= found.allowed


COMPILERS = {
    "tensorflow": (
        {},
        {"TF_XLA_FLAGS": "--tf_xla_auto_jit=2 --tf_xla_cpu_global_jit"},
    ),
    "jax": ({}, {"JAX_DISABLE_JIT": "1"}),
    "torch": ({},),
}[keras.backend.backend()]


@pytest.mark.slow
@pytest.mark.parametrize("environment", COMPILERS, ids=str)
def test_rounding_of_a_pass_is_no_fault(monkeypatch, environment):
    # JAX has float64 only if asked at its start.
    for name, value in {**environment, "JAX_ENABLE_X64": "1"}.items():
        monkeypatch.setenv(name, value)
    # Op by op, JAX takes its time.
    names = IN_ANY_DTYPE_TOO[: 3 if "JAX_DISABLE_JIT" in environment else None]
    code = f"NAMES = {names!r}\n{_PASSES}"
    lines = helpers.run_python(code, is_new=True).splitlines()
    assert lines[-1] == f"{4 * len(names)} passes"


_PASSES = """
import kerasdrop
from tests.support import zoo, zoo_checks
from tests.support.zoo import registry

count = 0
for policy in ("float32", "mixed_float16", "mixed_bfloat16", "float64"):
    for name in NAMES:
        with registry.of_policy(policy):
            model, x = zoo_checks.prepared(zoo.ENTRIES[name])
        kerasdrop.mc_predict(
            model, x, 16, kind="regression", keep_samples=True, verbose=0
        )
        count += 1
print(count, "passes")
"""


def test_it_is_kept_with_the_model(tmp_path):
    predictive = kerasdrop.MonteCarlo(
        dense(layers.Dropout(0.5)), 16, seed=0, verify=False
    )
    predictive.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    assert loaded.verify is False


class InPlace(layers.Layer):
    """Changes its inputs, as modules of PyTorch with `inplace=True` do."""

    def call(self, inputs):
        return inputs.mul_(0.5)


@pytest.mark.skipif(
    keras.backend.backend() != "torch", reason="elsewhere nothing can do so"
)
def test_what_changes_its_inputs_in_place_is_no_fault_of_what_made_them():
    model = dense(layers.Dropout(1e-9), InPlace())
    np.testing.assert_allclose(
        predicted(model).mean, model.predict(X, verbose=0), rtol=1e-5
    )
