"""Each mistake has a message: what, expected, received, how to fix."""

import functools
import inspect

import keras
import numpy as np
import pytest
from keras import ops
from keras.optimizers import schedules

from kerasdrop import layers
from kerasdrop.layers import ClassicDropout
from kerasdrop.layers import Dropout
from kerasdrop.layers import MCDropout
from kerasdrop.layers import ScheduledDropout
from tests.support import probes

LAYERS = [Dropout, ClassicDropout, MCDropout]
NO_NUMBERS = [
    None,
    "0.5",
    "dropout",
    True,
    np.True_,
    [0.5],
    (0.5,),
    {0.5},
    np.array([0.5]),
    np.full((2, 2), 0.5),
    0.5j,
]


def name_of(value):
    return f"{type(value).__name__}"


@pytest.mark.parametrize("layer_class", LAYERS)
@pytest.mark.parametrize("rate", [-0.5, 1.5, -1e-9, 1 + 1e-9, np.inf, np.nan])
def test_a_rate_outside_zero_to_one_is_refused(layer_class, rate):
    with pytest.raises(ValueError, match=r"must be in \[0, 1\]. Received: ra"):
        layer_class(rate)


@pytest.mark.parametrize("rate", NO_NUMBERS, ids=name_of)
def test_a_rate_that_is_no_number_is_refused(rate):
    with pytest.raises(ValueError, match="must be one number in .* Received:"):
        Dropout(rate)


def a_layer():
    return keras.layers.Dense(2)


def a_nameless_function():
    return functools.partial(schedules.PolynomialDecay(0.5, 10))


@pytest.mark.parametrize(
    "rate", [a_layer, a_nameless_function], ids=lambda rate: rate.__name__
)
def test_what_can_be_called_but_is_no_schedule_is_refused(rate):
    with pytest.raises(ValueError, match="(?i)schedule.*Received"):
        Dropout(rate())


def name_of_rate(layer_class):
    parameters = inspect.signature(layer_class).parameters
    return next(
        name for name in ("input_rate", "dropout", "rate") if name in parameters
    )


CLASSES = [
    (getattr(layers, name), name_of_rate(getattr(layers, name)))
    for name in layers.__all__
    if name != "GroupQueryAttention"
]


@pytest.mark.parametrize("given", ["p", "drop_prob"])
@pytest.mark.parametrize(("layer_class", "rate"), CLASSES)
def test_other_names_of_the_rate_are_told_its_name(layer_class, rate, given):
    expected = f"^{layer_class.__name__}: .* called `{rate}`.*{given}=0.2"
    with pytest.raises(TypeError, match=expected):
        layer_class(**{given: 0.2})


@pytest.mark.parametrize(("layer_class", "rate"), CLASSES)
def test_a_probability_of_keeping_is_told_its_complement(layer_class, rate):
    with pytest.raises(TypeError, match=f"`{rate}` is .* `1 - keep_prob`"):
        layer_class(keep_prob=0.8)


@pytest.mark.parametrize(("layer_class", "rate"), CLASSES)
def test_a_missing_argument_names_the_class_that_was_called(layer_class, rate):
    name = layer_class.__name__
    with pytest.raises(TypeError, match=f"^{name}: missing .* as {name}\\("):
        layer_class()


def test_the_arguments_are_listed_as_they_are_called():
    listed = r"as Dropout\(rate, noise_shape=None, seed=None"
    with pytest.raises(TypeError, match=listed):
        Dropout()


def test_a_subclass_has_arguments_of_its_own():
    class Half(Dropout):
        def __init__(self, p=None):
            super().__init__(0.5)
            self.p = p

    assert (Half(p=3).p, Half().rate) == (3, 0.5)
    with pytest.raises(TypeError, match="^Half: got an unexpected"):
        Half(keeps=0.1)


@pytest.mark.parametrize("rate", [-0.5, 1.5, np.nan, *NO_NUMBERS], ids=name_of)
def test_a_bad_rate_cannot_be_set(rate):
    layer = Dropout(0.5)
    with pytest.raises(ValueError, match="argument `rate` .* Received: rate="):
        layer.rate = rate


def test_a_schedule_cannot_be_set():
    schedule = keras.optimizers.schedules.PolynomialDecay(0.5, 10, 0.1)
    layer = Dropout(0.5, name="first")
    expected = r"'first' .* belongs to a layer from the start: `Dropout\(rate="
    with pytest.raises(ValueError, match=expected):
        layer.rate = schedule


def test_a_refused_rate_leaves_the_old_one():
    layer = Dropout(0.5)
    with pytest.raises(ValueError, match="Received: rate=1.5"):
        layer.rate = 1.5
    assert layer.rate == 0.5


def test_the_message_says_whose_rate_it_is():
    with pytest.raises(ValueError, match=r"Layer 'third' \(Dropout\)"):
        Dropout(1.5, name="third")


def test_the_message_tells_dropping_from_keeping():
    with pytest.raises(ValueError, match="of dropping a unit \\(not of keep"):
        Dropout(5)


