"""The networks of the segmenters, and the number format in which they run."""

from mcn.segment.modeling.sam_package import open_segment_anything

open_segment_anything()  # before any module here imports its networks
