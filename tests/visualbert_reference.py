"""Writes `tests/data/visualbert_tiny`: `python -m xai.tests.visualbert_reference`. A VisualBERT with seeded weights, and what transformers'
own forward pass, autograd and plain formulas in float64 give for its cases. Nothing here is xai's.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import scipy.linalg
import torch
from numpy.typing import NDArray
from torch import Tensor
from transformers import VisualBertConfig, VisualBertForQuestionAnswering

DATA = Path(__file__).parent / "data"
FOLDER = DATA / "visualbert_tiny"
ANSWERS, WIDTH = 11, 16
QUESTIONS = [("t31", 9), ("t15 t16 t27 t18", 12), ("t64 t32 t98 t12 t45 t77 t20", 7), ("t9 t90 t17", 10)]
"""Words, and boxes."""
STEPS = (0, 0.25, 0.5, 0.75, 0.8, 0.85, 0.9, 0.95, 1)
Values = NDArray[np.float64]


def make_model() -> VisualBertForQuestionAnswering:
    """Three layers; attentions peaked, so that gradients differ from token to token."""
    config = VisualBertConfig(
        vocab_size=100,
        hidden_size=32,
        visual_embedding_dim=WIDTH,
        num_hidden_layers=3,
        num_attention_heads=4,
        intermediate_size=48,
        max_position_embeddings=32,
        pad_token_id=0,
        num_labels=ANSWERS,
        special_visual_initialize=False,
        attn_implementation="eager",
    )
    model = VisualBertForQuestionAnswering(config).eval()
    generator = torch.Generator().manual_seed(0)
    for name, parameter in model.named_parameters():
        values = torch.randn(parameter.shape, generator=generator)
        if name.endswith("LayerNorm.weight"):
            parameter.data = 1 + 0.1 * values
        elif parameter.dim() == 1:
            parameter.data = 0.1 * values
        elif "_embeddings" in name:
            parameter.data = 0.5 * values
        else:
            peaked = 2 if "query" in name or "key" in name else 1
            parameter.data = peaked * values * parameter.shape[1] ** -0.5
    return model


def run(model: VisualBertForQuestionAnswering, ids: list[int], features: Values, places: list[int] | None = None) -> Any:
    """The library's forward pass in float64; `places` are the positions of the tokens, where some were left out."""
    positions = torch.tensor([list(range(len(ids))) if places is None else places])
    return model(
        input_ids=torch.tensor([ids]),
        attention_mask=torch.ones(1, len(ids), dtype=torch.long),
        position_ids=positions,
        visual_embeds=torch.from_numpy(features)[None],
        output_attentions=True,
        output_hidden_states=True,
    )


def fiedler(x: Values) -> Values:
    """|v| of the graph whose weights are the positive cosines."""
    unit = x / np.linalg.norm(x, axis=1, keepdims=True)
    w = np.maximum(unit @ unit.T, 0)
    w /= w.max()
    d = np.diag(w.sum(1))
    return np.abs(scipy.linalg.eigh(d - w, d)[1][:, 1])


def explain(attentions: list[Values], gradients: list[Values], features: list[Values], words: int) -> dict[str, Values]:
    """Every method, of `words` words between two special tokens, which boxes follow; the last word is read."""
    tokens, n = words + 2, attentions[0].shape[-1]
    parts = {"text": slice(1, words + 1), "image": slice(tokens, n)}
    read = np.eye(n)[words]
    mean = [a.mean(0) for a in attentions]
    products = [np.maximum(a * g, 0).mean(0) for a, g in zip(attentions, gradients, strict=True)]
    weights = {"dsm_grad": [np.maximum(g, 0).mean(0) for g in gradients], "dsm_grad_cam": products}
    found: dict[str, Values] = {}
    for part, inner in parts.items():
        if inner.stop - inner.start < 2:
            continue  # a graph of one node has no vector
        vectors = [fiedler(x[inner]) for x in features]
        values = {"dsm": vectors[-1]}
        for name, matrices in weights.items():
            terms = [m[inner, inner] @ v for m, v in zip(matrices, vectors, strict=True)]
            values |= {name: terms[0], f"{name}@all": sum(terms, np.zeros_like(terms[0]))}
        for name, value in values.items():
            found[f"{name}/{part}"] = np.concatenate([[0], value, [0]]) if part == "text" else value
    chain, rolled = np.eye(n), np.eye(n)
    for product, attention in zip(products, mean, strict=True):
        chain = chain + product @ chain
        step = attention + np.eye(n)
        rolled = step / step.sum(1, keepdims=True) @ rolled
    last, gradient = attentions[-1], gradients[-1]
    cam = np.maximum((last[:, words] * gradient.mean((1, 2))[:, None]).mean(0), 0)
    rows = {"rm": read @ chain - read, "rollout": read @ rolled, "raw_attn": mean[-1][words], "attn_gradcam": cam}
    for name, row in rows.items():
        found |= {f"{name}/text": np.concatenate([[0], row[1:tokens]]), f"{name}/image": row[tokens:]}
    found |= {f"transformer_attr/{part}": found[f"rm/{part}"] for part in parts}
    return found


