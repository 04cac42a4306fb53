"""The site in a real browser: nothing is cut off, nothing fails to load."""

import functools
import http.server
import json
import re
import shutil
import subprocess
import sys
import threading

import pytest

from tests.support.scripts import ROOT

pytestmark = pytest.mark.slow

BROWSERS = ("chromium", "chromium-browser", "google-chrome")
PAGES = (
    "index.html",
    "reference/api/kerasdrop.mc_predict.html",
    "reference/layers.html",
    "gallery/quickstart.html",
    "benchmarks/speed.html",
    "search.html?q=mc_predict",
)
# What the console says of faults; the theme also says what it does.
FAILED = re.compile(r"Uncaught|Error|Failed to load|Refused")
WIDTHS = {"desktop": 1280, "phone": 390}
# A page in a frame of some width, and how wide what is in it would be.
PROBE = """<!doctype html><link rel="icon" href="data:,">
<iframe id="frame" style="width:{width}px;height:900px;border:0" src="{page}">
</iframe><script>
frame.onload = () => setTimeout(() => {{
  const page = frame.contentDocument;
  const seen = {{wide: page.documentElement.scrollWidth,
    found: page.querySelectorAll("#search-results li").length,
    broken: [...page.images].filter(
      image => image.complete && !image.naturalWidth).length}};
  document.title = JSON.stringify(seen);
}}, 1000);
</script>"""


@pytest.fixture(scope="module")
def browser():
    found = [path for name in BROWSERS if (path := shutil.which(name))]
    if not found:
        pytest.skip(f"needs one of {', '.join(BROWSERS)}")
    return found[0]


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """The site, without running the examples, served on this machine."""
    pytest.importorskip("sphinx", reason="needs `pip install '.[docs]'`")
    pytest.importorskip("sphinx_gallery")
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "sphinx", "-q", "-D", "plot_gallery=0"]
    subprocess.run([*command, str(ROOT / "docs"), str(folder)], check=True)

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *_):
            pass

    handler = functools.partial(Quiet, directory=str(folder))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield folder, f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("page", PAGES)
def test_a_page_fits_and_loads(page, width, site, browser):
    folder, address = site
    pixels = WIDTHS[width]
    probe = PROBE.format(width=pixels, page=page)
    (folder / "probe.html").write_text(probe)
    command = [browser, "--headless", "--no-sandbox", "--disable-gpu"]
    command += ["--enable-logging=stderr", "--virtual-time-budget=20000"]
    ran = subprocess.run(
        [*command, "--dump-dom", f"{address}/probe.html"],
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
    )
    said = [line for line in ran.stderr.splitlines() if ":CONSOLE" in line]
    assert [line for line in said if FAILED.search(line)] == []
    found = re.search(r"<title>(.*?)</title>", ran.stdout)
    assert found, ran.stdout[:500]
    seen = json.loads(found[1])
    assert seen["wide"] <= pixels
    assert seen["broken"] == 0
    if page.startswith("search"):
        assert seen["found"] > 0
