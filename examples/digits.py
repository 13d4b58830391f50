"""Four real classifiers of scikit-learn's bundled digits (8 x 8 images), of clearly different accuracy and speed, as ONNX.

    python -m infaas.examples.digits          # trains, exports, measures, prints a table

Half of the images train, a fifth is the validation set that variants are scored on, the rest is a test set that nobody has seen:
what the demo measures on its replies. `committee` is slow for a reason: it looks at fifteen views of every image, and one of its
members compares each of them with 200,000 others.
"""

from __future__ import annotations

import hashlib
import os
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from infaas.schemas.oip import Array

INPUT, OUTPUT = "image", "label"
SIDE = 8
PIXELS, CLASSES = SIDE * SIDE, 10
OPSET, ML_OPSET = 17, 3
SHIFTS = ((0, 0), (1, 0), (-1, 0), (0, 1), (0, -1))
ALL_SHIFTS = tuple((x, y) for x in (-1, 0, 1) for y in (-1, 0, 1))
TURNS = (0, 8, -8)
ALL_TURNS = tuple(range(-24, 25, 2))
LABELS = tuple(str(digit) for digit in range(CLASSES))
Progress = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Digits:
    """Where everything is."""

    models: Mapping[str, Path]
    """ONNX files by architecture, the quickest first."""
    validation_set: Path
    test_images: Array
    """`[n, 64] float32`, 0 to 1."""
    test_labels: Array
    """`[n] int64`."""


def prepare(progress: Progress = print) -> Digits:
    """Trains and exports the classifiers, or finds them where they were left: the folder's name says by which versions."""
    folder = _folder()
    if not (folder / "done").exists():
        _make(folder, progress)
    else:
        progress(f"using the classifiers in {folder}")
    with np.load(folder / "test.npz", allow_pickle=False) as found:
        images, labels = found[INPUT], found["labels"]
    models = {name: folder / f"{name}.onnx" for name in ("logistic", "mlp", "svc", "committee")}
    return Digits(models, folder / "validation.npz", images, labels)


def _folder() -> Path:
    base = os.environ.get("XDG_CACHE_HOME")
    cache = Path(base) if base else Path.home() / ".cache"
    own = Path(__file__).read_bytes()
    made_by = "-".join(version(name) for name in ("scikit-learn", "skl2onnx", "numpy"))
    return cache / "infaas" / f"digits-{hashlib.sha256(own + made_by.encode()).hexdigest()[:12]}"


def _make(folder: Path, progress: Progress) -> None:
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split

    folder.parent.mkdir(parents=True, exist_ok=True)
    part = Path(tempfile.mkdtemp(dir=folder.parent, prefix="digits-part-"))
    pixels, classes = load_digits(return_X_y=True)
    images, labels = (pixels / 16.0).astype(np.float32), classes.astype(np.int64)
    x, x_rest, y, y_rest = train_test_split(images, labels, test_size=0.5, stratify=labels, random_state=0)
    x_val, x_test, y_val, y_test = train_test_split(x_rest, y_rest, test_size=0.6, stratify=y_rest, random_state=0)
    np.savez_compressed(part / "validation.npz", **{INPUT: x_val, "labels": y_val})
    np.savez_compressed(part / "test.npz", **{INPUT: x_test, "labels": y_test})
    for name, fit in _recipes(x, y).items():
        begun = time.perf_counter()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # a network that has not converged in so many rounds is what is wanted here
            (part / f"{name}.onnx").write_bytes(fit().SerializeToString())
        progress(f"trained and exported {name} in {time.perf_counter() - begun:.1f} s")
    (part / "done").touch()
    try:
        part.rename(folder)
    except OSError:  # somebody else was quicker: theirs is the same
        for file in part.iterdir():
            file.unlink()
        part.rmdir()


