"""Schedules against numpy formulas, published values, and across backends."""

import keras
import numpy as np
import pytest
from keras.optimizers import schedules as keras_schedules

from kerasdrop import schedules
from kerasdrop.layers import Dropout

BACKEND = keras.backend.backend()

# Half a unit in the last place of a float32 just below 1. A value here is the
# result of at most eight roundings of intermediate results in [0, 1].
ROUNDING = 2.0**-25
TOLERANCE = 8 * ROUNDING


@keras.saving.register_keras_serializable("kerasdrop_tests")
def sawtooth(step):
    return keras.ops.cast(step % 10, "float32") / 20


@keras.saving.register_keras_serializable("kerasdrop_tests")
def line_without_end(step):
    return keras.ops.cast(step, "float32") / 100


def values(schedule, steps):
    return keras.ops.convert_to_numpy(schedule(np.asarray(steps, "int32")))


def part_done(steps, begin_step, num_steps):
    return np.clip((steps - begin_step) / num_steps, 0.0, 1.0)


# Formulas in float64, of the paper or of the docstring: (class, formula).
def linear(t, a, b, n, begin):
    return a + (b - a) * part_done(t, begin, n)


def polynomial(power):
    def formula(t, a, b, n, begin):
        return (a - b) * (1 - part_done(t, begin, n)) ** power + b

    return formula


def cosine(t, a, b, n, begin):
    return b + (a - b) * 0.5 * (1 + np.cos(np.pi * part_done(t, begin, n)))


def exponential(t, a, b, n, begin):
    return a * (b / a) ** part_done(t, begin, n)


def accelerating(t, a, b, n, begin):
    # LayerSkip (Elhoushi et al. 2024), section 4.1.1, T being n + 1.
    return a + (b - a) * (np.exp(part_done(t, begin, n) * np.log(2)) - 1)


def curriculum(t, a, b, n, begin):
    elapsed = np.maximum(t - begin, 0)
    return b - (b - a) * np.exp(-elapsed / n)


def early_linear(t, a, b, n, begin):
    ramp = np.concatenate([np.linspace(a, 0.0, n), np.zeros(t.max() + 1)])
    return ramp[t]


def early_constant(t, a, b, n, begin):
    return np.where(t < n, a, 0.0)


def late(t, a, b, n, begin):
    return np.where(t < n, 0.0, b)


FORMULAS = {
    "linear": (schedules.Linear, linear),
    "power 2": (
        lambda a, b, n, begin: schedules.Polynomial(a, b, n, 2, begin),
        polynomial(2),
    ),
    "power 4": (
        lambda a, b, n, begin: schedules.Polynomial(a, b, n, 4, begin),
        polynomial(4),
    ),
    "power 0.7": (
        lambda a, b, n, begin: schedules.Polynomial(a, b, n, 0.7, begin),
        polynomial(0.7),
    ),
    "cosine": (schedules.Cosine, cosine),
    "exponential": (schedules.Exponential, exponential),
    "accelerating": (schedules.Accelerating, accelerating),
    "curriculum": (
        lambda a, b, n, begin: schedules.Curriculum(b, 1 / n, a, begin),
        curriculum,
    ),
    "early linear": (
        lambda a, b, n, begin: schedules.EarlyDropout(a, n),
        early_linear,
    ),
    "early constant": (
        lambda a, b, n, begin: schedules.EarlyDropout(a, n, "constant"),
        early_constant,
    ),
    "late": (
        lambda a, b, n, begin: schedules.LateDropout(b, n),
        late,
    ),
}


@pytest.mark.parametrize("name", FORMULAS)
def test_random_arguments_give_the_values_of_the_formula(name):
    make, formula = FORMULAS[name]
    random = np.random.default_rng(0)
    for _ in range(20):
        a, b = random.uniform(0.05, 1.0, 2)
        n, begin = random.integers(2, 3000), random.integers(0, 500)
        t = random.integers(0, 4000, 50)
        np.testing.assert_allclose(
            values(make(a, b, n, begin), t),
            formula(t, a, b, n, begin),
            rtol=0,
            atol=TOLERANCE,
        )


