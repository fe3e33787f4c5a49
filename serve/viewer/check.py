"""Checks the types of the page against the endpoint: `make lint` runs it.

The types of the client are generated from the OpenAPI document of the application beside this
folder, so a route that changes and a page that does not follow are found here.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any, Final

FOLDER: Final = Path(__file__).resolve().parent
SECONDS: Final = 120


def openapi_document() -> dict[str, Any]:
    """The OpenAPI document of the endpoint, made without Ray, models or a catalogue."""
    from serve.http.application import create_app
    from serve.http.auth import AccessControl
    from serve.http.dispatch import ConcurrencyLimit, Services, body_room
    from serve.metrics import ServeMetrics
    from serve.settings import Settings, plan_replicas

    settings = Settings(insecure=True)
    services = Services(
        segmenter=None,
        classifier=None,
        reader=None,
        jobs=None,
        settings=settings,
        plan=plan_replicas(1, 0, settings),
        metrics=ServeMetrics("document"),
        analyses=ConcurrencyLimit(1),
        crops=ConcurrencyLimit(1),
        large=ConcurrencyLimit(1),
        bodies=body_room(settings),
    )
    return create_app(services, AccessControl(settings)).openapi()


def main() -> int:
    """Generate the types and check the page; returns what `tsc` does."""
    build = FOLDER / "build"
    build.mkdir(exist_ok=True)
    (build / "openapi.json").write_text(json.dumps(openapi_document()), encoding="utf-8")
    programs = FOLDER / "node_modules/.bin"
    if not (programs / "tsc").exists():
        print("the page's types were not checked: `make setup` did not reach npm", file=sys.stderr)
        return 0
    generate = (programs / "openapi-typescript", "build/openapi.json", "-o", "build/api.d.ts")
    for command in (generate, (programs / "tsc",)):
        done = subprocess.run(command, cwd=FOLDER, capture_output=True, text=True, timeout=SECONDS)
        if done.returncode:
            print(done.stdout, done.stderr, sep="\n", file=sys.stderr)
            return done.returncode
    return 0


if __name__ == "__main__":
    sys.path.insert(0, str(FOLDER.parents[1]))
    sys.exit(main())
