"""CLIP's vision transformer as METER uses it: no last block, no projection, every token normalised (docs/methods.md, Model).

Parameter names are those of the checkpoint.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from xai.meter.attention import attend_fused, merge_heads, split_heads
from xai.meter.config import MeterConfig


class VisionAttention(nn.Module):
    """Self-attention with CLIP's packed input projection."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.in_proj_weight = nn.Parameter(torch.empty(3 * width, width))
        self.in_proj_bias = nn.Parameter(torch.empty(3 * width))
        self.out_proj = nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = (split_heads(part, self.heads) for part in F.linear(x, self.in_proj_weight, self.in_proj_bias).chunk(3, -1))
        return self.out_proj(merge_heads(attend_fused(q, k, v, None)))


class VisionMlp(nn.Module):
    def __init__(self, width: int, inner: int) -> None:
        super().__init__()
        self.c_fc = nn.Linear(width, inner)
        self.c_proj = nn.Linear(inner, width)

    def forward(self, x: Tensor) -> Tensor:
        x = self.c_fc(x)
        return self.c_proj(x * torch.sigmoid(1.702 * x))  # QuickGELU


class VisionBlock(nn.Module):
    def __init__(self, width: int, inner: int, heads: int) -> None:
        super().__init__()
        self.ln_1 = nn.LayerNorm(width, eps=1e-5)
        self.attn = VisionAttention(width, heads)
        self.ln_2 = nn.LayerNorm(width, eps=1e-5)
        self.mlp = VisionMlp(width, inner)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attn(self.ln_1(x))
        return x + self.mlp(self.ln_2(x))


class VisionBlocks(nn.Module):
    def __init__(self, config: MeterConfig) -> None:
        super().__init__()
        block = (config.vision_width, config.vision_mlp, config.vision_heads)
        self.resblocks = nn.ModuleList(VisionBlock(*block) for _ in range(config.vision_layers))


class VisionTransformer(nn.Module):
    """Pixels (B, 3, S, S), normalised -> image tokens (B, 1 + (S / patch)^2, width), class token first."""

    def __init__(self, config: MeterConfig) -> None:
        super().__init__()
        width = config.vision_width
        self.class_embedding = nn.Parameter(torch.empty(width))
        self.positional_embedding = nn.Parameter(torch.empty(1 + config.grid**2, width))
        self.conv1 = nn.Conv2d(3, width, config.patch_size, config.patch_size, bias=False)
        self.ln_pre = nn.LayerNorm(width, eps=1e-5)
        self.transformer = VisionBlocks(config)
        self.ln_post = nn.LayerNorm(width, eps=1e-5)

    def forward(self, pixels: Tensor) -> Tensor:
        patches = self.conv1(pixels).flatten(2).transpose(1, 2)  # (B, P, width)
        cls = self.class_embedding.to(patches.dtype).expand(patches.shape[0], 1, -1)
        x = self.ln_pre(torch.cat([cls, patches], 1) + self.positional_embedding)
        for block in self.transformer.resblocks:
            x = block(x)
        return self.ln_post(x)


class VisionModel(nn.Module):
    """Holds the prefix `visual.` of CLIP's checkpoint; CLIP's text half is not used."""

    def __init__(self, config: MeterConfig) -> None:
        super().__init__()
        self.visual = VisionTransformer(config)

    def forward(self, pixels: Tensor) -> Tensor:
        return self.visual(pixels)


def resize_positions(positions: Tensor, grid: int) -> Tensor:
    """Interpolate position rows (1 + g^2, width) to (1 + grid^2, width): bicubic, class row kept (docs/methods.md, Model)."""
    old = round((positions.shape[0] - 1) ** 0.5)
    if old == grid:
        return positions
    patches = positions[1:].reshape(1, old, old, -1).permute(0, 3, 1, 2).float()
    patches = F.interpolate(patches, size=(grid, grid), mode="bicubic", align_corners=False)
    return torch.cat([positions[:1], patches[0].permute(1, 2, 0).reshape(grid * grid, -1).to(positions.dtype)])
