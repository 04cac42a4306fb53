"""Tables of results in Markdown, and their place in docs/benchmarks.md."""

import pathlib

import numpy as np

DOCS = pathlib.Path(__file__).parents[2] / "docs" / "benchmarks.md"


def markdown(header, rows):
    """The lines of a table: strings, all rows as long as the header."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def spread(values, digits):
    """The mean of values, and their standard deviation if there are more."""
    mean = f"{np.mean(values):.{digits}f}"
    if len(values) == 1:
        return mean
    return f"{mean} ± {np.std(values, ddof=1):.{digits}f}"


def change(after, before, digits):
    """The mean of paired differences, and its standard error if there is."""
    differences = np.asarray(after) - np.asarray(before)
    mean = f"{differences.mean():+.{digits}f}"
    if len(differences) == 1:
        return mean
    error = differences.std(ddof=1) / len(differences) ** 0.5
    return f"{mean} ± {error:.{digits}f}"


def source(report):
    """When and where the figures of a report were taken: a sentence."""
    versions, machine = report["versions"], report["machine"]
    backend = report["backend"]
    return (
        f"(Results of {report['date']}, Keras {versions['keras']}, {backend} "
        f"{versions[backend]}, {machine['cores']} CPU cores.)"
    )


def write(file, text, docs=DOCS):
    """Writes the tables of a script between their marks in a page of docs."""
    script = pathlib.Path(file).relative_to(DOCS.parents[1])
    name = script.stem
    begin = f"<!-- table: {script} -->"
    before, mark, rest = docs.read_text().partition(begin)
    _, end, after = rest.partition(f"<!-- end: {name} -->")
    if not (mark and end):
        raise ValueError(f"{docs} has no place for the tables of {name}.")
    docs.write_text(f"{before}{begin}\n\n{text}\n\n{end}{after}")
