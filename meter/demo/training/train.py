"""Train the demo model: `python -m xai.meter.demo.training.train --work DIR`.

First the vision encoder learns every patch's colour and shape (METER, too, starts from a trained CLIP), then the whole
network learns to answer, easy questions first. While it trains, linear heads on the fused tokens also tell which patches
the question is about and where they lie; the heads are thrown away. A run that was stopped goes on from its last checkpoint, and
every batch depends on the seed and the step alone.
"""

from __future__ import annotations

import json
import math
import time
from pathlib import Path

import click
import numpy as np
import torch
import torch.nn.functional as F
from tokenizers import Tokenizer
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from xai.bench.data.scenes import ANSWERS, CATEGORIES, COLORS, KINDS, ask, generate_scene
from xai.meter.checkpoint import save_meter
from xai.meter.config import CLIP_MEAN, CLIP_STD, MeterConfig
from xai.meter.demo.training.data import (
    EasyVqa,
    SceneSet,
    answer_ids,
    build_scenes,
    encode_questions,
    load_easy_vqa,
    patch_labels,
    place_labels,
    region_labels,
    respell,
    tokenizer_corpus,
)
from xai.meter.demo.training.tokenizer import train_tokenizer
from xai.meter.model import Meter
from xai.meter.sizes import POSITIONS

CONFIG = MeterConfig(
    image_size=96,
    patch_size=8,
    vision_width=128,
    vision_layers=4,
    vision_mlp=512,
    vocab_size=448,
    max_positions=66,
    text_width=128,
    text_layers=2,
    text_mlp=256,
    hidden=128,
    heads=2,
    layers=3,
    mlp=256,
    answers=len(ANSWERS),
)
TRAIN_SEED, TOKENIZER_SEED = 1, 2  # scenes of any other seed are unseen
EASY = ("color", "shape", "existence", "yes/no")
HARD = ("position", "relation", "relation", "count", "count")
"""The hardest twice as often."""


class PatchHeads(nn.Module):
    """Training-only heads: colour, kind and place of a vision token, whether the question is about a fused image token, and
    where the one or two shapes lie that it is about."""

    patch_centres: Tensor

    def __init__(self, config: MeterConfig) -> None:
        super().__init__()
        self.color = nn.Linear(config.vision_width, 1 + len(COLORS))
        self.kind = nn.Linear(config.vision_width, 1 + len(KINDS))
        self.coordinates = nn.Linear(config.vision_width, 2)  # without it the encoder forgets where a patch lies
        self.register_buffer("patch_centres", patch_centres(config.grid), persistent=False)
        self.region = nn.Linear(config.hidden, 1)
        self.place = nn.Linear(2 * config.hidden, 4)

    def patch_loss(self, image_tokens: Tensor, colors: Tensor, kinds: Tensor) -> Tensor:
        """`image_tokens` (B, 1 + P, width), labels (B, P)."""
        patches = image_tokens[:, 1:]
        places = self.coordinates(patches).float()
        return (
            F.cross_entropy(self.color(patches).flatten(0, 1).float(), colors.flatten())
            + F.cross_entropy(self.kind(patches).flatten(0, 1).float(), kinds.flatten())
            + F.smooth_l1_loss(places, self.patch_centres.expand_as(places))
        )

    def region_loss(self, fused: Tensor, regions: Tensor) -> Tensor:
        """`fused` (B, 1 + P, hidden), regions (B, P) in {0, 1}."""
        logits = self.region(fused[:, 1:]).squeeze(-1).float()
        return F.binary_cross_entropy_with_logits(logits, regions, pos_weight=logits.new_tensor(4.0))

    def place_loss(self, text: Tensor, image: Tensor, places: Tensor) -> Tensor:
        """Both streams' token 0 (B, hidden), and the centres x, y, x, y (B, 4) in [-1, 1] in the order of the question's
        region, NaN where there is none."""
        found = self.place(torch.cat([text, image], -1)).float()
        known = ~places.isnan()
        return F.smooth_l1_loss(found[known], places[known])


