"""Monte Carlo prediction of the models of KerasHub, built small."""

import runpy

import keras
import numpy as np
import pytest

import kerasdrop
from tests.support import foreign_checks as checks
from tests.support import helpers
from tests.support.scripts import ROOT

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings(
        # Swin calls its attention with a padding mask, in `predict` as well.
        "ignore:Layer 'attn' .* was passed an input with a mask:UserWarning",
    ),
]

RATE = 0.2
VOCABULARY, LENGTH = 50, 8
TEXT = {
    "vocabulary_size": VOCABULARY,
    "num_layers": 2,
    "hidden_dim": 16,
    "intermediate_dim": 32,
    "dropout": RATE,
}
HEAD = {"num_classes": 3, "activation": "softmax", "dropout": RATE}


def _bert(models):
    backbone = models.BertBackbone(
        num_heads=2, max_sequence_length=LENGTH, **TEXT
    )
    return models.BertTextClassifier(backbone, **HEAD)


def _gpt2(models):
    backbone = models.GPT2Backbone(
        num_heads=2, max_sequence_length=LENGTH, **TEXT
    )
    return models.GPT2CausalLM(backbone)


def _gemma(models):
    backbone = models.GemmaBackbone(
        num_query_heads=2, num_key_value_heads=1, head_dim=8, **TEXT
    )
    return models.GemmaCausalLM(backbone)


def _vit(models):
    backbone = models.ViTBackbone(
        image_shape=(16, 16, 3),
        patch_size=4,
        num_layers=2,
        num_heads=2,
        hidden_dim=16,
        mlp_dim=32,
        dropout_rate=RATE,
        attention_dropout=RATE,
    )
    return models.ViTImageClassifier(backbone, **HEAD)


def _mit(models):
    backbone = models.MiTBackbone(
        image_shape=(32, 32, 3),
        layerwise_depths=[2, 1],
        num_layers=2,
        layerwise_num_heads=[1, 2],
        layerwise_sr_ratios=[2, 1],
        max_drop_path_rate=0.3,
        layerwise_patch_sizes=[7, 3],
        layerwise_strides=[4, 2],
        hidden_dims=[8, 16],
    )
    return models.MiTImageClassifier(backbone, **HEAD)


def _swin(models, attention_dropout=0.0):
    backbone = models.SwinTransformerBackbone(
        image_shape=(32, 32, 3),
        embed_dim=8,
        depths=(2, 2),
        num_heads=(1, 2),
        window_size=4,
        drop_path=0.3,
        attention_dropout=attention_dropout,
    )
    return models.SwinTransformerImageClassifier(backbone, **HEAD)


def _efficientnet(models):
    backbone = models.EfficientNetBackbone(
        input_shape=(32, 32, 3),
        stackwise_kernel_sizes=[3, 3],
        stackwise_num_repeats=[2, 2],
        stackwise_input_filters=[8, 8],
        stackwise_output_filters=[8, 16],
        stackwise_expansion_ratios=[1, 4],
        stackwise_squeeze_and_excite_ratios=[0.25, 0.25],
        stackwise_strides=[1, 2],
        stackwise_block_types=["fused", "unfused"],
        width_coefficient=1.0,
        depth_coefficient=1.0,
        num_features=32,
    )
    model = models.EfficientNetImageClassifier(backbone, **HEAD)
    checks.freeze_batch_norm(model, inputs_of(model, 32))
    return model


MODELS = {
    "BertTextClassifier": (_bert, "probabilities"),
    "GPT2CausalLM": (_gpt2, "logits"),
    "GemmaCausalLM": (_gemma, "logits"),
    "ViTImageClassifier": (_vit, "probabilities"),
    "MiTImageClassifier": (_mit, "probabilities"),
    "SwinTransformerImageClassifier": (_swin, "probabilities"),
    "EfficientNetImageClassifier": (_efficientnet, "probabilities"),
}