def _recipes(x: Array, y: Array) -> Mapping[str, Callable[[], Any]]:
    from sklearn.linear_model import LogisticRegression
    from sklearn.neighbors import KNeighborsClassifier
    from sklearn.neural_network import MLPClassifier
    from sklearn.svm import SVC

    some = _augmented(x, y, TURNS, SHIFTS)
    many = _augmented(x, y, ALL_TURNS, ALL_SHIFTS)

    return {
        "logistic": lambda: _exported(LogisticRegression(max_iter=2000).fit(x, y)),
        "mlp": lambda: _exported(MLPClassifier((512, 512), max_iter=12, random_state=0).fit(*some)),
        "svc": lambda: _exported(SVC(C=10).fit(x, y)),
        "committee": lambda: _committee(KNeighborsClassifier(5).fit(*many), SVC(C=10).fit(*some)),
    }


def _augmented(x: Array, y: Array, turns: tuple[int, ...], shifts: tuple[tuple[int, int], ...]) -> tuple[Array, Array]:
    """Every image turned by each angle (degrees) and shifted by each step (pixels)."""
    turned = np.concatenate([_turned(x, angle) for angle in turns])
    moved = np.concatenate([_shifted(turned, *step) for step in shifts])
    return moved, np.tile(y, len(turns) * len(shifts))


def _turned(x: Array, angle: int) -> Array:
    from scipy.ndimage import rotate

    if angle == 0:
        return x
    images = rotate(x.reshape(-1, SIDE, SIDE), angle, axes=(2, 1), reshape=False, order=1)
    return np.clip(images, 0, 1).reshape(-1, PIXELS).astype(np.float32)


def _shifted(x: Array, dx: int, dy: int) -> Array:
    images, out = x.reshape(-1, SIDE, SIDE), np.zeros((len(x), SIDE, SIDE), np.float32)
    rows, columns = slice(max(0, dy), SIDE + min(0, dy)), slice(max(0, dx), SIDE + min(0, dx))
    from_rows, from_columns = slice(max(0, -dy), SIDE + min(0, -dy)), slice(max(0, -dx), SIDE + min(0, -dx))
    out[:, rows, columns] = images[:, from_rows, from_columns]
    return out.reshape(-1, PIXELS)


def _exported(model: Any) -> Any:
    """To ONNX with one input and one output, the same for all: an application's contract."""
    from skl2onnx import to_onnx
    from skl2onnx.common.data_types import FloatTensorType
    from skl2onnx.helpers.onnx_helper import select_model_inputs_outputs

    options: dict[str, object] = {"zipmap": False}
    opset = {"": OPSET, "ai.onnx.ml": ML_OPSET}
    if hasattr(model, "kneighbors"):  # distances in one matrix product: forty times as quick as the plain export
        options["optim"] = "cdist"
        opset["com.microsoft"] = 1
    whole = to_onnx(
        model,
        initial_types=[(INPUT, FloatTensorType([None, PIXELS]))],
        options={id(model): options},
        target_opset=opset,
    )
    first = whole.graph.output[0].name
    made = select_model_inputs_outputs(whole, outputs=[first])
    _declare_output(made, first)
    return made


def _declare_output(model: Any, name: str) -> None:
    """Cutting outputs off leaves the one that is kept without a type; and all models call it the same."""
    from onnx import TensorProto, helper

    for node in model.graph.node:
        for at, made in enumerate(node.output):
            if made == name:
                node.output[at] = OUTPUT
    model.graph.output[0].CopyFrom(helper.make_tensor_value_info(OUTPUT, TensorProto.INT64, ["rows"]))


