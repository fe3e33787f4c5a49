"""Responses conform to the OpenAPI document, tested with schemathesis."""

from collections.abc import Callable
from importlib import import_module
from pkgutil import iter_modules
from typing import Any

import httpx
import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from serve.http import routes

from ..waiting import DEADLINE_S
from .conftest import Endpoint

CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_schema_conformance,
]


@pytest.mark.long
def test_every_operation_conforms_to_the_document(endpoint: Endpoint) -> None:
    document = schemathesis.openapi.from_url(f"{endpoint.url}/openapi.json")
    operations = [result.ok() for result in document.get_all_operations()]
    assert len(operations) == route_count()
    for operation in operations:
        name = "operator" if operation.path == "/metrics" else "lab"
        operation_test(operation, {"Authorization": f"Bearer {endpoint.tokens[name]}"})()


def route_count() -> int:
    """Number of operations in all modules of routes."""
    modules = [import_module(f"{routes.__name__}.{m.name}") for m in iter_modules(routes.__path__)]
    return sum(
        len(route.methods)
        for module in modules
        for route in module.router.routes
        if route.include_in_schema
    )


def operation_test(operation: Any, headers: dict[str, str]) -> Callable[[], None]:
    """A test that calls one operation in many ways."""

    @settings(
        max_examples=20,
        deadline=None,
        phases=[Phase.explicit, Phase.generate],
        suppress_health_check=list(HealthCheck),
        derandomize=True,
        database=None,
    )
    @given(case=operation.as_strategy())
    def call_and_check(case: Any) -> None:
        case.call_and_validate(headers=headers, checks=CHECKS, timeout=DEADLINE_S)

    return call_and_check


def test_the_documentation_page_needs_no_other_host(endpoint: Endpoint) -> None:
    page = httpx.get(f"{endpoint.url}/docs", timeout=DEADLINE_S)
    assert "/docs/static/swagger-ui-bundle.js" in page.text
    assert "https://" not in page.text
    for file in ("swagger-ui-bundle.js", "swagger-ui.css"):
        assert (
            httpx.get(f"{endpoint.url}/docs/static/{file}", timeout=DEADLINE_S).status_code == 200
        )
    assert (
        httpx.get(
            f"{endpoint.url}/docs/static/..%2f..%2f__init__.py", timeout=DEADLINE_S
        ).status_code
        == 404
    )