def test_piecewise_linear_is_numpys_interpolation():
    random = np.random.default_rng(1)
    for _ in range(20):
        steps = np.sort(random.choice(2000, 5, replace=False))
        rates = random.uniform(0.0, 1.0, 5)
        t = random.integers(0, 2500, 50)
        np.testing.assert_allclose(
            values(schedules.PiecewiseLinear(steps, rates), t),
            np.interp(t, steps, rates),
            rtol=0,
            atol=TOLERANCE,
        )


def test_kaldi_strings_are_interpolated_over_fractions_of_any_length():
    random = np.random.default_rng(2)
    for num_steps in random.integers(5, 5000, 20):
        t = random.integers(0, num_steps + 1, 50)
        schedule = schedules.PiecewiseLinear.from_fractions(
            "0,0@0.20,0.5@0.50,0", int(num_steps)
        )
        np.testing.assert_allclose(
            values(schedule, t),
            np.interp(t / num_steps, [0, 0.2, 0.5, 1], [0, 0, 0.5, 0]),
            rtol=0,
            atol=TOLERANCE,
        )


ramp = schedules.Linear


# (schedule, steps, values): from the papers' code, and optax' fixtures / 100.
PUBLISHED = {
    "curriculum": (
        schedules.Curriculum(0.5, 1e-3),
        [0, 100, 1000, 5000],
        [1 - 1.0, 1 - 0.952419, 1 - 0.683940, 1 - 0.503369],
    ),
    "its annealed comparator": (
        schedules.Curriculum(0.0, 1e-3, initial_rate=0.5),
        [0, 100, 1000, 5000],
        [1 - 0.5, 1 - 0.547581, 1 - 0.816060, 1 - 0.996631],
    ),
    "drop block": (ramp(0.0, 0.1, 50), [0, 25, 50, 100], [0, 0.05, 0.1, 0.1]),
    "early linear": (
        schedules.EarlyDropout(0.1, 11),
        [0, 3, 5, 10, 11],
        [0.1, 0.07, 0.05, 0, 0],
    ),
    "kaldi": (
        schedules.PiecewiseLinear.from_fractions("0,0@0.20,0.5@0.50,0", 100),
        [0, 10, 20, 35, 50, 75, 100],
        [0, 0, 0, 0.25, 0.5, 0.25, 0],
    ),
    "kaldi, a middle without a fraction": (
        schedules.PiecewiseLinear.from_fractions("0.0,0.3,0.0@0.75,1.0", 100),
        [25, 50, 90],
        [0.15, 0.3, 0.6],
    ),
    "stages of EfficientNetV2 S": (
        schedules.stage_wise(0.1, 0.3, 4, 40),
        [0, 9, 10, 20, 30, 99],
        [0.1, 0.1, 0.5 / 3, 0.7 / 3, 0.3, 0.3],
    ),
    "cosine": (
        schedules.Cosine(0.5, 0.0, 100),
        [0, 25, 50, 75, 100],
        [0.5, 0.426777, 0.25, 0.073223, 0],
    ),
    "polynomial": (
        schedules.Polynomial(0.5, 0.1, 100, power=2),
        [0, 25, 50, 75, 100],
        [0.5, 0.325, 0.2, 0.125, 0.1],
    ),
    "optax linear": (
        ramp(0.10, 0.20, 10),
        range(15),
        [*np.arange(10, 20) / 100, *[0.2] * 5],
    ),
    "optax polynomial": (
        schedules.Polynomial(0.25, 0.10, 10, power=2),
        range(15),
        [*(10 + 15 * (1 - np.arange(10) / 10) ** 2) / 100, *[0.1] * 5],
    ),
    "optax, four steps of waiting": (
        ramp(0.30, 0.10, 10, begin_step=4),
        range(16),
        [*[0.3] * 4, *(30 - 2 * np.arange(10)) / 100, 0.1, 0.1],
    ),
    "optax piecewise constant": (
        schedules.Steps([3, 6], [0.1, 0.2, 0.1]),
        range(10),
        [0.1] * 3 + [0.2] * 3 + [0.1] * 4,
    ),
}


