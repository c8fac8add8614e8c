"""The source model in its own framework: what the converted graph must compute.

Each function imports its framework when it is called. Pictures are float32 (H, W, C), as the source takes them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from converters.graph import Array
from converters.litert import interpreter


@dataclass(frozen=True)
class Reference:
    """framework: its name and version. run: a picture -> the output, any shape with one picture first.

    layers: a picture -> the inner results by name, one picture first; None if the framework does not give them.
    channels_first: of maps in the inner results.
    """

    framework: str
    run: Callable[[Array], Array]
    layers: Callable[[Array], dict[str, Array]] | None = None
    channels_first: bool = True


def torch_reference(program: Any) -> Reference:
    """A torch.export.ExportedProgram with one input (N, C, H, W) and one output."""
    import torch

    signature, module = program.graph_signature, program.module()
    (image,) = signature.user_inputs
    placeholder = next(n for n in program.graph.nodes if n.name == image)
    batch = int(placeholder.meta["val"].shape[0])
    state = {**program.state_dict, **program.constants}
    held = {
        **signature.inputs_to_parameters,
        **signature.inputs_to_buffers,
        **getattr(signature, "inputs_to_lifted_tensor_constants", {}),
    }

    def feed(picture: Array) -> Any:
        """The picture, as often as the program has pictures in a batch."""
        first = np.ascontiguousarray(picture.transpose(2, 0, 1)[None])
        return torch.from_numpy(first).to(placeholder.meta["val"].dtype).repeat(batch, 1, 1, 1)

    def run(picture: Array) -> Array:
        with torch.no_grad():
            (out,) = torch.utils._pytree.tree_leaves(module(feed(picture)))
        return np.asarray(out[:1].float().numpy())

    def layers(picture: Array) -> dict[str, Array]:
        found: dict[str, Array] = {}

        class Recorder(torch.fx.Interpreter):  # type: ignore[misc]
            def run_node(self, node: Any) -> Any:
                out = super().run_node(node)
                if node.op == "call_function" and isinstance(out, torch.Tensor):
                    found[node.name] = out.detach().float().numpy()[:1].copy()
                return out

        names = [n.name for n in program.graph.nodes if n.op == "placeholder"]
        with torch.no_grad():
            Recorder(program.graph_module).run(*(feed(picture) if n == image else state[held[n]] for n in names))
        return found

    return Reference(f"torch {torch.__version__}", run, layers)


def onnx_reference(path: Path) -> Reference:
    """An .onnx file with one input (N, C, H, W) and one output, on onnxruntime."""
    import onnx
    import onnxruntime

    def session(model: Any) -> Any:
        quiet = onnxruntime.SessionOptions()
        quiet.log_severity_level = 3
        return onnxruntime.InferenceSession(model, quiet, providers=["CPUExecutionProvider"])

    main = session(str(path))
    image = main.get_inputs()[0]
    batch = image.shape[0] if isinstance(image.shape[0], int) else 1

    def feed(picture: Array) -> dict[str, Array]:
        return {image.name: np.repeat(picture.transpose(2, 0, 1)[None], batch, axis=0).astype(np.float32)}

    def layers(picture: Array) -> dict[str, Array]:
        model = onnx.load(str(path))
        kept = {o.name for o in model.graph.output}
        names = [name for node in model.graph.node for name in node.output[:1] if name and name not in kept]
        model.graph.output.extend(onnx.helper.make_empty_tensor_value_info(name) for name in names)
        outputs = session(model.SerializeToString())
        found = [o.name for o in outputs.get_outputs()]
        return {
            n: np.asarray(v)[:1] for n, v in zip(found, outputs.run(found, feed(picture)), strict=True) if np.ndim(v)
        }

    def run(picture: Array) -> Array:
        return np.asarray(main.run(None, feed(picture))[0][:1])

    return Reference(f"onnxruntime {onnxruntime.__version__}", run, layers)


def tensorflow_reference(tf: Any, path: Path) -> Reference:
    """A .keras file or a SavedModel folder with one input (N, H, W, C) and one output. tf: the module."""
    if path.suffix.lower() == ".keras":
        model = tf.keras.models.load_model(path, compile=False)

        def call(batch: Any) -> Any:
            return model(batch, training=False)

    else:
        kept = tf.saved_model.load(str(path))
        signature = kept.signatures["serving_default"]
        (name,) = signature.structured_input_signature[1]

        def call(batch: Any) -> Any:
            return signature(**{name: batch})

    def run(picture: Array) -> Array:
        # Without a reference to `kept` TensorFlow frees the variables of the signature.
        (out,) = tf.nest.flatten(call(tf.constant(picture[None])))
        return np.asarray(out)

    return Reference(f"tensorflow {tf.__version__}", run, channels_first=False)


def tflite_reference(model: bytes) -> Reference:
    """A float .tflite model on LiteRT's own kernels, without XNNPACK: another implementation than the one it is judged by."""
    from importlib import metadata

    def feed(picture: Array, keep_all: bool) -> Any:
        runner = interpreter(model, keep_all=keep_all, delegates=False)
        source = runner.get_input_details()[0]
        batch = int(source["shape"][0])
        runner.set_tensor(source["index"], np.repeat(picture[None], batch, axis=0).astype(np.float32))
        runner.invoke()
        return runner

    def run(picture: Array) -> Array:
        runner = feed(picture, False)
        return np.asarray(runner.get_tensor(runner.get_output_details()[0]["index"])[:1])

    def layers(picture: Array) -> dict[str, Array]:
        runner = feed(picture, True)
        found = {}
        for detail in runner.get_tensor_details():
            if detail["dtype"] is np.float32 and detail["shape"].size:
                try:
                    found[detail["name"]] = runner.get_tensor(detail["index"])[:1]
                except ValueError:  # without data
                    continue
        return found

    return Reference(f"ai-edge-litert {metadata.version('ai-edge-litert')}", run, layers, channels_first=False)
