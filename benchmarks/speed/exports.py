"""Which formats `MonteCarlo.export` can write, from which backend.

    KERAS_BACKEND=tensorflow python -m benchmarks.speed.exports

The script needs the extra `exports`. It exports a small classifier on the
current backend, in each format and with several settings. `export` itself runs
each file and compares it with Keras; a cell says "same" or why not. Another
column says whether Keras exports a plain Dense model in that format at all.

The script writes `benchmarks/results/exports_<backend>.json`, and the table of
all such files into docs/exports.md.
"""

import argparse
import json
import os
import pathlib
import tempfile
import time

os.environ.setdefault("KERAS_BACKEND", "tensorflow")

import keras

import kerasdrop
from benchmarks.support import reporting

ENDINGS = {
    "tf_saved_model": "",
    "onnx": ".onnx",
    "openvino": ".xml",
    "litert": ".tflite",
}
BACKENDS = ("tensorflow", "jax", "torch")

# By what is asked for: arguments of `MonteCarlo`, and of `export`.
REQUESTS = {
    "statistics": ({}, {}),
    "seed and rows as inputs": ({}, {"seed": "input", "rows": "input"}),
    "samples": ({"keep_samples": True}, {}),
    "quantiles": ({"quantiles": (0.1, 0.9)}, {}),
    "tolerance": ({"tolerance": 0.02, "num_samples": 256}, {}),
}

DOCS = pathlib.Path(__file__).parents[2] / "docs" / "exports.md"
BEGIN, END = "<!-- table: benchmarks/speed/exports.py -->", "<!-- end -->"


def classifier(drops):
    keras.utils.set_random_seed(0)
    hidden = []
    for rate in (0.5, 0.2):
        hidden.append(keras.layers.Dense(16, activation="relu"))
        if drops:
            hidden.append(keras.layers.Dropout(rate))
    last = keras.layers.Dense(3, activation="softmax")
    return keras.Sequential([keras.Input((6,)), *hidden, last])


def outcome(export):
    """What became of an export: a dict."""
    start = time.perf_counter()
    try:
        export()
    except Exception as error:
        lines = [line for line in str(error).splitlines() if line]
        return {"is_same": False, "error": lines[0][:300], "why": lines[-1]}
    return {"is_same": True, "seconds": round(time.perf_counter() - start, 1)}


def results(folder):
    for format, ending in ENDINGS.items():
        path = os.path.join(folder, f"model{ending}")
        plain = classifier(drops=False)
        plain(keras.ops.ones((1, 6)))  # some exporters of Keras ask for it
        yield (
            format,
            "plain Dense model, by Keras",
            outcome(
                lambda: plain.export(path, format=format, verbose=False)  # noqa: B023
            ),
        )
        for name, (of_model, of_export) in REQUESTS.items():
            predictive = kerasdrop.MonteCarlo(
                classifier(drops=True), **{"num_samples": 48, **of_model}
            )
            yield (
                format,
                name,
                outcome(
                    lambda: predictive.export(  # noqa: B023
                        path,  # noqa: B023
                        format=format,  # noqa: B023
                        verbose=False,
                        **of_export,  # noqa: B023
                    )
                ),
            )


def table(reports):
    """A Markdown table of the reports, by backend."""
    found = {
        (row["format"], backend, row["request"]): row["is_same"]
        for backend, report in reporting.items()
        for row in report["results"]
    }
    requests = ["plain Dense model, by Keras", *REQUESTS]
    lines = [
        "| format | from | " + " | ".join(requests) + " |",
        "|---" * (2 + len(requests)) + "|",
    ]
    for format in ENDINGS:
        for backend in reports:
            cells = []
            for request in requests:
                is_same = found.get((format, backend, request))
                yes = "yes" if "plain" in request else "same"
                cells.append({True: yes, False: "no", None: "?"}[is_same])
            lines.append(f"| {format} | {backend} | {' | '.join(cells)} |")
    return "\n".join(lines)


def main():
    argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    ).parse_args()  # none but --help: not to write results by mistake
    packages = {
        "tensorflow": "tf2onnx onnxruntime openvino ai-edge-litert",
        "jax": "",
        "torch": "onnx onnxscript onnxruntime openvino",
    }[reporting.BACKEND]
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for format, request, found in results(folder):
            rows.append({"format": format, "request": request, **found})
            print(rows[-1], flush=True)
            # After each: all of it takes long.
            report = {**reporting.taken(*packages.split()), "results": rows}
            reporting.keep("exports", report)
    folder = pathlib.Path(__file__).parents[1] / "results"
    files = {name: folder / f"exports_{name}.json" for name in BACKENDS}
    reports = {
        name: json.loads(file.read_text())
        for name, file in files.items()
        if file.exists()
    }
    text = DOCS.read_text()
    before, after = text.split(BEGIN)[0], text.split(END)[1]
    DOCS.write_text(f"{before}{BEGIN}\n\n{table(reports)}\n\n{END}{after}")
    print(table(reports))


if __name__ == "__main__":
    main()