@pytest.mark.parametrize("name", PUBLISHED)
def test_published_values_are_met(name):
    schedule, steps, expected = PUBLISHED[name]
    # Published with six decimals.
    np.testing.assert_allclose(
        values(schedule, list(steps)), expected, rtol=0, atol=5.1e-7
    )


# The means over 10000 steps that comparisons at equal mean rate rest on.
MEANS = {
    "curriculum": (schedules.Curriculum(0.5, 1e-3), 0.449977),
    "kaldi": (
        schedules.PiecewiseLinear.from_fractions("0,0@.2,.5@.5,0", 10_000),
        0.2,
    ),
    "stages": (schedules.stage_wise(0.1, 0.4, 4, 10_000), 0.25),
    "early": (schedules.EarlyDropout(0.5, 2_000), 0.25 * 0.2),
    "cosine": (schedules.Cosine(0.5, 0.0, 9_999), 0.25),
}


@pytest.mark.parametrize("name", MEANS)
def test_mean_rates_are_those_of_the_formula(name):
    schedule, mean = MEANS[name]
    found = values(schedule, np.arange(10_000)).mean(dtype="float64")
    np.testing.assert_allclose(found, mean, rtol=0, atol=1e-6)


ENDS = {
    "linear": schedules.Linear,
    "polynomial": lambda a, b, n: schedules.Polynomial(a, b, n, 1.5),
    "cosine": schedules.Cosine,
    "exponential": schedules.Exponential,
    "accelerating": schedules.Accelerating,
    "piecewise": lambda a, b, n: schedules.PiecewiseLinear([0, n], [a, b]),
    "warm-up": lambda a, b, n: schedules.warm_up(b, n, a),
}


@pytest.mark.parametrize("name", ENDS)
def test_the_ends_are_the_arguments_in_float32(name):
    random = np.random.default_rng(3)
    for _ in range(30):
        a, b = random.uniform(0.001, 1.0, 2)
        n = int(random.integers(1, 10_000))
        np.testing.assert_array_equal(
            values(ENDS[name](a, b, n), [0, n, n + 1, 2**31 - 1]),
            np.float32([a, b, b, b]),
        )


@pytest.mark.parametrize("shape", ["linear", "constant"])
@pytest.mark.parametrize("num_steps", [1, 2, 3, 100])
def test_early_dropout_ends_exactly_when_it_says(shape, num_steps):
    schedule = schedules.EarlyDropout(0.3, num_steps, shape)
    last = 0.3 if shape == "constant" or num_steps == 1 else 0.0
    np.testing.assert_array_equal(
        values(schedule, [0, num_steps - 1, num_steps, 10 * num_steps]),
        np.float32([0.3, last, 0.0, 0.0]),
    )


def test_late_dropout_begins_exactly_when_it_says():
    np.testing.assert_array_equal(
        values(schedules.LateDropout(0.3, 7), [0, 6, 7, 8, 1000]),
        np.float32([0, 0, 0.3, 0.3, 0.3]),
    )


def test_a_single_step_may_be_the_whole_way():
    np.testing.assert_array_equal(
        values(schedules.Linear(0.2, 0.7, 1), [0, 1, 2]),
        np.float32([0.2, 0.7, 0.7]),
    )


