"""Request and response bodies as the OpenAPI document describes them."""

from __future__ import annotations

from typing import Any, Final

from serve.http.uploads import SIDECAR

BINARY: Final = {"schema": {"type": "string", "format": "binary"}}
TEXT: Final = {"schema": {"type": "string"}}

_SIDECARS: Final = "Text files of the microscope, named like their pictures: a.txt for a.tif."
_PICTURE_TYPES: Final = ("image/tiff", "image/png", "image/jpeg", "application/octet-stream")


def form_schema(field: str, many: bool = False, **others: Any) -> dict[str, Any]:
    """A form with files in one field and further required fields.

    Parameters
    ----------
    field : str
        Name of the field with the files. A form of images also has sidecars.
    many : bool
        Whether there may be several files.
    **others
        JSON schemas of the further fields.
    """
    file = BINARY["schema"]
    properties = {
        field: {"type": "array", "items": file, "minItems": 1} if many else file,
        **others,
    }
    if field == "image":
        properties[SIDECAR] = {"type": "array", "items": file, "description": _SIDECARS}
    return {"schema": {"type": "object", "properties": properties, "required": [field, *others]}}


def request_body(form: dict[str, Any], raw: bool = True) -> dict[str, Any]:
    """A required body: a form or, with `raw`, the bytes of one picture."""
    content: dict[str, Any] = {"multipart/form-data": form}
    if raw:
        content |= dict.fromkeys(_PICTURE_TYPES, BINARY)
    return {"requestBody": {"required": True, "content": content}}
