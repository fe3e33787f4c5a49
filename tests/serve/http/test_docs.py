"""`/docs` in a real browser: every operation is drawn, and nothing leaves the origin."""

from urllib.parse import urlsplit

from serve.http.application import create_app
from serve.http.auth import AccessControl

from ..browser import chromium, listening
from ..local import local_services


def test_the_page_draws_every_operation_and_stays_on_its_origin() -> None:
    services = local_services("test-docs")
    app = create_app(services, AccessControl(services.settings))
    with listening(app) as address, chromium() as browser:
        page = browser.new_page()
        hosts, faults = set(), []
        page.on("request", lambda request: hosts.add(urlsplit(request.url).netloc))
        page.on("pageerror", lambda error: faults.append(str(error)))
        page.on(
            "console",
            lambda message: faults.append(message.text) if message.type == "error" else None,
        )
        page.goto(f"{address}/docs")
        page.locator(".opblock").first.wait_for()
        drawn = page.locator(".opblock").count()
        assert drawn == sum(map(len, app.openapi()["paths"].values()))
        assert "Unable to render" not in page.content()
        page.locator("#operations-catalogue-wells_v1_wells_get button").first.click()
        page.get_by_role("button", name="Try it out").wait_for()
        assert page.get_by_role("button", name="Authorize").first.is_visible()
        assert hosts == {urlsplit(address).netloc}
        assert faults == []