EVERY_SCHEDULE = {
    "constant": schedules.Constant(0.3),
    "linear": schedules.Linear(0.1, 0.7, 997, 50),
    "polynomial": schedules.Polynomial(0.7, 0.1, 997, 3, 50),
    "root": schedules.Polynomial(0.7, 0.1, 997, 0.5, 50),
    "cosine": schedules.Cosine(0.05, 0.95, 997, 50),
    "exponential": schedules.Exponential(0.9, 0.01, 997, 50),
    "accelerating": schedules.Accelerating(0.0, 0.7, 997, 50),
    "curriculum": schedules.Curriculum(0.5, 1e-3, 0.1, 50),
    "piecewise": schedules.PiecewiseLinear([3, 300, 997], [0.1, 1.0, 0.2]),
    "fractions": schedules.PiecewiseLinear.from_fractions("0,.7@.3,.1", 997),
    "steps": schedules.Steps([100, 500], [0.1, 0.7, 0.3]),
    "early": schedules.EarlyDropout(0.7, 997),
    "late": schedules.LateDropout(0.7, 500),
    "join": schedules.Join([0.1, schedules.Linear(0.3, 0.1, 97)], [300]),
    "cyclic": schedules.Cyclic(schedules.Linear(0.0, 1.0, 97), 113),
    "warm-up": schedules.warm_up(schedules.Cosine(0.5, 0.0, 900), 97),
    "function": schedules.FromFunction(sawtooth),
    "keras": schedules.Join(
        [keras_schedules.PolynomialDecay(0.1, 100, 0.5), 0.2], [200]
    ),
}
# These have a cosine, an exponential or a root, or are made by others.
APPROXIMATE = {
    "root",
    "cosine",
    "exponential",
    "accelerating",
    "curriculum",
    "warm-up",
    "function",
    "keras",
}
STEPS = np.arange(0, 1300, dtype="int32")


def compilations(function):
    if BACKEND == "jax":
        import jax

        return [jax.jit(function)]
    if BACKEND == "tensorflow":
        import tensorflow as tf

        return [tf.function(function), tf.function(function, jit_compile=True)]
    return []


@pytest.mark.skipif(BACKEND == "torch", reason="nothing is compiled")
@pytest.mark.parametrize("name", EVERY_SCHEDULE)
def test_compiled_values_are_those_of_eager_calls(name):
    schedule = EVERY_SCHEDULE[name]
    # 1 ulp of a cosine, an exponential or a root just below 1.
    bound = 2 * ROUNDING if name in APPROXIMATE else 0.0
    if name == "accelerating":  # XLA has an expm1 of its own
        bound *= 4
    for compiled in compilations(schedule):
        np.testing.assert_allclose(
            values(compiled, STEPS),
            values(schedule, STEPS),
            rtol=0,
            atol=bound,
        )


@pytest.mark.slow
@pytest.mark.skipif(BACKEND != "torch", reason="of torch.compile")
# Raised inside PyTorch, while its compiler is imported.
@pytest.mark.filterwarnings("ignore:`torch.jit:DeprecationWarning")
def test_torch_compiled_values_are_those_of_eager_calls():
    import torch

    schedule = EVERY_SCHEDULE["piecewise"]
    compiled = torch.compile(schedule)
    np.testing.assert_array_equal(
        compiled(torch.from_numpy(STEPS)).numpy(), values(schedule, STEPS)
    )


def test_lines_are_those_of_ieee_arithmetic_on_every_backend():
    one = np.float32(1)
    fraction = np.float32(STEPS - 50) * np.float32(1 / 997)
    change = np.clip(fraction, 0, one) * np.float32(0.7 - 0.1)
    expected = np.minimum(np.float32(0.1) + change, np.float32(0.7))
    expected = np.where(STEPS >= 50 + 997, np.float32(0.7), expected)
    np.testing.assert_array_equal(
        values(EVERY_SCHEDULE["linear"], STEPS), expected
    )


def test_cubes_are_those_of_ieee_arithmetic_on_every_backend():
    one = np.float32(1)
    steps_left = np.clip(50 + 997 - STEPS, 0, 997)
    left = np.minimum(np.float32(steps_left) * np.float32(1 / 997), one)
    change = left * left * left * np.float32(0.7 - 0.1)
    expected = np.minimum(np.float32(0.1) + change, np.float32(0.7))
    expected = np.where(STEPS <= 50, np.float32(0.7), expected)
    np.testing.assert_array_equal(
        values(EVERY_SCHEDULE["polynomial"], STEPS), expected
    )


@pytest.mark.parametrize("name", EVERY_SCHEDULE)
def test_values_are_float32_within_zero_and_one(name):
    far = np.int32([0, 1, 2**24 + 1, 2**31 - 2, 2**31 - 1])
    found = values(EVERY_SCHEDULE[name], np.concatenate([STEPS, far]))
    assert found.dtype == "float32"
    assert (found >= 0).all()
    assert (found <= 1).all()


