"""The perturbation test on networks of other families: their golden steps, the published procedure by the library's own modules, and
the command."""

from __future__ import annotations

from itertools import product

import numpy as np
import torch

from xai.bench.perturb.answering import answer_subsets, encode_questions
from xai.bench.perturb.memory import session_memory, usual_tokens
from xai.bench.perturb.plan import MODALITIES, STEPS, QuestionPlan, keeping_order, min_max, published_counts
from xai.bench.procedures import PROCEDURES
from xai.bench.published import ReferenceFails, with_parameter_gradients
from xai.models.eager import EagerSession
from xai.runtime.description import IMAGE, TEXT
from xai.runtime.masked.masking import Kept, answer_kept

GOLDEN_NAMES = {
    "vilt": {"dsm_grad": "dsm_grad@all", "dsm_grad_cam": "dsm_grad_cam@all"},
    "lxmert": {"dsm_grad": "dsm_grad@top", "dsm_grad_cam": "dsm_grad_cam@boxes+top"},
}
"""What the golden cases call a method whose target is the answer and whose layers are all."""


def picture_of(golden, case: int) -> tuple[np.ndarray, ...]:
    return tuple(array[0] for array in golden.picture(case).values())


def questions_of(golden, session, memory, cases):
    return encode_questions(session, [picture_of(golden, c) for c in cases], [np.array(golden.cases[c]["ids"]) for c in cases], memory)


def steps_of(golden) -> list[tuple[int, str, str, str]]:
    """Every (case, method, modality, sign) whose steps are stored."""
    names = [name.split("/") for name in golden.expected if name.endswith("/argmax")]
    return [(int(case), method, modality, sign) for case, method, _, modality, sign, _ in names]


def kept_of(golden, name: str, n: int) -> list[np.ndarray]:
    """The tokens that stay at each step, as the golden cases mark them or number them."""
    stored = golden.expected[f"{name}/kept"]
    return [np.flatnonzero(row) for row in stored] if stored.shape == (len(STEPS), n) else [row[row >= 0] for row in stored]


def test_golden_steps(family_golden) -> None:
    """Logits, answer and accuracy of each step, given what it keeps; all questions in one run, pictures of unequal grids together."""
    session = EagerSession(family_golden.family)
    memory = session_memory(session, 2**30)
    cases = range(len(family_golden.cases))
    questions = questions_of(family_golden, session, memory, cases)
    special = session.description.special
    asked = steps_of(family_golden)
    plans = []
    for case in cases:
        image, text = questions.sizes[case]
        sizes = {IMAGE: image - sum(special[IMAGE]), TEXT: text - sum(special[TEXT])}
        subsets = [(IMAGE, np.arange(sizes[IMAGE]))]
        for c, method, modality, sign in asked:
            if c == case:
                kept = kept_of(family_golden, f"{c}/{method}/perturb/{modality}/{sign}", sizes[modality])
                assert [len(one) for one in kept] == list(published_counts(sizes[modality]))
                subsets += [(modality, one) for one in kept]
        plans.append(QuestionPlan(tuple(subsets), {}, {}))
    whole = [family_golden.expected[f"{c}/logits"].ravel().astype(float) for c in cases]
    found = answer_subsets(session, questions, plans, whole, memory)
    rows = {case: iter(np.split(found[case][1:], len(found[case][1:]) // len(STEPS))) for case in cases}
    names = family_golden.content["labels"]
    for case, method, modality, sign in asked:
        name, logits = f"{case}/{method}/perturb/{modality}/{sign}", next(rows[case])
        assert np.abs(logits - family_golden.expected[f"{name}/logits"]).max() < 1e-4, name
        assert np.array_equal(logits.argmax(1), family_golden.expected[f"{name}/argmax"]), name
        accuracies = [family_golden.cases[case]["label"].get(names[row.argmax()], 0) for row in logits]
        assert np.allclose(accuracies, family_golden.expected[f"{name}/accuracy"]), name
    assert len(asked) > 50


def test_golden_choices(family_golden) -> None:
    """What a step keeps, given the stored relevance, but where scores tie."""
    compared = 0
    for case, method, modality, sign in steps_of(family_golden):
        values = family_golden.expected[f"{case}/{method}/{modality}"]
        values = values[1:-1] if modality == TEXT else values
        order, scaled = keeping_order(values, sign), min_max(values)
        kept = kept_of(family_golden, f"{case}/{method}/perturb/{modality}/{sign}", len(values))
        for count, stored in zip(published_counts(len(values)), kept, strict=True):
            differing = np.setxor1d(order[:count], stored)
            assert not len(differing) or np.ptp(scaled[differing]) <= 1e-5, (case, method, modality, sign, count)
            compared += not len(differing)
    assert compared > 400


def test_the_library_gives_the_golden_relevances(family_golden) -> None:
    """The procedure by transformers' own modules and autograd."""
    model, family = EagerSession(family_golden.family).model, family_golden.family.description.family
    procedure, compared = PROCEDURES[family], 0
    for case, (method, modality) in product(range(len(family_golden.cases)), product(procedure.methods, MODALITIES)):
        expected = family_golden.expected.get(f"{case}/{GOLDEN_NAMES[family].get(method, method)}/{modality}")
        if expected is None or "@" in method:
            continue
        picture = tuple(map(torch.from_numpy, family_golden.picture(case).values()))
        with with_parameter_gradients(model):
            try:
                found = procedure.run(model, picture, torch.tensor([family_golden.cases[case]["ids"]]), method, modality, "positive")
            except ReferenceFails:
                assert method.startswith("dsm") and len(family_golden.cases[case]["ids"]) < 6
                continue
        expected = expected[1:-1] if modality == TEXT else expected
        assert np.abs(found.relevance - expected).max() <= 1e-4 * max(np.abs(expected).max(), 1e-6), (case, method, modality)
        compared += 1
    assert compared > 30


def test_no_box_is_no_token(family_goldens) -> None:
    """Every box left out: the same as one that is masked, whatever it holds."""
    golden = family_goldens("lxmert_tiny")
    session = EagerSession(golden.family)
    questions = questions_of(golden, session, session_memory(session, 2**30), [0])
    none, ids = np.zeros((1, 0), np.int64), questions.ids[0][None]
    first, every = np.zeros(1, np.int64), np.arange(ids.shape[1])[None]
    found = answer_kept(session, Kept(questions.images.tokens, first, none), Kept(ids, first, every))
    words = session.run("embed_text", {"ids": ids})["text_embeddings"]
    masked = {"image_tokens": questions.images.tokens, "image_mask": np.zeros(questions.images.tokens.shape[:2], bool)}
    masked |= {"text_embeddings": words, "text_mask": np.ones(ids.shape, bool)}
    assert np.abs(found - session.run("answer", masked)["logits"]).max() < 1e-5


def test_usual_tokens_bound_what_pictures_become(family_golden) -> None:
    description = family_golden.family.description
    counts = [description.image_tokens(*picture_of(family_golden, c)) for c in range(len(family_golden.cases))]
    encoded = [family_golden.family.encode_image(*map(torch.from_numpy, family_golden.picture(c).values())) for c in range(len(counts))]
    assert counts == [tokens.shape[1] for tokens in encoded]
    assert max(counts) <= usual_tokens(description)