def keep(scores: Values, step: float) -> Values:
    """Which tokens stay where the most relevant go first; of equals the first stays longest."""
    kept = np.zeros(len(scores), dtype=bool)
    kept[np.argsort(scores, kind="stable")[: int((1 - step) * len(scores))]] = True
    return kept


def perturb(model: VisualBertForQuestionAnswering, ids: list[int], features: Values, scores: Values, modality: str) -> list[Any]:
    """What stays at each step, and the logits."""
    found = []
    for step in STEPS:
        kept = keep(scores, step)
        places = [0, *(np.flatnonzero(kept) + 1).tolist(), len(ids) - 1] if modality == "text" else list(range(len(ids)))
        boxes = features[kept] if modality == "image" else features
        found.append((kept, run(model, [ids[place] for place in places], boxes, places).logits[0].numpy()))
    return found


def main() -> None:
    """Write the folder anew."""
    FOLDER.mkdir(exist_ok=True)
    model = make_model()
    model.save_pretrained(FOLDER)
    shutil.copy(DATA / "lxmert_tiny" / "tokenizer.json", FOLDER)
    model = model.double()
    rng = np.random.default_rng(13)
    expected: dict[str, NDArray[Any]] = {}
    cases = []
    for c, (question, count) in enumerate(QUESTIONS):
        features = rng.standard_normal((count, WIDTH)).astype(np.float32)
        corners = np.sort(rng.random((count, 2, 2)), 1).reshape(count, 4).astype(np.float32)
        np.savez(FOLDER / f"case{c}.npz", features=features, boxes=corners)
        ids = [2, *(int(word[1:]) for word in question.split()), 3]
        out = run(model, ids, features.astype(np.float64))
        top = int(out.logits.argmax())
        gradients: tuple[Tensor, ...] = torch.autograd.grad(out.logits[0, top], out.attentions)
        attentions = [a[0].detach().numpy() for a in out.attentions]
        layers = [x[0].detach().numpy() for x in out.hidden_states[1:]]
        slopes = [g[0].numpy() for g in gradients]
        values: dict[str, NDArray[Any]] = {"logits": out.logits[0].detach().numpy()}
        for i, (a, g, x) in enumerate(zip(attentions, slopes, layers, strict=True)):
            values |= {f"joint{i}/self/attn": a, f"joint{i}/self/grad": g, f"joint{i}/features": x}
        methods = explain(attentions, slopes, layers, len(ids) - 2)
        with torch.no_grad():
            for method in ("rm", "raw_attn"):
                for modality in ("text", "image"):
                    scores = methods[f"{method}/{modality}"]
                    steps = perturb(model, ids, features.astype(np.float64), scores[1:-1] if modality == "text" else scores, modality)
                    values[f"{method}/perturb/{modality}/positive/kept"] = np.stack([kept for kept, _ in steps])
                    values[f"{method}/perturb/{modality}/positive/logits"] = np.stack([logits for _, logits in steps])
        expected |= {f"{c}/{name}": v.astype(np.float32) if v.dtype == np.float64 else v for name, v in (values | methods).items()}
        label = {f"answer{top}": 1.0, f"answer{(top + 3) % ANSWERS}": 0.3}
        cases.append({"question": question, "ids": ids, "boxes": count, "label": label, "answer": f"answer{top}", "answer_id": top})
    np.savez_compressed(FOLDER / "expected.npz", **expected)
    content = {"labels": [f"answer{i}" for i in range(ANSWERS)], "cases": cases}
    (FOLDER / "cases.json").write_text(json.dumps(content, indent=1) + "\n")


if __name__ == "__main__":
    main()