def _committee_constants() -> dict[str, Any]:
    identity = np.eye(PIXELS, dtype=np.float32)
    views = np.concatenate([_shifted(_turned(identity, a), *s) for a in TURNS for s in SHIFTS], axis=1)
    return {
        "views": views,
        "zero": np.float32(0), "one": np.float32(1),
        "flat": np.array([-1, PIXELS]), "grouped": np.array([-1, views.shape[1] // PIXELS, CLASSES]),
        "depth": np.array(CLASSES), "off_on": np.array([0, 1], np.float32),
        "off_on_first": np.array([0, 1.001], np.float32),  # its word counts where the votes are even
        "axis": np.array([1]),
    }  # fmt: skip


def _committee(neighbours: Any, support: Any) -> Any:
    """A vote over fifteen views of the image, turned and shifted a little; the two members look at each.

    A view is a linear map of the pixels, so all of them are one matrix product.
    """
    from onnx import TensorProto, checker, compose, helper, numpy_helper

    constants = _committee_constants()
    members = {"neighbours/": _exported(neighbours), "support/": _exported(support)}
    graphs = {prefix: compose.add_prefix(model, prefix).graph for prefix, model in members.items()}
    nodes = [
        helper.make_node("MatMul", [INPUT, "views"], ["turned"]),
        helper.make_node("Clip", ["turned", "zero", "one"], ["clipped"]),
        helper.make_node("Reshape", ["clipped", "flat"], ["seen"]),
        *(helper.make_node("Identity", ["seen"], [prefix + INPUT]) for prefix in graphs),
        *(node for graph in graphs.values() for node in graph.node),
        helper.make_node("OneHot", ["neighbours/" + OUTPUT, "depth", "off_on"], ["votes_neighbours"]),
        helper.make_node("OneHot", ["support/" + OUTPUT, "depth", "off_on_first"], ["votes_support"]),
        helper.make_node("Add", ["votes_neighbours", "votes_support"], ["votes"]),
        helper.make_node("Reshape", ["votes", "grouped"], ["by_image"]),
        helper.make_node("ReduceSum", ["by_image", "axis"], ["counted"], keepdims=0),
        helper.make_node("ArgMax", ["counted"], [OUTPUT], axis=1, keepdims=0),
    ]
    graph = helper.make_graph(
        nodes,
        "committee",
        [helper.make_tensor_value_info(INPUT, TensorProto.FLOAT, ["rows", PIXELS])],
        [helper.make_tensor_value_info(OUTPUT, TensorProto.INT64, ["rows"])],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()]
        + [tensor for part in graphs.values() for tensor in part.initializer],
    )
    opsets = {"": OPSET, "ai.onnx.ml": ML_OPSET, "com.microsoft": 1}
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid(d, v) for d, v in opsets.items()], ir_version=9)
    checker.check_model(model)
    return model


def main() -> int:
    """Prints what the classifiers can do, by ONNX Runtime on one thread."""
    import onnxruntime as runtime
    from rich.console import Console
    from rich.table import Table

    digits = prepare()
    table = Table(header_style="bold", title=f"{len(digits.test_labels)} test images, one thread", title_justify="left")
    for name in ("classifier", "accuracy", "ms at batch 1", "ms at batch 16", "images/s", "MB"):
        table.add_column(name, justify="left" if name == "classifier" else "right")
    for name, path in digits.models.items():
        options = runtime.SessionOptions()
        options.intra_op_num_threads = 1
        options.log_severity_level = 3
        session = runtime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        predicted = np.concatenate(
            [session.run([OUTPUT], {INPUT: part})[0] for part in np.array_split(digits.test_images, 20)]
        )
        one, many = (_median_ms(session, digits.test_images[:size]) for size in (1, 16))
        accuracy = float(np.mean(predicted == digits.test_labels))
        table.add_row(
            name,
            f"{accuracy:.4f}",
            f"{one:.3f}",
            f"{many:.3f}",
            f"{16000 / many:,.0f}",
            f"{path.stat().st_size / 1e6:.1f}",
        )
    Console().print(table)
    return 0


def _median_ms(session: Any, batch: Array) -> float:
    took = []
    for _ in range(11):
        begun = time.perf_counter()
        session.run([OUTPUT], {INPUT: batch})
        took.append((time.perf_counter() - begun) * 1000.0)
    return float(np.median(took))


if __name__ == "__main__":
    sys.exit(main())