def patch_centres(grid: int) -> Tensor:
    """Coordinates x, y (grid * grid, 2) of the patches' centres in [-1, 1], row-major."""
    line = (torch.arange(grid) + 0.5) * 2 / grid - 1
    return torch.stack(torch.meshgrid(line, line, indexing="xy"), -1).reshape(-1, 2)


def sine_positions(grid: int, width: int) -> Tensor:
    """Sines and cosines (grid * grid, width) of both patch coordinates (Vaswani et al. 2017, in two dimensions)."""
    frequencies = 10_000 ** (-torch.arange(width // 4) / (width // 4))
    line = torch.arange(grid)[:, None] * frequencies
    waves = torch.cat([line.sin(), line.cos()], 1)  # (grid, width / 2)
    return torch.cat([waves.repeat(grid, 1), waves.repeat_interleave(grid, 0)], 1)


def initialise(model: nn.Module) -> None:
    """Fill every parameter: matrices by Glorot's rule, embeddings small, patch positions with waves, biases with zeros."""
    for name, parameter in model.named_parameters():
        if parameter.dim() > 1:
            if "embedding" in name:
                nn.init.normal_(parameter, std=0.05)
                if name == POSITIONS:
                    parameter.data[1:] = 0.5 * sine_positions(round((len(parameter) - 1) ** 0.5), parameter.shape[1])
            else:
                nn.init.xavier_uniform_(parameter.view(parameter.shape[0], -1))
        elif name.endswith("class_embedding"):
            nn.init.normal_(parameter, std=0.05)
        elif name.endswith("bias"):
            nn.init.zeros_(parameter)


def normalised_pixels(pictures: np.ndarray) -> Tensor:
    """uint8 (B, S, S, 3) -> normalised float32 (B, 3, S, S)."""
    pixels = torch.from_numpy(pictures).permute(0, 3, 1, 2).float() / 255
    mean, std = (torch.tensor(v)[:, None, None] for v in (CLIP_MEAN, CLIP_STD))
    return (pixels - mean) / std


def learning_rate(step: int, steps: int, peak: float) -> float:
    """Linear warm-up over 300 steps, then a cosine down to a fiftieth."""
    if step < 300:
        return peak * (step + 1) / 300
    return peak * (0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * (step - 300) / max(1, steps - 300))))


def vision_loss(model: Meter, heads: PatchHeads, data: SceneSet, rng: np.random.Generator, batch: int) -> tuple[Tensor, float]:
    """Loss over patches, and the share of foreground patches whose colour and kind are both right."""
    rows = rng.integers(len(data.scenes), size=batch)
    labels = [patch_labels(data.scenes[r], data.owners[r]) for r in rows]
    colors, kinds = (torch.from_numpy(np.stack(part)) for part in zip(*labels, strict=True))
    tokens = model.encode_image(normalised_pixels(data.pictures[rows]))
    with torch.no_grad():
        right = (heads.color(tokens[:, 1:]).argmax(-1) == colors) & (heads.kind(tokens[:, 1:]).argmax(-1) == kinds)
        accuracy = right[colors > 0].float().mean().item()
    return heads.patch_loss(tokens, colors, kinds), accuracy


