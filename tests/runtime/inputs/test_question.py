from __future__ import annotations

import json

import numpy as np
import pytest
from tokenizers import Tokenizer

from xai.base.errors import XaiError
from xai.meter.demo.training.tokenizer import train_tokenizer
from xai.runtime.inputs.question import QuestionEncoder
from xai.runtime.inputs.tokenizer import load_tokenizer


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return train_tokenizer(["What color is the circle?", "Is the circle left of the triangle?"], 300)


@pytest.fixture
def encoder(tokenizer) -> QuestionEncoder:
    return QuestionEncoder(tokenizer, limit=40, vocab_size=300)


@pytest.mark.parametrize("question", ["", "   ", "\n\t"])
def test_an_empty_question_is_refused(encoder, question) -> None:
    with pytest.raises(XaiError, match="question is empty"):
        encoder.encode(question)


@pytest.mark.parametrize("question", ["Why?", "🤔", "🤔🎉 🎨", "Ünïcödé wörds?", "a <b>bold</b> & 'quoted' one", "two  spaces\tand tab"])
def test_words_cover_every_token_once_and_read_as_written(encoder, question) -> None:
    encoded = encoder.encode(question)
    assert [w.text for w in encoded.words] == question.split()
    covered = [i for word in encoded.words for i in word.tokens]
    assert covered == list(range(1, len(encoded.tokens) - 1))
    assert encoded.tokens[0].raw == "<s>"
    assert encoded.tokens[-1].raw == "</s>"
    assert list(encoded.ids) == encoder.tokenizer.encode(question).ids


def test_a_word_is_as_relevant_as_its_most_relevant_token(encoder) -> None:
    encoded = encoder.encode("zebra circle?")
    relevance = np.arange(len(encoded.tokens), dtype=float)
    words = encoded.word_relevance(relevance)
    assert list(words) == [max(word.tokens) for word in encoded.words]
    assert len(words) == 2


def test_a_long_question_is_cut_only_when_asked(encoder) -> None:
    question = "circle " * 100
    with pytest.raises(XaiError, match="tokens and the model takes 40: shorten it"):
        encoder.encode(question)
    cut = encoder.encode(question, truncate=True)
    assert len(cut.tokens) == 40
    assert cut.tokens[-1].raw == "</s>"
    assert cut.truncated
    assert not encoder.encode("circle").truncated


def test_a_tokenizer_of_another_model_is_noticed(tokenizer) -> None:
    with pytest.raises(XaiError, match="the model knows 6 ids: give the tokenizer"):
        QuestionEncoder(tokenizer, 40, 6).encode("What color?")


def test_tokenizers_are_read_from_a_file_or_a_folder(tokenizer, tmp_path) -> None:
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    ids = tokenizer.encode("What color is the circle?").ids
    assert load_tokenizer(tmp_path).encode("What color is the circle?").ids == ids
    assert load_tokenizer(tmp_path / "tokenizer.json").encode("What color is the circle?").ids == ids


def test_padding_and_truncation_that_a_file_carries_are_switched_off(tokenizer, tmp_path) -> None:
    carried = Tokenizer.from_str(tokenizer.to_str())
    carried.enable_padding(length=20, pad_id=1, pad_token="<pad>")
    carried.enable_truncation(4)
    carried.save(str(tmp_path / "tokenizer.json"))
    question = "What color is the circle?"
    assert load_tokenizer(tmp_path).encode(question).ids == tokenizer.encode(question).ids


def test_a_tokenizer_without_special_tokens_is_refused(tokenizer) -> None:
    content = json.loads(tokenizer.to_str()) | {"post_processor": None}
    with pytest.raises(XaiError, match="does not wrap a question in <s> and </s>"):
        QuestionEncoder(Tokenizer.from_str(json.dumps(content)), 40, 300).encode("What color is the circle?")


@pytest.mark.parametrize("nested", [False, True])
@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda p: p["special_tokens"].pop("</s>"), "wraps text in '</s>', which is none of its special tokens"),
        (lambda p: p["single"][1]["Sequence"].update(id="B"), "does not wrap one text, A, once"),
        (lambda p: p["special_tokens"]["<s>"]["tokens"].clear(), "gives 1 ids for the 0 tokens of '<s>'"),
    ],
)
def test_a_template_that_names_what_is_not_there_is_refused_before_a_question(tokenizer, tmp_path, change, message, nested) -> None:
    tokens = {name: {"id": name, "ids": [i], "tokens": [name]} for i, name in ((0, "<s>"), (2, "</s>"))}
    single = [{"SpecialToken": {"id": "<s>", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}]
    single.append({"SpecialToken": {"id": "</s>", "type_id": 0}})
    template = {"type": "TemplateProcessing", "single": single, "pair": [*single], "special_tokens": tokens}
    processor = {"type": "Sequence", "processors": [template]} if nested else template
    path = tmp_path / "tokenizer.json"
    content = json.loads(tokenizer.to_str()) | {"post_processor": processor}
    path.write_text(json.dumps(content))
    assert QuestionEncoder(load_tokenizer(path), 40, 300).encode("circle").tokens[0].raw == "<s>"
    change(template)
    path.write_text(json.dumps(content))
    with pytest.raises(XaiError, match=rf"tokenizer\.json is not a tokenizer that can be used: its post-processor {message}"):
        load_tokenizer(path)


def test_robertas_two_files_wrap_the_question_in_special_tokens(tokenizer, tmp_path) -> None:
    model = json.loads(tokenizer.to_str())["model"]
    (tmp_path / "vocab.json").write_text(json.dumps(model["vocab"]))
    (tmp_path / "merges.txt").write_text("#version: 0.2\n" + "\n".join(" ".join(pair) for pair in model["merges"]))
    ids = load_tokenizer(tmp_path).encode("circle").ids
    assert (ids[0], ids[-1]) == (0, 2)


def test_tokenizers_that_are_not_there_or_broken(tmp_path) -> None:
    with pytest.raises(XaiError, match="neither a file nor in the local Hugging Face cache"):
        load_tokenizer("no-such/tokenizer")
    with pytest.raises(XaiError, match="neither a file nor"):
        load_tokenizer("../nowhere/tokenizer.json")
    with pytest.raises(XaiError, match=r"neither tokenizer\.json nor vocab\.txt nor vocab\.json"):
        load_tokenizer(tmp_path)
    (tmp_path / "vocab.json").write_text("{")
    (tmp_path / "merges.txt").write_text("")
    with pytest.raises(XaiError, match="not a tokenizer"):
        load_tokenizer(tmp_path)
    (tmp_path / "tokenizer.json").write_text("{}")
    with pytest.raises(XaiError, match="not a tokenizer"):
        load_tokenizer(tmp_path)
