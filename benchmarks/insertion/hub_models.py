"""Models of KerasHub, built small from their configurations.

`MODELS` maps the name of each model to a function of `keras_hub.models` and of
the dropout rate that makes it. Models without any dropout ignore the rate.
"""

import functools

SHAPE = (32, 32, 3)
VOCABULARY, LENGTH = 50, 8
CLASSES = 3
TEXT = {
    "vocabulary_size": VOCABULARY,
    "num_layers": 2,
    "hidden_dim": 16,
    "intermediate_dim": 32,
}
IMAGE = {
    "image_shape": SHAPE,
    "num_layers": 2,
    "num_heads": 2,
    "hidden_dim": 16,
}
HEADS = {"num_heads": 2}
SHORT = {"max_sequence_length": LENGTH}
GROUPS = {"num_query_heads": 2, "num_key_value_heads": 1}
EXPERTS = {**GROUPS, "num_experts": 2, "top_k": 1}
# Of one backbone: the rest of its configuration.
TEXTS = {
    "Albert": {**HEADS, **SHORT, "embedding_dim": 8},
    "Bart": {**HEADS, **SHORT},
    "Bert": {**HEADS, **SHORT},
    "Bloom": HEADS,
    "DebertaV3": {**HEADS, **SHORT, "bucket_size": 4},
    "DistilBert": {**HEADS, **SHORT},
    "ESM": {**HEADS, **SHORT},
    "FNet": SHORT,
    "GPT2": {**HEADS, **SHORT},
    "GPTNeoX": {**HEADS, **SHORT},
    "Gemma": {**GROUPS, "head_dim": 8},
    "GptOss": EXPERTS,
    "Llama": GROUPS,
    "Llama3": GROUPS,
    "Mistral": GROUPS,
    "Mixtral": EXPERTS,
    "OPT": {**HEADS, **SHORT},
    "Phi3": GROUPS,
    "Qwen": GROUPS,
    "Qwen3": {**GROUPS, "head_dim": 8},
    "QwenMoe": {
        **{**EXPERTS, "moe_intermediate_dim": 16},
        "shared_expert_intermediate_dim": 16,
    },
    "Roberta": {**HEADS, **SHORT},
    "RoformerV2": {**HEADS, "head_size": 8},
    "T5": HEADS,
    "Whisper": {
        **HEADS,
        "max_encoder_sequence_length": 2 * LENGTH,
        "max_decoder_sequence_length": LENGTH,
    },
    "XLMRoberta": {**HEADS, **SHORT},
    "XLNet": HEADS,
}
CAUSAL = (
    *("Bloom", "GPT2", "GPTNeoX", "Gemma", "GptOss", "Llama", "Llama3"),
    *("Mistral", "Mixtral", "OPT", "Phi3", "Qwen", "Qwen3", "QwenMoe"),
)
TEXT_CLASSIFIERS = (
    *("Albert", "Bert", "DebertaV3", "DistilBert", "FNet", "Roberta"),
    *("RoformerV2", "XLMRoberta"),
)
ESM_CLASSIFIER, SEQUENCES = "ESMProteinClassifier", ("Bart", "T5")


def text(name, models, rate):
    """A backbone of text."""
    return getattr(models, f"{name}Backbone")(
        **TEXT, **TEXTS[name], dropout=rate
    )


def electra(models, rate):
    rest = {key: TEXT[key] for key in TEXT if key != "vocabulary_size"}
    return models.ElectraBackbone(
        vocab_size=VOCABULARY,
        embedding_dim=8,
        dropout=rate,
        **rest,
        **HEADS,
        **SHORT,
    )


def falcon(models, rate):
    return models.FalconBackbone(
        num_attention_heads=2,
        attention_dropout_rate=rate,
        feedforward_dropout_rate=rate,
        **TEXT,
    )


def vit(models, rate):
    return models.ViTBackbone(
        patch_size=8,
        mlp_dim=32,
        dropout_rate=rate,
        attention_dropout=rate,
        **IMAGE,
    )


def deit(models, rate):
    return models.DeiTBackbone(
        patch_size=8,
        intermediate_dim=32,
        dropout_rate=rate,
        attention_dropout=rate,
        **IMAGE,
    )


def dinov2(models, rate):
    return models.DINOV2Backbone(
        patch_size=8,
        intermediate_dim=32,
        dropout_rate=rate,
        drop_path_rate=rate,
        position_embedding_shape=SHAPE,
        **IMAGE,
    )


def dinov3(models, rate):
    return models.DINOV3Backbone(
        patch_size=8,
        intermediate_dim=32,
        attention_dropout=rate,
        drop_path_rate=rate,
        **IMAGE,
    )