@pytest.mark.parametrize(
    "rate", [0, 1, np.float32(0.25), np.array(0.25), np.int64(1)], ids=name_of
)
def test_any_kind_of_number_is_a_rate(rate):
    layer = Dropout(rate)
    assert (layer.rate, type(layer.rate)) == (float(rate), float)


def test_a_scalar_tensor_is_a_rate():
    layer = Dropout(ops.convert_to_tensor(0.25))
    assert (layer.rate, type(layer.rate)) == (0.25, float)
    layer.rate = schedules.PolynomialDecay(0.5, 10, 0.25)(10)
    assert layer.rate == 0.25
    layer.rate = ops.convert_to_tensor(1)
    assert layer.rate == 1.0
    with pytest.raises(ValueError, match=r"must be in \[0, 1\]"):
        layer.rate = ops.convert_to_tensor(1.5)
    with pytest.raises(ValueError, match="must be one number"):
        layer.rate = ops.convert_to_tensor([0.5])


def test_a_tensor_without_a_value_is_no_rate():
    layer = Dropout(0.5)
    with pytest.raises(ValueError, match="tensor without a value"):
        layer.rate = ops.sum(keras.Input((3,)))
    assert layer.rate == 0.5


def test_a_schedule_can_not_be_set_as_the_rate_later():
    layer = Dropout(0.5)
    with pytest.raises(ValueError, match="Received: rate=<.*PolynomialDecay"):
        layer.rate = schedules.PolynomialDecay(0.5, 10)


@pytest.mark.parametrize(
    "schedule",
    [
        schedules.PolynomialDecay(0.5, 10, 1.5),
        schedules.PolynomialDecay(0.5, 100_000_000, 1.5),
        schedules.PolynomialDecay(-0.1, 10, 0.5),
        schedules.ExponentialDecay(0.5, 100, 1.1),
        schedules.PiecewiseConstantDecay([37, 7777], [0.1, 1.1, 0.1]),
        schedules.PiecewiseConstantDecay([37, 7777], [0.1, 0.2, 1.1]),
        schedules.CosineDecay(0.0, 777, warmup_target=1.1, warmup_steps=333),
        schedules.CosineDecay(0.5, 777, alpha=2.5),
    ],
    ids=name_of,
)
@pytest.mark.parametrize("layer_class", [Dropout, ScheduledDropout])
def test_a_schedule_that_leaves_zero_to_one_is_refused(layer_class, schedule):
    with pytest.raises(ValueError, match=r"must stay in \[0, 1\] .* at step "):
        layer_class(schedule)


def test_the_message_about_a_schedule_has_the_value_and_the_step():
    schedule = schedules.PiecewiseConstantDecay([37], [0.5, 2.0])
    with pytest.raises(ValueError, match="the value 2.0 at step 38"):
        Dropout(schedule)


class Counted(schedules.LearningRateSchedule):
    """.5 but at step 1000, by a rule that takes the step in its own way."""

    def __init__(self, rule, bad_rate):
        self.rule = rule
        self.bad_rate = bad_rate
        self.calls = 0

    def __call__(self, step):
        self.calls += 1
        return self.rule(step, self.bad_rate)

    def get_config(self):
        return {}


RULES = {
    "an array": lambda step, bad: ops.where(step == 1000, bad, 0.5),
    "an array, reduced": lambda step, bad: ops.max(
        ops.where(step == 1000, bad, 0.5)
    ),
    "a tensor, in a condition": lambda step, bad: ops.cond(
        ops.equal(step, 1000),
        lambda: ops.convert_to_tensor(bad),
        lambda: ops.convert_to_tensor(0.5),
    ),
    "a number, in Python": lambda step, bad: bad if step == 1000 else 0.5,
    "a number, converted": lambda step, bad: {1000: bad}.get(int(step), 0.5),
}


@pytest.mark.parametrize("rule", RULES)
def test_every_kind_of_schedule_is_tried_out(rule):
    with pytest.raises(ValueError, match="the value 1.5 at step 1000. Change"):
        Dropout(Counted(RULES[rule], 1.5))
    with pytest.raises(ValueError, match="the value nan at step 1000. Change"):
        Dropout(Counted(RULES[rule], float("nan")))
    Dropout(Counted(RULES[rule], 1.0))


def test_a_schedule_that_takes_an_array_is_called_once():
    schedule = Counted(RULES["an array"], 0.75)
    Dropout(schedule)
    assert schedule.calls == 1


@pytest.mark.skipif(
    keras.backend.backend() != "jax",
    reason="On JAX each condition is compiled; elsewhere a call costs nothing",
)
def test_a_schedule_with_a_condition_is_traced_and_not_run_step_by_step():
    schedule = Counted(RULES["a tensor, in a condition"], 0.75)
    Dropout(schedule)
    assert schedule.calls < 5


def test_the_error_of_a_schedule_itself_is_shown():
    def broken(step, bad):
        raise ArithmeticError("of its own")

    with pytest.raises(ArithmeticError, match="of its own"):
        Dropout(Counted(broken, 0.5))


@pytest.mark.parametrize("seed", [0.5, "0", [1], True])
def test_a_seed_that_is_no_integer_is_refused(seed):
    with pytest.raises(ValueError, match="must be an integer, or None .*Rec"):
        Dropout(0.5, seed=seed)


