"""Real features for `xai bench eigen --features`: `python benchmarks/features.py features.npz`.

Writes the features of every cross-modal layer and both streams, special tokens left out as the spectral methods do it, as arrays
(n, d) named `MODEL-STREAM LAYER/CASE`: of the demo model on generated scenes, or of one bundle with --bundle. With --golden, a folder
like `golden/full`, also of the full-size model that the folder describes, on its images; that needs PyTorch and 4 GB of memory.
"""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import click
import numpy as np
from numpy.typing import NDArray

import xai
from xai.base.description import TOP_ANSWER
from xai.bench.data.scenes import SCENE_SIDE, UNSEEN_SEED
from xai.bench.measures.pointing import pointing_samples
from xai.runtime.inputs.decode import ImageSource, open_image
from xai.runtime.inputs.encode import encode_images
from xai.runtime.inputs.resize import preprocess
from xai.runtime.sessions.protocol import Session
from xai.runtime.target import directions

Case = tuple[ImageSource, NDArray[np.int64]]
"""An image, and a question's token ids."""


def features(name: str, session: Session, cases: Iterable[Case]) -> Iterator[tuple[str, NDArray[np.float32]]]:
    """Named features (n, d) of a model on some cases."""
    streams = [f"{stream}{layer}" for layer in range(session.description.layers) for stream in ("image", "text")]
    for number, (image, ids) in enumerate(cases):
        pixels, _ = preprocess(open_image(image), session.description)
        tokens = encode_images(session, pixels[None])
        embeddings = session.run("embed_text", {"ids": ids[None]})["text_embeddings"]
        inputs = {
            "image_tokens": tokens,
            "image_mask": np.ones(tokens.shape[:2], bool),
            "text_embeddings": embeddings,
            "text_mask": np.ones((1, len(ids)), bool),
            "direction": directions([TOP_ANSWER], session.description.answers),
        }
        found = session.run("evidence", inputs, [f"{stream}/features" for stream in streams])
        for stream in streams:
            rows = np.asarray(found[f"{stream}/features"][0], np.float32)
            yield f"{name}-{stream[:-1]} {stream[-1]}/{number}", rows[1:] if stream.startswith("image") else rows[1:-1]


def of_bundle(bundle: Path | None, count: int) -> Iterator[tuple[str, NDArray[np.float32]]]:
    """Features of the demo model, or of a bundle, on `count` generated scenes."""
    explainer = xai.load(bundle or "demo")
    asked = (
        (scene.draw(SCENE_SIDE), explainer.encoder.encode(question.text, False).ids)
        for scene, question in pointing_samples(UNSEEN_SEED, count)
    )
    return features("demo" if bundle is None else bundle.name, explainer.session, asked)


def of_golden(folder: Path) -> Iterator[tuple[str, NDArray[np.float32]]]:
    """Features of the model whose weights `det_weights.py`, beside the folder, makes up from the folder's list of shapes."""
    import torch
    from safetensors.torch import save_file

    from xai.models.eager import EagerSession
    from xai.models.meter import load_meter_family

    content = json.loads((folder / "cases.json").read_text())
    spec = importlib.util.spec_from_file_location("det_weights", folder.parent / "det_weights.py")
    if spec is None or spec.loader is None:
        raise click.ClickException(f"{folder.parent} holds no det_weights.py")
    weights = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(weights)
    with TemporaryDirectory() as work:
        path = Path(work) / "meter.safetensors"
        state = {name: torch.from_numpy(array) for name, array in weights.state_dict(folder).items()}
        save_file(state, path, metadata={"num_heads": str(content["config"]["heads"])})
        del state
        session = EagerSession(load_meter_family(path))
    cases = ((folder / case["image"], np.array(case["ids"], np.int64)) for case in content["cases"])
    yield from features(folder.name, session, cases)


@click.command()
@click.argument("out", type=click.Path(dir_okay=False, path_type=Path))
@click.option("--bundle", type=click.Path(exists=True, file_okay=False, path_type=Path), help="An exported model instead of the demo.")
@click.option("--golden", type=click.Path(exists=True, file_okay=False, path_type=Path), help="Also the model of this golden folder.")
@click.option("--scenes", type=click.IntRange(1), default=12, show_default=True, help="Generated scenes for the demo or the bundle.")
def main(out: Path, bundle: Path | None, golden: Path | None, scenes: int) -> None:
    """Write real features for `xai bench eigen` to OUT."""
    found = dict(of_bundle(bundle, scenes))
    if golden is not None:
        found |= dict(of_golden(golden))
    np.savez(out, allow_pickle=False, **found)
    for name in sorted({name.partition(" ")[0] for name in found}):
        rows = [array for key, array in found.items() if key.startswith(name + " ")]
        click.echo(f"{name}: {len(rows)} graphs of {min(map(len, rows))} to {max(map(len, rows))} nodes, {rows[0].shape[1]} features")


if __name__ == "__main__":
    main()
