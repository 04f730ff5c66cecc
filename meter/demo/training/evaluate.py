"""Measure the demo model: `python -m xai.meter.demo.training.evaluate`. Prints the accuracy tables of this folder's README."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

import click
import numpy as np
import torch
from numpy.typing import NDArray
from tokenizers import Tokenizer

from xai.bench.data.scenes import CATEGORIES, UNSEEN_SEED, samples
from xai.meter.checkpoint import load_meter
from xai.meter.demo import TOKENIZER, WEIGHTS
from xai.meter.demo.training.data import answer_ids, encode_questions, load_easy_vqa
from xai.meter.demo.training.train import normalised_pixels
from xai.meter.model import Meter


def predict(
    model: Meter, tokenizer: Tokenizer, pictures: Sequence[NDArray[np.uint8]], questions: Sequence[str], batch: int = 128
) -> NDArray[np.int64]:
    """Answer ids (n,) of n questions, each about its own picture (S, S, 3)."""
    found = []
    with torch.inference_mode():
        for start in range(0, len(questions), batch):
            part = slice(start, start + batch)
            ids, mask = (torch.from_numpy(a) for a in encode_questions(tokenizer, questions[part]))
            found.append(model(normalised_pixels(np.stack(pictures[part])), ids, mask).argmax(-1).numpy())
    return np.concatenate(found)


def balanced(right: NDArray[np.bool_], answers: Sequence[str]) -> float:
    """Accuracy averaged over the true answers, so that frequent ones do not drown the rest."""
    names = np.array(answers)
    return float(np.mean([right[names == name].mean() for name in np.unique(names)]))


def guess(asked: Sequence[str], answers: Sequence[str], known_asked: Sequence[str], known_answers: Sequence[str]) -> float:
    """Accuracy of the best guess without the image: each question's most frequent answer among known ones."""
    table: dict[str, Counter[str]] = {}
    for question, answer in zip(known_asked, known_answers, strict=True):
        table.setdefault(question, Counter())[answer] += 1
    commonest = Counter(known_answers).most_common(1)[0][0]
    guesses = [table[q].most_common(1)[0][0] if q in table else commonest for q in asked]
    return float(np.mean([g == a for g, a in zip(guesses, answers, strict=True)]))


def scene_rows(model: Meter, tokenizer: Tokenizer, count: int) -> Iterator[str]:
    """One Markdown row per category of question about unseen scenes."""
    found = list(samples(UNSEEN_SEED, count))
    pictures = [np.asarray(scene.draw(model.config.image_size)) for scene, _ in found]
    questions = [question for _, question in found]
    right = predict(model, tokenizer, pictures, [q.text for q in questions]) == answer_ids([q.answer for q in questions])
    for category in CATEGORIES:
        of = np.array([q.category == category for q in questions])
        prior = Counter(q.answer for q in questions if q.category == category).most_common(1)[0]
        yield f"| {category} | {right[of].mean():.1%} | {prior[1] / of.sum():.1%} ({prior[0]}) | {of.sum()} |"
    yield f"| all | {right.mean():.1%} | | {len(questions)} |"


def easy_vqa_rows(model: Meter, tokenizer: Tokenizer) -> Iterator[str]:
    """Markdown rows for easy-VQA's test split."""
    test, train = load_easy_vqa("test", model.config.image_size), load_easy_vqa("train")
    right = predict(model, tokenizer, [test.pictures[row] for row in test.rows], test.questions) == answer_ids(test.answers)
    prior = guess(test.questions, test.answers, train.questions, train.answers)
    yield f"| easy-VQA test, all | {right.mean():.2%} | {prior:.1%} | {len(right)} |"
    yield f"| easy-VQA test, class-balanced | {balanced(right, test.answers):.2%} | | {len(set(test.answers))} answers |"


@click.command()
@click.option("--weights", type=click.Path(exists=True, dir_okay=False, path_type=Path), default=WEIGHTS, help="Default: the shipped ones.")
@click.option("--tokenizer", type=click.Path(exists=True, dir_okay=False, path_type=Path), default=TOKENIZER)
@click.option("--scenes", default=7000, show_default=True, help="Unseen scenes, one question each.")
def evaluate(weights: Path, tokenizer: Path, scenes: int) -> None:
    """Print the demo model's accuracy on unseen scenes and on easy-VQA's test split."""
    model = load_meter(weights)
    encoder = Tokenizer.from_file(str(tokenizer))
    click.echo("| questions | accuracy | guess without the image | n |\n|---|---|---|---|")
    for row in (*scene_rows(model, encoder, scenes), *easy_vqa_rows(model, encoder)):
        click.echo(row)


if __name__ == "__main__":
    evaluate()