def vit_det(models):
    rest = {key: IMAGE[key] for key in IMAGE if key != "hidden_dim"}
    return models.ViTDetBackbone(
        hidden_size=16,
        intermediate_dim=32,
        global_attention_layer_indices=[1],
        patch_size=8,
        num_output_channels=8,
        window_size=2,
        **rest,
    )


def mit(models, rate):
    return models.MiTBackbone(
        image_shape=SHAPE,
        layerwise_depths=[2, 1],
        num_layers=2,
        layerwise_num_heads=[1, 2],
        layerwise_sr_ratios=[2, 1],
        max_drop_path_rate=rate,
        layerwise_patch_sizes=[7, 3],
        layerwise_strides=[4, 2],
        hidden_dims=[8, 16],
    )


def segformer(models, rate):
    encoder = mit(models, rate)
    return models.SegFormerBackbone(encoder, projection_filters=8)


def segformer_segmenter(models, rate):
    return models.SegFormerImageSegmenter(segformer(models, rate), CLASSES)


def swin(models, rate):
    return models.SwinTransformerBackbone(
        image_shape=SHAPE,
        embed_dim=8,
        depths=(2, 2),
        num_heads=(1, 2),
        window_size=4,
        dropout_rate=rate,
        drop_path=rate,
    )


def efficientnet(models, rate):
    return models.EfficientNetBackbone(
        input_shape=SHAPE,
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
        dropout=rate,
    )


def resnet(models, **kwargs):
    return models.ResNetBackbone(
        input_conv_filters=[64],
        input_conv_kernel_sizes=[3],
        stackwise_num_filters=[64, 64],
        stackwise_num_blocks=[2, 2],
        stackwise_num_strides=[1, 2],
        block_type="basic_block",
        image_shape=SHAPE,
        **kwargs,
    )


def deeplab(models):
    return models.DeepLabV3Backbone(
        resnet(models),
        spatial_pyramid_pooling_key="P3",
        upsampling_size=2,
        dilation_rates=[1, 2],
        image_shape=SHAPE,
    )


def deeplab_segmenter(models):
    return models.DeepLabV3ImageSegmenter(deeplab(models), CLASSES)


def densenet(models):
    return models.DenseNetBackbone([2, 2], image_shape=SHAPE, growth_rate=4)


def vgg(models):
    return models.VGGBackbone([1, 2], [8, 16], image_shape=SHAPE)


def xception(models):
    return models.XceptionBackbone(
        stackwise_conv_filters=[[8, 8], [16, 16]],
        stackwise_pooling=[True, False],
        image_shape=SHAPE,
    )


def cspnet(models):
    return models.CSPNetBackbone(
        stem_filters=8,
        stem_kernel_size=3,
        stem_strides=1,
        stackwise_depth=[1, 2],
        stackwise_strides=[1, 2],
        stackwise_num_filters=[8, 16],
        block_type="dark_block",
        stage_type="dark",
        image_shape=SHAPE,
    )


def hgnetv2(models):
    return models.HGNetV2Backbone(
        depths=[1, 2],
        embedding_size=8,
        hidden_sizes=[16, 16],
        stem_channels=[3, 8, 8],
        hidden_act="relu",
        use_learnable_affine_block=False,
        stackwise_stage_filters=[(8, 8, 16, 1, 1, 3), (16, 8, 16, 2, 1, 3)],
        apply_downsample=[False, True],
        use_lightweight_conv_block=[False, False],
        image_shape=SHAPE,
    )


def mobilenet(models):
    return models.MobileNetBackbone(
        stackwise_expansion=[[8, 16], [16, 16]],
        stackwise_num_blocks=[2, 2],
        stackwise_num_filters=[[8, 8], [8, 8]],
        stackwise_kernel_size=[[3, 3], [3, 3]],
        stackwise_num_strides=[[2, 1], [1, 1]],
        stackwise_se_ratio=[[None, None], [0.25, 0.25]],
        stackwise_activation=[["relu", "relu"], ["relu", "relu"]],
        stackwise_padding=[[1, 1], [1, 1]],
        output_num_filters=16,
        depthwise_filters=16,
        depthwise_stride=2,
        depthwise_residual=False,
        last_layer_filter=16,
        image_shape=SHAPE,
    )