def answer_loss(
    model: Meter,
    heads: PatchHeads,
    tokenizer: Tokenizer,
    scenes: SceneSet,
    easy: EasyVqa,
    rng: np.random.Generator,
    progress: float,
    batch: int,
    per_image: int,
) -> tuple[Tensor, dict[str, float]]:
    """Loss of one batch of `batch` scenes with `per_image` questions each, and of easy-VQA pictures beside them."""
    rows = rng.integers(len(scenes.scenes), size=batch)
    hard = min(1.0, max(0.0, (progress - 0.08) / 0.12))  # easy questions first
    questions, regions, places = [], [], []
    for row in rows:
        for _ in range(per_image):
            pool = HARD if rng.random() < 0.6 * hard else EASY
            category = pool[int(rng.integers(len(pool)))]
            question = ask(scenes.scenes[row], rng, (category, "existence"))
            questions.append(question)
            regions.append(region_labels(question, scenes.owners[row]))
            places.append(place_labels(question, scenes.scenes[row]))
    labels = [patch_labels(scenes.scenes[r], scenes.owners[r]) for r in rows]
    colors, kinds = (torch.from_numpy(np.stack(part)) for part in zip(*labels, strict=True))

    extra = rng.integers(len(easy.questions), size=batch // 2)
    texts = [respell(q.text, rng) for q in questions] + [respell(easy.questions[i], rng) for i in extra]
    answers = torch.from_numpy(answer_ids([q.answer for q in questions] + [easy.answers[i] for i in extra]))
    ids, mask = (torch.from_numpy(a) for a in encode_questions(tokenizer, texts))

    pictures = np.concatenate([scenes.pictures[rows], easy.pictures[easy.rows[extra]]])
    tokens = model.encode_image(normalised_pixels(pictures))
    per_question = torch.cat([tokens[:batch].repeat_interleave(per_image, 0), tokens[batch:]])
    fusion = model.fuse(per_question, None, model.embed_text(ids), mask, with_maps=True)

    asked = len(questions)
    region = torch.from_numpy(np.stack(regions))
    place = torch.from_numpy(np.stack(places))
    losses = {
        "answer": F.cross_entropy(fusion.logits.float(), answers),
        "patch": heads.patch_loss(tokens[:batch], colors, kinds),
        "region": sum((heads.region_loss(layer.x[:asked], region) for layer in fusion.image[-2:]), start=torch.zeros(())),
        "place": heads.place_loss(fusion.text[-1].x[:asked, 0], fusion.image[-1].x[:asked, 0], place),
    }
    right = (fusion.logits.argmax(-1) == answers).float()
    report = {name: loss.item() for name, loss in losses.items()}
    for category in CATEGORIES:
        of = torch.tensor([q.category == category for q in questions])
        if of.any():
            report[category] = right[:asked][of].mean().item()
    report["easy-vqa"] = right[asked:].mean().item()
    return losses["answer"] + 0.3 * losses["patch"] + 0.5 * losses["region"] + losses["place"], report


@click.command()
@click.option("--work", type=click.Path(file_okay=False, path_type=Path), required=True, help="Folder for the data and checkpoints.")
@click.option("--scenes", default=40_000, show_default=True, help="Training scenes.")
@click.option("--vision-steps", default=800, show_default=True)
@click.option("--steps", default=2400, show_default=True)
@click.option("--batch", default=48, show_default=True, help="Scenes per step.")
@click.option("--per-image", default=4, show_default=True, help="Questions per scene and step.")
@click.option("--peak", default=8e-4, show_default=True, help="Highest learning rate.")
@click.option("--threads", default=0, help="Threads; 0 leaves torch's choice.")
@click.option("-o", "--output", type=click.Path(file_okay=False, path_type=Path), help="Where to write the finished model.")
def train(
    work: Path, scenes: int, vision_steps: int, steps: int, batch: int, per_image: int, peak: float, threads: int, output: Path | None
) -> None:
    """Train the demo model, or go on with a training that was stopped."""
    work.mkdir(parents=True, exist_ok=True)
    if threads:
        torch.set_num_threads(threads)
    torch.manual_seed(TRAIN_SEED)
    data = _cached_scenes(work / f"scenes-{scenes}.npz", scenes)
    easy = load_easy_vqa("train", CONFIG.image_size)
    tokenizer = _cached_tokenizer(work / "tokenizer.json")

    model, heads = Meter(CONFIG), PatchHeads(CONFIG)
    initialise(model)
    model.encode_image = torch.compile(model.encode_image, dynamic=False)  # type: ignore[method-assign]
    model.fuse = torch.compile(model.fuse, dynamic=False)  # type: ignore[method-assign]
    parameters = [*model.parameters(), *heads.parameters()]
    optimiser = torch.optim.AdamW(parameters, lr=peak, weight_decay=0.02, betas=(0.9, 0.98))
    click.echo(f"{sum(p.numel() for p in model.parameters()):,} parameters")

    checkpoint, start, spent = work / "checkpoint.pt", 0, 0.0
    if checkpoint.exists():
        state = torch.load(checkpoint, weights_only=True)
        model.load_state_dict(state["model"])
        heads.load_state_dict(state["heads"])
        optimiser.load_state_dict(state["optimiser"])
        start, spent = state["step"], state["seconds"]
        click.echo(f"going on from step {start}")

    began, averages = time.perf_counter(), dict[str, float]()
    for step in range(start, vision_steps + steps):
        rng = np.random.default_rng((TRAIN_SEED, 1, step))
        vision = step < vision_steps
        rate = learning_rate(step, vision_steps, peak) if vision else learning_rate(step - vision_steps, steps, peak)
        for group in optimiser.param_groups:
            group["lr"] = rate
        # The fused attention kernel's backward is slow on CPUs: plain products take half the time.
        with torch.autocast("cpu", torch.bfloat16), sdpa_kernel(SDPBackend.MATH):
            if vision:
                loss, accuracy = vision_loss(model, heads, data, rng, 2 * batch)
                report = {"foreground": accuracy}
            else:
                progress = (step - vision_steps) / steps
                loss, report = answer_loss(model, heads, tokenizer, data, easy, rng, progress, batch, per_image)
        if not loss.isfinite():
            raise click.ClickException(f"the loss of step {step} is not a number")
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(parameters, 1.0)
        optimiser.step()
        if step == vision_steps:
            averages.clear()
        for name, value in report.items():
            averages[name] = 0.98 * averages.get(name, value) + 0.02 * value
        seconds = spent + time.perf_counter() - began
        if step % 100 == 0 or step == vision_steps + steps - 1:
            click.echo(f"{step:6d} {seconds:6.0f} s  " + "  ".join(f"{n} {v:.3f}" for n, v in averages.items()))
        if (step + 1) % 500 == 0 or step == vision_steps + steps - 1:
            _save_training(checkpoint, model, heads, optimiser, step + 1, seconds)
    if output:
        write_model(model, tokenizer, output)


def _cached_tokenizer(file: Path) -> Tokenizer:
    """The tokenizer in a file, trained first where there is none."""
    if not file.exists():
        train_tokenizer(tokenizer_corpus(TOKENIZER_SEED, 20_000), CONFIG.vocab_size).save(str(file))
    tokenizer = Tokenizer.from_file(str(file))
    if tokenizer.get_vocab_size() > CONFIG.vocab_size:
        raise click.ClickException(f"the tokenizer has {tokenizer.get_vocab_size()} entries, the model {CONFIG.vocab_size}")
    return tokenizer


def _save_training(file: Path, model: Meter, heads: PatchHeads, optimiser: torch.optim.Optimizer, step: int, seconds: float) -> None:
    """Keep where a training stands, whole or not at all."""
    state = {
        "model": model.state_dict(),
        "heads": heads.state_dict(),
        "optimiser": optimiser.state_dict(),
        "step": step,
        "seconds": seconds,
    }
    torch.save(state, file.with_suffix(".new"))
    file.with_suffix(".new").replace(file)


def _cached_scenes(file: Path, count: int) -> SceneSet:
    """The training scenes; their pictures are kept in `file`, the scenes themselves are drawn anew from the seed."""
    if file.exists():
        with np.load(file) as arrays:
            scenes = tuple(generate_scene(np.random.default_rng((TRAIN_SEED, i)), 1, 6) for i in range(count))
            return SceneSet(scenes, arrays["pictures"], arrays["owners"])
    data = build_scenes(TRAIN_SEED, count, CONFIG.image_size, CONFIG.grid)
    np.savez(file, pictures=data.pictures, owners=data.owners)
    return data


def write_model(model: Meter, tokenizer: Tokenizer, folder: Path) -> None:
    """Write weights in half precision, tokenizer and answers."""
    folder.mkdir(parents=True, exist_ok=True)
    save_meter(model, folder / "model.safetensors", torch.float16)
    tokenizer.save(str(folder / "tokenizer.json"))
    (folder / "answers.json").write_text(json.dumps(ANSWERS) + "\n")


if __name__ == "__main__":
    train()