@pytest.mark.parametrize("name", sorted(set(EVERY_SCHEDULE) - {"function"}))
@pytest.mark.parametrize(
    "dtype", ["float32"] if BACKEND == "jax" else ["int64", "float32"]
)
def test_the_type_of_the_step_does_not_matter(name, dtype):
    schedule = EVERY_SCHEDULE[name]
    found = schedule(keras.ops.convert_to_tensor(STEPS[::9], dtype))
    np.testing.assert_array_equal(
        keras.ops.convert_to_numpy(found), values(schedule, STEPS[::9])
    )


def test_a_python_number_is_a_step():
    found = schedules.Linear(0.0, 0.5, 1000)(250)
    assert float(found) == 0.125


@pytest.mark.parametrize("power", [0.1, 0.5, 2.0, 2.5])
def test_powers_keep_their_digits_near_the_end(power):
    steps = 10**6 - np.array([1000, 10, 2, 1, 0])
    found = values(schedules.Polynomial(0.5, 0.0, 10**6, power), steps)
    expected = 0.5 * ((10**6 - steps) / 10**6) ** power
    np.testing.assert_allclose(found, expected, rtol=2e-6, atol=0.0)


@pytest.mark.parametrize("step", [2**31, np.int64(2**40), [1, 2**31]])
def test_integers_beyond_32_bits_are_refused_and_floats_are_not(step):
    schedule = schedules.Linear(0.0, 0.5, 1000)
    with pytest.raises(ValueError, match=r"below 2\*\*31.*Received: step="):
        schedule(step)
    beyond = schedule(np.asarray(step, "float32"))
    assert keras.ops.convert_to_numpy(beyond).max() == 0.5


def test_steps_beyond_what_float32_counts_are_told_apart():
    boundary = 2**24 + 1
    found = values(
        schedules.Steps([boundary], [0.0, 1.0]), [boundary - 1, boundary]
    )
    np.testing.assert_array_equal(found, [0.0, 1.0])


def test_ramps_begin_to_the_step_however_late():
    begin = 2**24 + 1
    schedule = schedules.Linear(0.0, 0.5, 2, begin)
    np.testing.assert_array_equal(
        values(schedule, [begin, begin + 1, begin + 2]), [0.0, 0.25, 0.5]
    )


def test_each_joined_schedule_counts_its_own_steps():
    schedule = schedules.Join(
        [0.5, ramp(0.0, 0.4, 4), keras_schedules.PolynomialDecay(0.5, 4, 0.1)],
        [2, 6],
    )
    np.testing.assert_allclose(
        values(schedule, range(12)),
        [0.5, 0.5, 0, 0.1, 0.2, 0.3, 0.5, 0.4, 0.3, 0.2, 0.1, 0.1],
        atol=TOLERANCE,
    )


def test_a_cycle_begins_anew():
    one_cycle = values(schedules.Cosine(0.5, 0.1, 7), range(10))
    cyclic = schedules.Cyclic(schedules.Cosine(0.5, 0.1, 7), 10)
    np.testing.assert_array_equal(
        values(cyclic, range(30)), np.tile(one_cycle, 3)
    )


@pytest.mark.parametrize("name", EVERY_SCHEDULE)
def test_a_schedule_comes_back_from_its_config(name):
    schedule = EVERY_SCHEDULE[name]
    restored = keras.saving.deserialize_keras_object(
        keras.saving.serialize_keras_object(schedule)
    )
    assert type(restored) is type(schedule)
    np.testing.assert_array_equal(
        values(restored, STEPS), values(schedule, STEPS)
    )


@pytest.mark.parametrize("name", EVERY_SCHEDULE)
def test_a_schedule_comes_back_in_a_saved_model(name, tmp_path):
    schedule = EVERY_SCHEDULE[name]
    model = keras.Sequential([keras.Input((3,)), Dropout(schedule)])
    path = tmp_path / "model.keras"
    model.save(path)
    restored = keras.saving.load_model(path).layers[-1].schedule
    np.testing.assert_array_equal(
        values(restored, STEPS), values(schedule, STEPS)
    )


