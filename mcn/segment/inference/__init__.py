"""Masks from images: automatic generation, prompts, postprocessing."""
