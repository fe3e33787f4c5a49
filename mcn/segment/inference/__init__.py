"""Masks from images: automatic generation, prompts, postprocessing."""

import mcn.segment.modeling  # noqa: F401 - before any module here imports segment_anything