def test_a_schedule_shows_its_arguments():
    assert repr(schedules.Linear(0.5, 0.1, 100)) == (
        "Linear(initial_rate=0.5, final_rate=0.1, num_steps=100, begin_step=0)"
    )


REFUSED = {
    "rate above 1": (lambda: ramp(0.0, 1.5, 10), "`final_rate` is the prob"),
    "no rate": (lambda: ramp("a", 0.5, 10), "`initial_rate` must be one num"),
    "no steps": (lambda: ramp(0, 0.5, 0), "`num_steps` must be an integer of"),
    "half a step": (lambda: ramp(0, 0.5, 1.5), "`num_steps` must be an intege"),
    "negative begin": (
        lambda: ramp(0, 0.5, 10, begin_step=-1),
        "`begin_step` must be an integer of at least 0",
    ),
    "power 0": (
        lambda: schedules.Polynomial(0, 0.5, 10, power=0),
        "`power` must be a number above 0",
    ),
    "exponential to 0": (
        lambda: schedules.Exponential(0.5, 0.0, 10),
        "Use `Curriculum`",
    ),
    "growing": (
        lambda: schedules.Curriculum(0.5, gamma=-1e-3),
        "`gamma` must be a number above 0",
    ),
    "steps in disorder": (
        lambda: schedules.PiecewiseLinear([0, 5, 5], [0, 0, 0]),
        "each above the one before",
    ),
    "rates too few": (
        lambda: schedules.PiecewiseLinear([0, 5], [0]),
        "must have the same length",
    ),
    "boundaries too many": (
        lambda: schedules.Steps([3, 5], [0, 0.5]),
        "one entry more than `boundaries`",
    ),
    "boundary 0": (
        lambda: schedules.Steps([0], [0, 0.5]),
        "`boundaries` must be an integer of at least 1",
    ),
    "second rate": (
        lambda: schedules.Steps([3], [0, -0.5]),
        r"`rates\[1\]` is the probability",
    ),
    "joined too few": (
        lambda: schedules.Join([0.5], [3]),
        "`schedules` must have one entry more than `boundaries`",
    ),
    "foreign out of range": (
        lambda: schedules.Join(
            [0.5, keras_schedules.PolynomialDecay(0.5, 10, 1.5)], [3]
        ),
        r"`schedules\[1\]` is a schedule that must stay in \[0, 1\]",
    ),
    "early of another shape": (
        lambda: schedules.EarlyDropout(0.5, 10, "cosine"),
        '`shape` must be "linear" or "constant"',
    ),
    "late from the start": (
        lambda: schedules.LateDropout(0.5, 0),
        "`begin_step` must be an integer of at least 1",
    ),
    "stages of different lengths": (
        lambda: schedules.stage_wise(0.1, 0.3, 4, 10),
        "For stages of different lengths use `Steps`",
    ),
    "text of one rate": (
        lambda: schedules.PiecewiseLinear.from_fractions("0.5", 10),
        "at least the rate at the start and at the end",
    ),
    "fraction at the end": (
        lambda: schedules.PiecewiseLinear.from_fractions("0.5,0.1@0.5", 10),
        "Received: the part '0.1@0.5'",
    ),
    "fraction above 1": (
        lambda: schedules.PiecewiseLinear.from_fractions("0.5,0@2,0.1", 10),
        r"fraction of the training must be in \[0, 1\]",
    ),
    "lambda": (
        lambda: schedules.FromFunction(lambda step: 0.5),
        "decorate it with `@keras.saving.register_keras_serializable",
    ),
    "function out of range": (
        lambda: schedules.FromFunction(line_without_end),
        r"`function` is a schedule that must stay in \[0, 1\]",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_a_wrong_argument_is_refused_with_the_fix(name):
    make, sentence = REFUSED[name]
    with pytest.raises(ValueError, match=sentence):
        make()


@pytest.mark.parametrize("cls", [schedules.Linear, schedules.Cosine])
def test_a_missing_argument_names_the_schedule_and_its_arguments(cls):
    name = cls.__name__
    call = rf"^{name}: missing .*'num_steps'. Call it as {name}\(initial_rate, "
    with pytest.raises(TypeError, match=call):
        cls(0.5, 0.0)
    with pytest.raises(TypeError, match=rf"Received: {name}\(0.5, end=0.0\)$"):
        cls(0.5, end=0.0)


def test_stochastic_depth_has_the_rates_of_its_paper():
    rates = schedules.linear_depth_rates(54, 0.5)
    kept = 1 - np.array(rates)
    np.testing.assert_allclose(
        [kept[0], kept[26], kept[53], kept.sum()],
        [0.990741, 0.75, 0.5, 40.25],
        atol=5e-7,
    )


def test_scheduled_drop_path_is_a_profile_with_a_ramp():
    # Cell 8 of 18, kept with .6 at the end: .9 at half-time, .8 in the end.
    rate = schedules.linear_depth_rates(18, 1 - 0.6)[8]
    found = values(ramp(0.0, rate, 1000), [500, 1000])
    np.testing.assert_allclose(1 - found, [0.9, 0.8], atol=TOLERANCE)


def test_a_profile_from_a_first_rate_is_an_even_line():
    np.testing.assert_allclose(
        schedules.linear_depth_rates(5, 0.4, initial_rate=0.0),
        [0.0, 0.1, 0.2, 0.3, 0.4],
        rtol=1e-15,
    )


def test_a_profile_of_one_layer_has_its_final_rate():
    assert schedules.linear_depth_rates(1, 0.4, initial_rate=0.0) == [0.4]


@pytest.mark.parametrize("num_layers", [2, 3, 32])
def test_layer_dropout_grows_over_depth_and_time_as_in_its_paper(num_layers):
    # LayerSkip, section 4.1.1: p = S(t) D(l) p_max, t of T, l of L, from 0.
    num_steps, largest = 1000, 0.2
    depth = np.arange(num_layers) * np.log(2) / (num_layers - 1)
    time = np.array([0, 1, 500, 999]) * np.log(2) / (num_steps - 1)
    expected = (np.exp(time)[:, None] - 1) * (np.exp(depth) - 1) * largest
    rates = schedules.exponential_depth_rates(num_layers, largest)
    found = [
        values(schedules.Accelerating(0.0, rate, num_steps - 1), steps)
        for rate in rates
        for steps in [[0, 1, 500, 999]]
    ]
    np.testing.assert_allclose(
        np.transpose(found), expected, rtol=0, atol=TOLERANCE
    )


def test_an_exponential_profile_of_one_layer_has_its_final_rate():
    assert schedules.exponential_depth_rates(1, 0.4) == [0.4]


@pytest.mark.parametrize(
    ("where", "expected"),
    [("front", [0.3, 0.3, 0, 0, 0, 0]), ("back", [0, 0, 0, 0, 0.3, 0.3])],
)
def test_a_step_profile_spends_its_budget_in_one_part(where, expected):
    rates = schedules.step_depth_rates(6, 0.1, part=1 / 3, where=where)
    np.testing.assert_allclose(rates, expected, rtol=1e-15)


def test_a_scaled_profile_keeps_its_form_and_has_the_mean():
    form = np.random.default_rng(4).uniform(size=9)
    rates = schedules.rates_with_mean(form, 0.17)
    np.testing.assert_allclose(rates, form / form.mean() * 0.17, rtol=1e-14)


REFUSED_PROFILES = {
    "a rate above 1": (
        lambda: schedules.step_depth_rates(10, 0.2, part=0.1),
        "highest rate would be 2, above 1",
    ),
    "nothing to scale": (
        lambda: schedules.rates_with_mean([0.0, 0.0], 0.2),
        "not all of them 0",
    ),
    "no layers": (
        lambda: schedules.linear_depth_rates(0, 0.2),
        "`num_layers` must be an integer of at least 1",
    ),
    "in the middle": (
        lambda: schedules.step_depth_rates(10, 0.1, 0.5, "middle"),
        '`where` must be "front" or "back"',
    ),
}


@pytest.mark.parametrize("name", REFUSED_PROFILES)
def test_an_impossible_profile_is_refused(name):
    make, sentence = REFUSED_PROFILES[name]
    with pytest.raises(ValueError, match=sentence):
        make()