def inputs_of(model, rows=checks.ROWS):
    """Images of noise, or tokens of which all rows but the first have few."""
    generator = np.random.default_rng(0)
    if len(model.inputs) == 1:
        shape = (rows, *model.inputs[0].shape[1:])
        return generator.normal(size=shape).astype("float32")
    length = np.where(np.arange(rows) == 0, LENGTH, LENGTH - 2)
    tokens = generator.integers(1, VOCABULARY, (rows, LENGTH))
    inputs = {
        "token_ids": tokens,
        "segment_ids": np.zeros((rows, LENGTH)),
        "padding_mask": np.arange(LENGTH) < length[:, None],
    }
    return {
        symbolic.name: inputs[symbolic.name].astype("int32")
        for symbolic in model.inputs
    }


@pytest.fixture(scope="module")
def keras_hub():
    return pytest.importorskip(
        "keras_hub",
        reason="KerasHub is not installed; `make test-full` installs it",
    )


@pytest.fixture(scope="module", params=MODELS)
def case(keras_hub, request):
    keras.utils.set_random_seed(0)
    make, kind = MODELS[request.param]
    model = make(keras_hub.models)
    return checks.predicted(model, inputs_of(model), kind)


def test_every_row_varies(case):
    checks.assert_every_row_varies(case)


def test_the_batch_size_does_not_count(case):
    checks.assert_batch_size_does_not_count(case)


def test_the_model_is_left_as_it_was(case):
    checks.assert_untouched(case)


def test_the_same_layers_draw_as_in_training(case, monkeypatch):
    checks.assert_same_layers_draw_as_in_training(case, monkeypatch)


def test_samples_are_distributed_as_in_training(case):
    checks.assert_as_in_training(case)


def test_the_lines_of_the_docs_run(keras_hub):
    """Those on BERT, which the page itself does not run."""
    page = (ROOT / "docs" / "inserting.md").read_text()
    mark = page.index("<!-- not run: with the page")
    code = page[mark:].partition("```python\n")[2].partition("```")[0]
    namespace = {"np": np, "kerasdrop": kerasdrop}
    exec(code, namespace)

    information = namespace["result"].mutual_information
    assert information.shape == (4,)
    assert np.all(information > 0)

    sampled = namespace["result"].mean
    exact = keras.ops.softmax(
        namespace["classifier"].predict(namespace["tokens"], verbose=0)
    )
    limit = kerasdrop.mc_predict(
        namespace["classifier"],
        namespace["tokens"],
        kind="logits",
        rate=1e-9,
        verbose=0,
    )
    np.testing.assert_allclose(limit.mean, exact, atol=1e-6)
    assert np.abs(sampled - limit.mean).max() > 0


def test_positions_of_tokens_are_no_block(keras_hub):
    model = _gpt2(keras_hub.models)
    with pytest.raises(ValueError, match="blocks 'gpt2_backbone.*are layers"):
        kerasdrop.insert_dropout(model, 0.1, where="blocks")


def test_a_rate_for_all_leaves_out_what_is_never_called(keras_hub):
    """Gemma has dropout in its blocks that nothing calls."""
    model = _gemma(keras_hub.models)
    x = inputs_of(model)
    given = {"kind": "logits", "seed": 0, "verbose": 0}
    result = kerasdrop.mc_predict(model, x, rate=RATE, **given)
    own = kerasdrop.mc_predict(model, x, **given)
    np.testing.assert_allclose(result.mean, own.mean, atol=1e-6)
    with pytest.raises(ValueError, match="not called in a prediction"):
        kerasdrop.mc_predict(
            model, x, layers=kerasdrop.inspect(model).layers[-1].path, **given
        )


def _subclasses(cls):
    for subclass in cls.__subclasses__():
        yield subclass
        yield from _subclasses(subclass)


def _dropping(keras_hub):
    """The layer classes that KerasHub has for dropping, by name."""
    return {
        cls.__name__ + f" of {cls.__module__.split('.')[-2]}": cls
        for cls in _subclasses(keras.layers.Layer)
        if cls.__module__.startswith(keras_hub.__name__ + ".")
        and ("Drop" in cls.__name__ or "Stochastic" in cls.__name__)
    }


