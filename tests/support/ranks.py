"""Functions that processes or replicas run together.

`main` with the arguments NAME RANK FOLDER PORT PORT runs the function NAME, and
saves the arrays that it returns as FOLDER/RANK.npz.
"""

import contextlib
import json
import os
import sys

import numpy as np

ROWS, UNITS = 4, 64
WORLD = 2


def keras_of(backend):
    os.environ["KERAS_BACKEND"] = backend
    import keras

    return keras


def data(rows=ROWS):
    x = np.random.default_rng(0).normal(size=(rows, UNITS))
    return x.astype("float32")


def network(seeds=(None, None)):
    import keras

    from kerasdrop import layers

    return keras.Sequential(
        [
            keras.Input((UNITS,)),
            layers.Dropout(0.5, seed=seeds[0]),
            keras.layers.Dense(UNITS),
            layers.Dropout(0.5, seed=seeds[1]),
            keras.layers.Dense(1),
        ]
    )


def masks(layer, rows=ROWS):
    from keras import ops

    x = np.ones((rows, UNITS), "float32")
    return ops.convert_to_numpy(layer(x, training=True)) == 0


def mean_of_samples(model):
    import kerasdrop

    result = kerasdrop.mc_predict(
        model, data(), 16, seed=3, kind="regression", verbose=0
    )
    return result.mean


def refusals_of(*calls):
    """The messages of calls that must all be refused."""
    messages = []
    for call in calls:
        try:
            call()
        except (TypeError, ValueError) as error:
            messages.append(str(error))
    assert len(messages) == len(calls), messages
    return messages


def torch_ddp(rank, folder, ports):
    keras = keras_of("torch")
    import torch
    from torch import distributed

    import kerasdrop
    from tests.support import epochs

    torch.set_num_threads(1)
    distributed.init_process_group(
        "gloo",
        init_method=f"file://{folder}/store",
        rank=rank,
        world_size=WORLD,
    )
    found = {}
    for name, seeds in (("unseeded", (None, None)), ("seeded", (5, 6))):
        keras.utils.set_random_seed(rank)
        model = network(seeds)
        # All ranks get the keys of rank 0.
        together = torch.nn.parallel.DistributedDataParallel(model)
        together(torch.tensor(data()), training=True).mean().backward()
        drops = model.layers[0], model.layers[2]
        found[f"{name} keys"] = np.stack([d._state.read("key") for d in drops])
        found[f"{name} masks"] = np.stack([masks(drop) for drop in drops])
        found[f"{name} samples"] = mean_of_samples(model)
    drop = kerasdrop.layers.Dropout(0.5, seed=7)
    with kerasdrop.row_scope(first_row=rank * ROWS):
        found["a block of the batch"] = masks(drop)
    sampler = torch.utils.data.DistributedSampler(
        range(WORLD * ROWS), shuffle=False
    )
    with kerasdrop.row_scope(rows=list(sampler)):
        found["dealt in turn"] = masks(drop)
    together = torch.nn.parallel.DistributedDataParallel(network())
    found["refusals"] = refusals_of(
        lambda: mean_of_samples(together),
        lambda: kerasdrop.get_rates(together),
        lambda: kerasdrop.strip_dropout(together),
    )
    found |= epochs.of_torch(rank, folder)
    distributed.destroy_process_group()
    return found


def jax_processes(rank, folder, ports):
    keras = keras_of("jax")
    import jax

    jax.config.update("jax_cpu_collectives_implementation", "gloo")
    jax.distributed.initialize(f"127.0.0.1:{ports[0]}", WORLD, rank)
    import kerasdrop
    from tests.support import epochs

    keras.utils.set_random_seed(0)
    model = network((5, 6))
    found = {"samples": mean_of_samples(model)}

    mesh = jax.make_mesh(
        (WORLD,), ("batch",), axis_types=(jax.sharding.AxisType.Auto,)
    )
    spec = jax.sharding.PartitionSpec("batch")
    rows = np.arange(WORLD * ROWS)[rank * ROWS :][:ROWS]
    x = np.ones((ROWS, UNITS), "float32")
    sharding = jax.sharding.NamedSharding(mesh, spec)
    x = jax.make_array_from_process_local_data(sharding, x)
    rows = jax.make_array_from_process_local_data(sharding, rows)
    drop = kerasdrop.layers.Dropout(0.5, seed=7)
    values = [np.asarray(v.value) for v in drop.non_trainable_variables]

    def call(x):
        outputs, _ = drop.stateless_call([], values, x, training=True)
        return outputs

    def part(x):
        first_row = jax.lax.axis_index("batch") * x.shape[0]
        with kerasdrop.row_scope(first_row=first_row):
            return call(x)

    def numbered(x, rows):
        with kerasdrop.row_scope(rows=rows):
            return call(x)

    sharded = {"mesh": mesh, "out_specs": spec}
    for name, function, arguments in (
        ("a global array", call, (x,)),
        ("first_row", jax.shard_map(part, in_specs=spec, **sharded), (x,)),
        (
            "rows",
            jax.shard_map(numbered, in_specs=(spec, spec), **sharded),
            (x, rows),
        ),
    ):
        outputs = jax.jit(function)(*arguments)
        shard = outputs.addressable_shards[0]
        assert shard.index[0].start in (rank * ROWS, None)
        found[name] = np.asarray(shard.data) == 0
    found |= epochs.of_jax(rank, folder)
    found |= jax_distribution(rank)
    # This waits for the others. A fork ends without JAX's own work at the end
    # of a process, and without this the first process to end killed the others.
    jax.distributed.shutdown()
    return found


