"""Tables of results in Markdown, and their positions in the pages of docs/."""

import pathlib

import numpy as np

ROOT = pathlib.Path(__file__).parents[2]
DOCS = ROOT / "docs"


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


def place_of(script):
    """Where the tables of a script are: a page, and the marks around them.

    Args:
        script: Its path from the root of the tree.

    Raises:
        ValueError: If no page, or more than one, has a place for them.
    """
    begin = f"<!-- table: {script} -->"
    end = f"<!-- end: {pathlib.Path(script).stem} -->"
    pages = [
        page
        for page in sorted(DOCS.rglob("*.md"))
        if end in page.read_text().partition(begin)[2]
    ]
    if len(pages) != 1:
        raise ValueError(
            f"One page in {DOCS} must have a place for the tables of "
            f"{script}: {begin} and {end}. Found: {len(pages)}"
        )
    return pages[0], begin, end


def shown(script):
    """The tables of a script as the docs show them."""
    page, begin, end = place_of(script)
    return page.read_text().partition(begin)[2].partition(end)[0].strip()


def write(file, text):
    """Writes the tables of a script between their marks in the docs."""
    page, begin, end = place_of(pathlib.Path(file).relative_to(ROOT))
    before, _, rest = page.read_text().partition(begin)
    after = rest.partition(end)[2]
    page.write_text(f"{before}{begin}\n\n{text}\n\n{end}{after}")