def _values_of_rows(layer):
    """What 2048 rows of ones become: one number for each row."""
    model = keras.Sequential([keras.Input((4, 3)), layer])
    samples = checks.samples_of(
        model, np.ones((32, 4, 3), "float32"), "regression", 64, 32
    ).reshape(32 * 64, -1)
    np.testing.assert_array_equal(samples, samples[:, :1].repeat(12, axis=1))
    return samples[:, 0]


def test_all_drop_paths_drop_the_branch_of_a_row(keras_hub):
    """Those of DINO, too, which in training fail or multiply by noise."""
    found = _dropping(keras_hub)
    assert set(found) >= {
        "DropPath of mit",
        "DropPath of swin_transformer",
        "DropPath of mobilenetv5",
        "DINOV2DropPath of dinov2",
        "DINOV3DropPath of dinov3",
    }
    for name, cls in found.items():
        values = _values_of_rows(cls(0.4))
        assert np.isin(values, np.float32([0.0, 1.0 / 0.6])).all(), name
        helpers.assert_proportion(values == 0.0, 0.4)


def test_a_drop_path_that_does_not_scale_is_not_scaled(keras_hub):
    cls = _dropping(keras_hub)["DropPath of mobilenetv5"]
    values = _values_of_rows(cls(0.4, scale_by_keep=False))
    assert np.isin(values, [0.0, 1.0]).all()
    helpers.assert_proportion(values == 0.0, 0.4)


def test_dropout_on_windows_of_an_image_is_refused(keras_hub):
    """There the first axis is not the batch, and rows would mix."""
    model = _swin(keras_hub.models, attention_dropout=0.2)
    with pytest.raises(ValueError, match="is not the batch"):
        kerasdrop.mc_predict(model, inputs_of(model), verbose=0)


def test_a_backbone_with_adapters_is_converted_in_one_call(keras_hub, tmp_path):
    model = _gemma(keras_hub.models)
    backbone = model.backbone
    backbone.enable_lora(2)
    generator = np.random.default_rng(0)
    for weight in backbone.trainable_weights:
        weight.assign(generator.normal(size=weight.shape).astype("float32"))
    new, report = kerasdrop.convert_dropout(model)
    assert report.skipped == {}
    x = inputs_of(model)
    np.testing.assert_allclose(
        *(one.predict(x, verbose=0) for one in (new, model)), 1e-5, 1e-5
    )
    assert [w.shape for w in new.trainable_weights] == [
        w.shape for w in model.trainable_weights
    ]
    # The copy knows which of its layers have adapters.
    new.backbone.save_lora_weights(tmp_path / "new.lora.h5")
    before = backbone.get_weights()
    backbone.load_lora_weights(tmp_path / "new.lora.h5")
    for one, other in zip(backbone.get_weights(), before):
        np.testing.assert_array_equal(one, other)


def test_the_report_says_which_paths_never_dropped(keras_hub):
    backbone = keras_hub.models.DINOV2Backbone(
        patch_size=8,
        intermediate_dim=32,
        num_layers=2,
        num_heads=2,
        hidden_dim=16,
        image_shape=(32, 32, 3),
        position_embedding_shape=(32, 32, 3),
        drop_path_rate=RATE,
    )
    report = kerasdrop.convert_dropout(backbone).report
    said = [text for text in report.converted.values() if "DropPath" in text]
    assert said
    assert all("it never dropped a row in training" in text for text in said)


def test_the_example_with_a_small_bert_runs(keras_hub, monkeypatch, capsys):
    monkeypatch.setattr("sys.argv", ["bert_annealing.py", "--quick"])
    runpy.run_path(
        str(ROOT / "examples" / "bert_annealing.py"), run_name="__main__"
    )
    output = capsys.readouterr().out
    assert "converted  bert_backbone/embeddings_dropout" in output
    assert "stays" in output
    assert "falls" in output
