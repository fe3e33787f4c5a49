"""The networks of the segmenters, and the number format in which they run."""

from mcn.segment.modeling.torchvision_ops import declare_torchvision_operators

declare_torchvision_operators()  # before any module here imports segment_anything
