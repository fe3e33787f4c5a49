"""Meta's Segment Anything (ViT-B, -L, -H), prompted with proposed crystals or a regular grid."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from segment_anything.utils.amg import build_point_grid
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

from mcn.mask import Mask
from mcn.segment.inference.candidates import (
    GPU_SETTINGS,
    Candidates,
    GeneratorSettings,
    check_image,
    filter_by_stability,
    group_by_shape,
    split_batches,
    stability_score,
)
from mcn.segment.inference.encoded_picture import EncodedPicture
from mcn.segment.inference.mask_generator import propose_crystals
from mcn.segment.inference.mask_nms import MaskNMS
from mcn.segment.inference.postprocess import largest_component_mask, suppress_overlaps
from mcn.segment.inference.prompts import check_prompts
from mcn.segment.modeling.attention import fuse_attention
from mcn.segment.modeling.compact_sam import CompactSam
from mcn.segment.modeling.number_format import autocast
from mcn.segment.modeling.point_decoder import PointDecoder

VIT_SETTINGS = replace(
    GeneratorSettings(), min_predicted_iou=0.88, min_stability=0.9, prompts_per_batch=64
)
# Buffers that fit a processor's cache; larger ones are allocated again each time.
VIT_CPU_SETTINGS = replace(VIT_SETTINGS, prompts_per_batch=4, pixels_per_batch=2**20)
_PROPOSALS = GeneratorSettings()


class SamSegmenter:
    """A full-size Segment Anything, prompted with single points.

    Parameters
    ----------
    sam : segment_anything.modeling.Sam
        On the device where it runs.
    name : str
        As in the rows of the catalogue.
    points_per_side : int
        Prompts along each side of the image, if there is no proposer.
    settings : GeneratorSettings, optional
        Thresholds and batch sizes; by default `VIT_SETTINGS`, or `VIT_CPU_SETTINGS` on a processor.
    proposer : CompactSam, optional
        Proposes the crystals whose centres are the prompts.
    """

    def __init__(
        self,
        sam: Any,
        name: str,
        points_per_side: int = 32,
        settings: GeneratorSettings | None = None,
        proposer: CompactSam | None = None,
    ) -> None:
        self.proposer = proposer.eval() if proposer else None
        self.sam = sam.eval()
        fuse_attention(sam.image_encoder)
        self.decoder = PointDecoder(sam)
        self.name = name
        self.points_per_side = points_per_side
        on_cpu = sam.pixel_mean.device.type == "cpu"
        self.settings = settings or (VIT_CPU_SETTINGS if on_cpu else VIT_SETTINGS)

    def segment(self, images: Sequence[NDArray[np.uint8]]) -> list[list[Mask]]:
        """Disjoint masks of the crystals in each (H, W) image."""
        results: list[list[Mask]] = [[] for _ in images]
        frame = self.sam.image_encoder.img_size**2
        for shape, members in group_by_shape(images).items():
            prompts = {i: points for i in members if len(points := self.prompts(images[i]))}
            for part in split_batches([*prompts], frame, self.settings):
                embedding = self.encode(np.stack([images[i] for i in part]))
                candidates = self.decode(embedding, shape, [prompts[i] for i in part])
                for index, i in enumerate(part):
                    results[i] = suppress_overlaps(candidates, index, shape, self.settings)
        return results

    @torch.inference_mode()
    def predict(
        self,
        image: NDArray[np.uint8],
        points: ArrayLike | None = None,
        labels: ArrayLike | None = None,
        boxes: ArrayLike | None = None,
        encoded: EncodedPicture | None = None,
    ) -> list[Mask]:
        """The crystal at each of N prompts in an (H, W) image; see `check_prompts`.

        As in SAM's own predictor: for a single click, the mask with the highest predicted IoU
        of three; else the single mask. `encoded` keeps the embedding of the image for the next
        call.
        """
        check_image(image)
        prompts = check_prompts(image.shape, points, labels, boxes)
        encoded = encoded or EncodedPicture()
        if encoded.embedding is None:
            encoded.embedding = self.encode(image[None]).float()
        embedding = encoded.embedding
        size, frame = self._size(image.shape), self.sam.image_encoder.img_size
        to_frame = embedding.new_tensor([size[1] / image.shape[1], size[0] / image.shape[0]])
        side = frame / to_frame
        window = torch.cat([torch.zeros_like(side), side])[None]
        encoder, masks = self.sam.prompt_encoder, []
        for click_points, click_labels, box in zip(
            prompts.points, prompts.labels, prompts.boxes, strict=True
        ):
            frame_points = (torch.from_numpy(click_points).to(to_frame) * to_frame)[None]
            frame_labels = torch.from_numpy(click_labels).to(to_frame.device)[None]
            frame_box = (torch.from_numpy(box).to(to_frame) * to_frame.repeat(2))[None]
            boxed = not np.isnan(box).any()
            sparse, dense = encoder(
                (frame_points, frame_labels) if len(click_labels) else None,
                frame_box if boxed else None,
                None,
            )
            logits, quality = self.sam.mask_decoder(
                image_embeddings=embedding,
                image_pe=encoder.get_dense_pe(),
                sparse_prompt_embeddings=sparse,
                dense_prompt_embeddings=dense,
                multimask_output=not boxed and len(click_labels) == 1,
            )
            best = int(quality[0].argmax())
            stability = stability_score(logits[0, best : best + 1], self.settings.stability_offset)
            masks.append(
                largest_component_mask(
                    logits[0, best],
                    window[0],
                    image.shape,
                    float(quality[0, best].clamp(0, 1)),
                    float(stability),
                )
            )
        return masks

    @torch.inference_mode()
    def encode(self, images: NDArray[np.uint8]) -> Tensor:
        """Embedding (B, D, h, w) of images (B, H, W)."""
        device = self.sam.pixel_mean.device
        grey = torch.from_numpy(images)[:, None]
        if device.type == "cuda":
            grey = grey.pin_memory().to(device, non_blocking=True)
        size = self._size(images.shape[1:])
        resized = F.interpolate(grey.float(), size, mode="bilinear", antialias=True)
        with autocast(device):
            embedding: Tensor = self.sam.image_encoder(
                self.sam.preprocess(resized.expand(-1, 3, -1, -1))
            )
        return embedding

    def prompts(self, image: NDArray[np.uint8]) -> Tensor:
        """Points x, y (P, 2) that an image (H, W) is prompted with, pixels."""
        if self.proposer is not None:
            settings = GPU_SETTINGS if self.sam.pixel_mean.device.type == "cuda" else _PROPOSALS
            return propose_crystals(self.proposer, image, settings).points
        grid = torch.as_tensor(build_point_grid(self.points_per_side), dtype=torch.float32)
        size = torch.tensor([image.shape[1], image.shape[0]], dtype=torch.float32)
        return (grid * size).to(self.sam.pixel_mean.device)

    @torch.inference_mode()
    def decode(
        self, embedding: Tensor, shape: tuple[int, ...], prompts: Sequence[Tensor]
    ) -> Candidates:
        """Masks of single points that pass the thresholds, without duplicates.

        Parameters
        ----------
        embedding : (B, D, h, w) tensor
            Of images of one shape.
        shape : (int, int)
            Their height and width.
        prompts : sequence of (P, 2) float tensor
            Points x, y of each image, pixels; at least one.
        """
        settings, device = self.settings, embedding.device
        n, (height, width) = len(embedding), shape
        size = self._size(shape)
        to_frame = torch.tensor([size[1] / width, size[0] / height], device=device)
        # The padding of the square frame is not part of a mask.
        cell = self.sam.image_encoder.img_size / (4 * self.decoder.grid[0])
        rows, columns = (math.ceil(side / cell) for side in size)
        images = self.decoder.prepare(embedding)
        unique_masks = []
        for image, points in zip(images.split(1), prompts, strict=True):
            masks = MaskNMS(settings.max_duplicate_iou, settings.max_masks)
            for part in (points * to_frame).split(settings.prompts_per_batch):
                logits, iou, _ = self.decoder.decode(image, part[None], settings.min_predicted_iou)
                logits, iou, stability, _ = filter_by_stability(
                    logits[:, :rows, :columns], iou, settings
                )
                masks.add(logits.to(self.decoder.dtype), iou, stability)
            unique_masks.append(masks.settle())
        logits, iou, stability = (torch.cat(parts) for parts in zip(*unique_masks, strict=True))
        counts = torch.tensor([len(part) for _, part, _ in unique_masks], device=device)
        right, bottom = columns * cell * width / size[1], rows * cell * height / size[0]
        return Candidates(
            logits=logits,
            windows=torch.tensor([[0.0, 0.0, right, bottom]], device=device).expand(len(iou), 4),
            predicted_iou=iou,
            stability=stability,
            scores=iou,
            image_index=torch.arange(n, device=device).repeat_interleave(counts),
        )

    def _size(self, shape: tuple[int, ...]) -> tuple[int, int]:
        """Height and width of an image within the square frame of the encoder."""
        scale = self.sam.image_encoder.img_size / max(shape)
        return max(1, round(shape[0] * scale)), max(1, round(shape[1] * scale))