def jax_distribution(rank):
    """Each process predicts its part, as the refusal of the whole advises."""
    import keras

    import kerasdrop

    distribution = keras.distribution.DataParallel(
        devices=keras.distribution.list_devices(), auto_shard_dataset=False
    )
    keras.distribution.set_distribution(distribution)
    keras.utils.set_random_seed(0)
    model = network((5, 6))
    refusals = refusals_of(
        lambda: mean_of_samples(model),
        lambda: kerasdrop.inspect(model, data()),
    )
    weights = model.get_weights()
    keras.distribution.set_distribution(None)
    local = keras.models.clone_model(model)
    local.set_weights(weights)
    rows = np.arange(ROWS // WORLD) + rank * (ROWS // WORLD)
    result = kerasdrop.mc_predict(
        local, data()[rows], 16, rows=rows, seed=3, kind="regression", verbose=0
    )
    return {"refusals": refusals, "samples of a part": result.mean}


def tensorflow_workers(rank, folder, ports):
    os.environ["TF_CONFIG"] = json.dumps(
        {
            "cluster": {"worker": [f"127.0.0.1:{port}" for port in ports]},
            "task": {"type": "worker", "index": rank},
        }
    )
    keras = keras_of("tensorflow")
    import tensorflow as tf

    # Before anything else uses TensorFlow.
    strategy = tf.distribute.MultiWorkerMirroredStrategy()
    import kerasdrop

    keras.utils.set_random_seed(rank)
    with strategy.scope():
        model = network((5, 6))
        drop = kerasdrop.layers.Dropout(0.5)
        numbered = kerasdrop.layers.Dropout(0.5, seed=7)
    found = {"samples": mean_of_samples(model)}

    @tf.function
    def step():
        def replica():
            place = tf.distribute.get_replica_context()
            first_row = place.replica_id_in_sync_group * ROWS
            x = tf.ones((ROWS, UNITS))
            masks = drop(x, training=True)
            with kerasdrop.row_scope(first_row=first_row):
                return masks, numbered(x, training=True)

        return strategy.run(replica)

    outputs = [strategy.experimental_local_results(each) for each in step()]
    found["masks"], found["first_row"] = (
        each[0].numpy() == 0 for each in outputs
    )
    return found


def tensorflow_replicas(rank, folder, ports):
    """Runs two replicas in one process."""
    keras = keras_of("tensorflow")
    import tensorflow as tf

    cpu = tf.config.list_physical_devices("CPU")[0]
    two = [tf.config.LogicalDeviceConfiguration()] * WORLD
    tf.config.set_logical_device_configuration(cpu, two)
    from tests.support import epochs

    # There is one strategy for all, because reductions of two would be
    # confused.
    page = epochs.page_of_tensorflow()
    strategy = page["strategy"]
    found = {}
    for name, scope in (
        ("inside", strategy.scope()),
        ("outside", contextlib.nullcontext()),
    ):
        keras.utils.set_random_seed(0)
        with scope:
            found[name] = mean_of_samples(network())
    return {
        **found,
        **masks_of_replicas(strategy),
        **epochs.of_tensorflow(folder, page),
    }


def masks_of_replicas(strategy):
    """The masks of two layers in two epochs of two batches in `fit`."""
    import keras
    import tensorflow as tf

    from kerasdrop import layers

    seen = []

    def watch(masked):
        zeros = tf.cast(tf.equal(masked, 0), tf.int32)
        tf.py_function(lambda z: seen.append(z.numpy()), [zeros], [])

    class Two(keras.layers.Layer):
        def __init__(self):
            super().__init__()
            self.drops = [layers.Dropout(0.5) for _ in range(2)]

        def call(self, inputs, training=False):
            for drop in self.drops:
                watch(drop(inputs, training=training))
            return inputs

    with strategy.scope():
        two = Two()
        model = keras.Sequential(
            [keras.Input((UNITS,)), two, keras.layers.Dense(1)]
        )
        model.compile("sgd", "mse")
    x = np.ones((16, UNITS))
    model.fit(x, x[:, :1], batch_size=8, epochs=2, verbose=0)
    return {
        "steps of masks": two.drops[0].step,
        "zeros of masks": np.concatenate(seen),
    }


def main():
    name, rank, folder, *ports = sys.argv[1:]
    found = globals()[name](int(rank), folder, ports)
    np.savez(os.path.join(folder, f"{rank}.npz"), **found)
