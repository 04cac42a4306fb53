"""Serves the built site on this machine alone: `make docs-serve`."""

import argparse
import functools
import http.server
import pathlib

SITE = pathlib.Path(__file__).parent / "_build" / "html"


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, default=8000)
    port = parser.parse_args().port
    if not (SITE / "index.html").exists():
        parser.error("there is no site yet. Build it: make docs")
    handler = functools.partial(
        http.server.SimpleHTTPRequestHandler, directory=str(SITE)
    )
    with http.server.ThreadingHTTPServer(
        ("127.0.0.1", port), handler
    ) as served:
        print(f"http://127.0.0.1:{served.server_port} (Ctrl-C ends it)")
        try:
            served.serve_forever()
        except KeyboardInterrupt:
            print()


if __name__ == "__main__":
    main()
