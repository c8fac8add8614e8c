"""The networks of the zoo. Packages give most of them; weights are random, so that nothing is downloaded."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Network:
    """make: builds it, in its own framework. note: what is in it that converters get wrong."""

    name: str
    origin: str  # timm, torchvision, keras, own
    note: str
    make: Callable[[], Any]
    height: int = 112
    width: int = 112
    channels: int = 3

    @property
    def framework(self) -> str:
        return "keras" if self.origin == "keras" else "torch"


def _timm(name: str, note: str, model: str = "", side: int = 112, **options: Any) -> Network:
    def make() -> Any:
        import timm

        return timm.create_model(model or name, num_classes=128, **options)

    return Network(name, "timm", note, make, side, side)


def _vision(name: str, note: str, **options: Any) -> Network:
    def make() -> Any:
        import torchvision

        return torchvision.models.get_model(name, weights=None, num_classes=128, **options)

    return Network(name, "torchvision", note, make)


def _own(
    name: str, note: str, make: Callable[[], Any], height: int = 112, width: int = 112, channels: int = 3
) -> Network:
    return Network(name, "own", note, make, height, width, channels)


def _keras(name: str, note: str, model: str, **options: Any) -> Network:
    def make() -> Any:
        import tensorflow as tf

        net = getattr(tf.keras.applications, model)(
            input_shape=(112, 112, 3), weights=None, include_top=False, pooling="avg", **options
        )
        return tf.keras.Model(net.input, tf.keras.layers.Dense(128)(net.output))

    return Network(name, "keras", note, make)


def _faces(function: str, *args: Any) -> Callable[[], Any]:
    def make() -> Any:
        from benchmarks.zoo import faces

        return getattr(faces, function)(*args)

    return make


def _others(function: str, *args: Any) -> Callable[[], Any]:
    def make() -> Any:
        from benchmarks.zoo import others

        return getattr(others, function)(*args)

    return make


def _activated(activation: str) -> Callable[[], Any]:
    def make() -> Any:
        import torch

        from benchmarks.zoo import others

        return others.activated(getattr(torch.nn, activation))

    return make


def _gem_resnet() -> Any:
    import timm

    from benchmarks.zoo import others

    trunk = timm.create_model("resnet18", num_classes=0, global_pool="", zero_init_last=False)
    return others.gem(trunk, 512)


def _normalised_mobilenet() -> Any:
    import timm

    from benchmarks.zoo import faces

    return faces.Normalised(timm.create_model("mobilenetv3_small_100", num_classes=128))


def _vit() -> Any:
    from timm.models.vision_transformer import VisionTransformer

    return VisionTransformer(
        img_size=112, patch_size=16, embed_dim=192, depth=4, num_heads=3, num_classes=128, init_values=None
    )


def _convmixer() -> Any:
    from timm.models.convmixer import ConvMixer

    return ConvMixer(dim=128, depth=4, kernel_size=7, patch_size=7, num_classes=128)


NETWORKS: tuple[Network, ...] = (
    _timm("resnet18", "padded max pool", zero_init_last=False),
    _own("mobilefacenet", "PReLU, global depthwise convolution", _faces("mobilefacenet")),
    _own("iresnet18", "ArcFace; batch normalisation before a convolution", _faces("iresnet", (2, 2, 2, 2))),
    _own("iresnet34", "ArcFace", _faces("iresnet", (3, 4, 6, 3))),
    _own("iresnet50", "ArcFace", _faces("iresnet", (3, 4, 14, 3))),
    _own("inception_resnet_v1", "FaceNet; joins of channels, L2 normalisation", _faces("inception_resnet_v1")),
    _own("osnet_x0_25", "re-identification of people; shared gates", _others("osnet"), 128, 64),
    _own("speaker_se_resnet", "spectrogram, one channel; gates", _others("speaker"), 64, 128, 1),
    _own("speaker_statistics", "the same, pooled by mean and deviation", _others("speaker", True), 64, 128, 1),
    _own("koch_twin", "grey; flattened map, sigmoids as output", _others("koch"), 105, 105, 1),
    _own("gelu_net", "GELU", _activated("GELU")),
    _own("silu_net", "SiLU", _activated("SiLU")),
    _own("hardswish_net", "hard-swish behind additions", _activated("Hardswish")),
    _own("elu_net", "ELU", _activated("ELU")),
    _own("relu_net", "a plain residual network", _activated("ReLU")),
    _own("relu6_net", "ReLU6 behind additions", _activated("ReLU6")),
    _own("grouped_net", "grouped convolutions, 8 groups", _others("grouped")),
    _own("gem_resnet18", "generalised-mean pooling", _gem_resnet),
    _own("normalised_mobilenetv3", "L2 normalisation at the end", _normalised_mobilenet),
    _timm("mobilenetv1_100", "depthwise convolutions, ReLU6"),
    _timm("mobilenetv2_100", "inverted residuals, ReLU6"),
    _timm("mobilenetv3_small_100", "hard-swish, gates of hard-sigmoid"),
    _timm("ghostnet_100", "joins of channels, slices, gates"),
    _timm("lcnet_050", "hard-swish, gates"),
    _timm("efficientnet_lite0", "ReLU6"),
    _timm("efficientnet_b0", "SiLU, gates"),
    _timm("mobileone_s0", "branches merged before export"),
    _timm("repvgg_a0", "branches merged before export"),
    _timm("starnet_s1", "products of two branches, ReLU6"),
    _timm("densenet121", "joins of channels, batch normalisation before convolutions"),
    _timm("regnetx_002", "grouped convolutions"),
    _timm("regnety_002", "grouped convolutions, gates"),
    _timm("convnext_atto", "layer normalisation, GELU, 7x7 depthwise"),
    _own("convmixer_128_4", "GELU before batch normalisation", _convmixer),
    _own("vit_192_4", "attention: softmax, products of activations", _vit),
    _vision("shufflenet_v2_x1_0", "shuffled channels"),
    _vision("squeezenet1_1", "joins; pools with ceil_mode"),
    _keras("keras_mobilenet_v2", "ReLU6", "MobileNetV2"),
    _keras("keras_mobilenet_v3_small", "hard-swish, gates", "MobileNetV3Small", include_preprocessing=False),
    _keras("keras_efficientnet_b0", "SiLU, gates; scales its own input", "EfficientNetB0"),
)
BY_NAME = {n.name: n for n in NETWORKS}
