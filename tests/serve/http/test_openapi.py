"""Request bodies in the OpenAPI document."""

from serve.http.openapi import form_schema, request_body


def test_only_a_form_of_images_has_sidecars() -> None:
    image, crop = form_schema("image")["schema"], form_schema("crop")["schema"]
    assert set(image["properties"]) == {"image", "sidecar"}
    assert set(crop["properties"]) == {"crop"}
    assert image["required"] == ["image"], "sidecars are optional"


def test_several_files_are_a_list_and_other_fields_are_required() -> None:
    schema = form_schema("crop", many=True, prompts={"type": "string"})["schema"]
    assert schema["properties"]["crop"]["type"] == "array"
    assert schema["properties"]["crop"]["minItems"] == 1
    assert schema["required"] == ["crop", "prompts"]


def test_a_single_picture_may_be_sent_as_its_bytes() -> None:
    form = form_schema("image")
    body = request_body(form)["requestBody"]
    assert body["required"]
    assert {"multipart/form-data", "image/tiff", "image/png"} <= body["content"].keys()
    only_form = request_body(form, raw=False)["requestBody"]["content"]
    assert only_form == {"multipart/form-data": form}
