"""METER's other vision encoder, a Swin transformer (Liu et al. 2021), by timm's module (docs/methods.md, Variants of METER)."""

from __future__ import annotations

import math
import re

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from xai.base.errors import XaiError, first_line
from xai.meter.config import MeterConfig

PREFIX = "vit_model."
TABLE = ".relative_position_bias_table"
BUFFERS = (".relative_position_index", ".attn_mask")
"""What timm computes from the sizes, and older releases stored."""


def build_swin(config: MeterConfig) -> nn.Module:
    """timm's module: pixels (B, 3, S, S), normalised -> tokens (B, S / 32, S / 32, width), no class token.

    METER sets the window to the grid of the last stage, whatever the name of the pre-trained model says. Raises `XaiError` where timm
    is missing or cannot be loaded.
    """
    try:
        from timm.models.swin_transformer import SwinTransformer
    except ModuleNotFoundError as error:
        raise XaiError(f"a METER with a Swin encoder needs {error.name}: pip install 'xai-vqa[timm]'") from error
    except (ImportError, RuntimeError, AttributeError) as error:  # a torchvision that was built for another PyTorch
        raise XaiError(f"a METER with a Swin encoder needs timm, which cannot be loaded: {first_line(error)}") from error
    swin = config.swin
    assert swin is not None
    with torch.device("cpu"):  # its tables of positions are computed, and not read from a file: they must exist
        return SwinTransformer(
            img_size=config.image_size,
            patch_size=swin.patch,
            window_size=config.grid,
            embed_dim=swin.width,
            depths=swin.depths,
            num_heads=swin.heads,
            mlp_ratio=config.vision_mlp / swin.width,
            num_classes=0,
            global_pool="",
            drop_path_rate=0.0,
            weight_init="skip",
        )


def fit_swin(tensors: dict[str, Tensor], grid: int) -> dict[str, Tensor]:
    """The tensors under timm's present names, without its buffers, position tables resized to a window of `grid`.

    A stage's downsampling, which stood at its end when METER was trained, stands at the beginning of the next one today.
    """
    moved = f"{PREFIX}layers.0.downsample.reduction.weight" in tensors
    found = {}
    for name, tensor in tensors.items():
        if not name.startswith(PREFIX):
            found[name] = tensor
        elif not name.endswith(BUFFERS):
            stage = re.match(rf"{re.escape(PREFIX)}layers\.(\d+)\.downsample\.", name) if moved else None
            name = f"{PREFIX}layers.{int(stage[1]) + 1}.downsample.{name[stage.end() :]}" if stage else name
            found[name] = resize_table(tensor, grid) if name.endswith(TABLE) else tensor
    return found


def window_of(table: Tensor) -> int:
    """The window w of a table ((2w - 1)^2, heads) of relative positions, 0 where it is none."""
    side = math.isqrt(table.shape[0]) if table.dim() == 2 else 0
    return (side + 1) // 2 if side % 2 and side * side == table.shape[0] else 0


def resize_table(table: Tensor, window: int) -> Tensor:
    """Interpolate a table ((2w - 1)^2, heads) of relative positions to another window: bicubic."""
    old, new = 2 * window_of(table) - 1, 2 * window - 1
    if old in (new, -1):
        return table
    square = table.float().T.reshape(1, -1, old, old)
    resized = F.interpolate(square, size=(new, new), mode="bicubic", align_corners=False)
    return resized.reshape(table.shape[1], new * new).T.contiguous().to(table.dtype)