def mobilenetv5(models, rate):
    return models.MobileNetV5Backbone(
        stackwise_block_types=[["er"], ["uir", "uir"]],
        stackwise_num_blocks=[1, 2],
        stackwise_num_filters=[[8], [16, 16]],
        stackwise_strides=[[2], [2, 1]],
        stackwise_act_layers=[["relu"], ["relu", "relu"]],
        stackwise_exp_ratios=[[2.0], [2.0, 2.0]],
        stackwise_se_ratios=[[0.0], [0.0, 0.0]],
        stackwise_dw_kernel_sizes=[[0], [3, 3]],
        stackwise_dw_start_kernel_sizes=[[0], [0, 0]],
        stackwise_dw_end_kernel_sizes=[[0], [0, 0]],
        stackwise_exp_kernel_sizes=[[3], [0, 0]],
        stackwise_pw_kernel_sizes=[[1], [0, 0]],
        stackwise_num_heads=[[0], [0, 0]],
        stackwise_key_dims=[[0], [0, 0]],
        stackwise_value_dims=[[0], [0, 0]],
        stackwise_kv_strides=[[0], [0, 0]],
        stackwise_use_cpe=[[False], [False, False]],
        use_msfa=False,
        drop_path_rate=rate,
        image_shape=SHAPE,
    )


def pair(name, models):
    """A model of images and their texts."""
    vision = getattr(models, f"{name}VisionEncoder")(
        patch_size=8, intermediate_dim=32, **IMAGE
    )
    texts = getattr(models, f"{name}TextEncoder")(
        embedding_dim=16, max_sequence_length=LENGTH, **TEXT, **HEADS
    )
    projection = {"projection_dim": 16} if name == "CLIP" else {}
    backbone = getattr(models, f"{name}Backbone")
    return backbone(vision, texts, **projection)


def task(name, backbone, kwargs, models, *rate):
    """A task on a backbone, which alone gets the rate."""
    return getattr(models, name)(backbone(models, *rate), **kwargs)


WITH_RATE = {
    **{name: functools.partial(text, name) for name in TEXTS},
    "Electra": electra,
    "Falcon": falcon,
    "ViT": vit,
    "DeiT": deit,
    "DINOV2": dinov2,
    "DINOV3": dinov3,
    "MiT": mit,
    "SegFormer": segformer,
    "SwinTransformer": swin,
    "EfficientNet": efficientnet,
    "MobileNetV5": mobilenetv5,
}
WITHOUT = {
    "ViTDet": vit_det,
    "ResNet": resnet,
    "DeepLabV3": deeplab,
    "DenseNet": densenet,
    "VGG": vgg,
    "Xception": xception,
    "CSPNet": cspnet,
    "HGNetV2": hgnetv2,
    "MobileNet": mobilenet,
    "SigLIP": functools.partial(pair, "SigLIP"),
    "CLIP": functools.partial(pair, "CLIP"),
}
IMAGE_CLASSIFIERS = (
    *("ViT", "DeiT", "MiT", "SwinTransformer", "EfficientNet", "ResNet"),
    *("DenseNet", "VGG", "Xception", "CSPNet", "HGNetV2", "MobileNet"),
)


def _tasks():
    """The tasks, by name: what they are built on, and their arguments."""
    soft = {"num_classes": CLASSES, "activation": "softmax"}
    tasks = {f"{name}CausalLM": (name, {}) for name in CAUSAL}
    tasks |= {f"{name}Seq2SeqLM": (name, {}) for name in SEQUENCES}
    for name in TEXT_CLASSIFIERS:
        tasks[f"{name}TextClassifier"] = (name, {**soft, "dropout": 0.0})
    tasks[ESM_CLASSIFIER] = ("ESM", soft)
    for name in IMAGE_CLASSIFIERS:
        kwargs = {} if name == "MobileNet" else {"activation": "softmax"}
        kwargs |= {"preprocessor": None} if name == "HGNetV2" else {}
        kwargs |= {"pooling_hidden_dim": 16} if name == "VGG" else {}
        kwargs["num_classes"] = CLASSES
        tasks[f"{name}ImageClassifier"] = (name, kwargs)
    return tasks


MODELS = {
    **{f"{n}Backbone": one for n, one in {**WITH_RATE, **WITHOUT}.items()},
    **{
        name: functools.partial(
            task, name, (WITH_RATE | WITHOUT)[backbone], kwargs
        )
        for name, (backbone, kwargs) in _tasks().items()
    },
    "SegFormerImageSegmenter": segformer_segmenter,
    "DeepLabV3ImageSegmenter": deeplab_segmenter,
}
# Those whose classes have no rate.
PLAIN = {
    *(f"{name}Backbone" for name in WITHOUT),
    *(name for name, (backbone, _) in _tasks().items() if backbone in WITHOUT),
    "DeepLabV3ImageSegmenter",
}