def test_a_seed_generator_is_no_seed():
    generator = keras.random.SeedGenerator(1)
    with pytest.raises(ValueError, match="`seed` must be an integer, or None"):
        Dropout(0.5, seed=generator)


@pytest.mark.parametrize("value", [None, 1, "yes"])
def test_stochastic_inference_is_true_or_false(value):
    with pytest.raises(ValueError, match="must be True or False. Received:"):
        MCDropout(0.5, stochastic_inference=value)


@pytest.mark.parametrize(
    "noise_shape",
    [
        "invalid",
        5,
        (20, 1.5, 10),
        (20, -1, 10),
        (20, 0, 10),
        (20, True, 10),
        (20, "1", 10),
    ],
)
def test_a_noise_shape_that_is_none_is_refused(noise_shape):
    expected = "must be a tuple of positive integers and None.* Received: "
    with pytest.raises(ValueError, match=expected):
        Dropout(0.5, noise_shape=noise_shape)


@pytest.mark.parametrize("noise_shape", [(None,), (None, 1, None), (None, 3)])
def test_a_noise_shape_that_does_not_fit_the_inputs_is_refused(noise_shape):
    layer = Dropout(0.5, noise_shape=noise_shape)
    with pytest.raises(ValueError, match=r"one entry for each axis .*\(4, 5\)"):
        layer(np.ones((4, 5), "float32"), training=True)


@pytest.mark.parametrize("training", [True, False])
def test_the_noise_shape_is_checked_when_the_model_is_made(training):
    inputs = keras.Input((5, 6))
    with pytest.raises(ValueError, match=r"for inputs of shape \(None, 5, 6"):
        Dropout(0.5, noise_shape=(None, 1))(inputs, training=training)


@pytest.mark.parametrize("dtype", ["int32", "uint8", "bool"])
@pytest.mark.parametrize("layer_class", LAYERS)
def test_integer_inputs_are_refused(layer_class, dtype):
    inputs = ops.ones((2, 3), dtype)
    with pytest.raises(ValueError, match="inputs of dtype .* `keras.ops.cast"):
        layer_class(0.5)(inputs, training=True)


def test_integer_inputs_are_refused_when_the_model_is_made():
    tokens = keras.Input((5,), dtype="int32")
    with pytest.raises(ValueError, match="inputs of dtype int32. Cast them"):
        Dropout(0.5)(tokens)


NO_TENSORS = {
    "None": lambda: None,
    "list": lambda: [probes.ones(), probes.ones()],
    "tuple": lambda: (probes.ones(), probes.ones()),
    "dict": lambda: {"a": probes.ones()},
    "symbolic list": lambda: [keras.Input((3,)), keras.Input((3,))],
    "symbolic dict": lambda: {"a": keras.Input((3,))},
}


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("kind", NO_TENSORS)
@pytest.mark.parametrize("layer_class", LAYERS)
def test_inputs_that_are_no_tensor_are_refused(layer_class, kind, training):
    received = kind.removeprefix("symbolic ").replace("None", "NoneType")
    message = rf"\(layer, inputs\)`.* Received: inputs of type {received}"
    with pytest.raises(ValueError, match=message):
        layer_class(0.5)(NO_TENSORS[kind](), training=training)


def test_the_way_to_drop_several_tensors_that_the_message_names_works():
    layer = Dropout(1.0)
    inputs = {"a": probes.ones(), "b": [probes.ones()]}
    outputs = keras.tree.map_structure(
        lambda tensor: layer(tensor, training=True), inputs
    )
    assert float(ops.max(outputs["a"])) == 0.0
    assert float(ops.max(outputs["b"][0])) == 0.0


def test_numbers_in_a_list_are_refused_as_by_the_stock_layer():
    messages = []
    for layer_class in (keras.layers.Dropout, Dropout):
        with pytest.raises(ValueError, match="Only input tensors") as error:
            layer_class(0.5)([[1.0, 2.0]], training=True)
        messages.append(str(error.value))
    assert messages[0] == messages[1]


def test_an_array_of_numpy_is_a_tensor():
    outputs = Dropout(0.0)(np.ones((2, 3)), training=True)
    np.testing.assert_array_equal(
        ops.convert_to_numpy(outputs), np.ones((2, 3))
    )


def test_a_checkpoint_with_an_illegal_rate_is_refused(tmp_path):
    path = tmp_path / "model.weights.h5"
    model = keras.Sequential([keras.Input((3,)), Dropout(0.5, name="third")])
    # Past the setter, as in a file from another source.
    model.get_layer("third")._state.rate.state.assign(7.0)
    model.save_weights(path)
    with pytest.raises(ValueError, match=r"must be in \[0, 1\]. Received: ra"):
        model.load_weights(path)


@pytest.mark.parametrize("layer_class", LAYERS)
def test_an_illegal_rate_that_slips_in_gives_nan(layer_class):
    layer = layer_class(0.5)
    layer._state.rate.state.assign(1.5)
    outputs = layer(probes.ones(), training=True)
    assert np.isnan(ops.convert_to_numpy(outputs)).any()
