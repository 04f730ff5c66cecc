"""Question text -> token ids, and tokens that a person can read."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer

from xai.base.errors import BadInput, XaiError


@dataclass(frozen=True)
class Token:
    """One token: its id, the vocabulary's own spelling, and what a person reads."""

    id: int
    raw: str
    text: str


@dataclass(frozen=True)
class Word:
    """Tokens that stand together without a space, `tokens` by position in the question; special tokens belong to none."""

    text: str
    tokens: tuple[int, ...]


@dataclass(frozen=True)
class EncodedQuestion:
    """A tokenised question; the first and last token are special."""

    text: str
    tokens: tuple[Token, ...]
    words: tuple[Word, ...]
    truncated: bool = False
    """Whether the end of the question was cut off."""

    @property
    def ids(self) -> NDArray[np.int64]:
        return np.array([token.id for token in self.tokens], dtype=np.int64)

    def word_relevance(self, relevance: NDArray[np.floating]) -> NDArray[np.floating]:
        """(T,) -> (words,): a word is as relevant as its most relevant token, the first of those whose score is largest by size."""
        return np.array([max((relevance[i] for i in word.tokens), key=abs) for word in self.words])

    def word_regions(self, regions: NDArray[np.floating]) -> NDArray[np.floating]:
        """(T, P) -> (words, P): of each region, what a word's most relevant token says of it."""
        return np.stack([regions[list(word.tokens)].max(0) for word in self.words])


class QuestionEncoder:
    """Encodes questions for one model; `limit` counts tokens, special ones included; `source` is what a message calls the tokenizer."""

    def __init__(self, tokenizer: Tokenizer, limit: int, vocab_size: int, source: str = "the tokenizer") -> None:
        self.tokenizer = tokenizer
        self.source = source
        self.limit = limit
        self.vocab_size = vocab_size

    def encode(self, question: str, truncate: bool = False) -> EncodedQuestion:
        """Raises `BadInput` on a question that is no text, empty or, unless `truncate`, longer than the limit."""
        if not isinstance(question, str):
            raise BadInput(f"the question is of type {type(question).__name__}: give text")
        if not question.strip():
            raise BadInput("the question is empty: ask one of at least one word")
        if any("\ud800" <= c <= "\udfff" for c in question):
            raise BadInput("the question holds bytes that are not UTF-8: type it again, or set a UTF-8 locale")
        encoding = self.tokenizer.encode(question)
        # Each of these is a list made anew whenever it is asked for.
        ids, raws, offsets, specials = encoding.ids, encoding.tokens, encoding.offsets, encoding.special_tokens_mask
        count = len(ids)
        if count < 2 or not (specials[0] and specials[-1]):
            raise XaiError(
                "the tokenizer does not wrap a question in <s> and </s>: give the tokenizer.json of the model, with its post-processor"
            )
        if count < 3:
            raise BadInput(f"the question {question!r} has no token that the tokenizer knows")
        if count > self.limit and not truncate:
            raise BadInput(f"the question has {count} tokens and the model takes {self.limit}: shorten it")
        keep = list(range(count)) if count <= self.limit else [*range(self.limit - 1), count - 1]
        tokens, spans = [], []
        for i in keep:
            start, end = offsets[i]
            text = raws[i] if specials[i] else question[start:end].strip() or raws[i]
            tokens.append(Token(ids[i], raws[i], text))
            spans.append(None if specials[i] else (start, end))
        if wrong := [t.raw for t in tokens if t.id >= self.vocab_size]:
            raise XaiError(
                f"{self.source} gives id {max(t.id for t in tokens)} for {wrong[0]!r}, the model knows {self.vocab_size} ids: "
                "give the tokenizer that the model was trained with"
            )
        return EncodedQuestion(question, tuple(tokens), _words(question, spans), truncated=count > self.limit)

    def longest(self, questions: Iterable[str]) -> int:
        """Count the tokens of the longest question, as it would be cut; those that `encode` refuses count, too."""
        texts = (question.encode(errors="replace").decode() for question in questions)
        return max((min(self.limit, len(self.tokenizer.encode(text).ids)) for text in texts), default=self.limit)


def _words(question: str, spans: list[tuple[int, int] | None]) -> tuple[Word, ...]:
    """Group tokens by the spaces between them.

    A byte-level token may cover part of a character only, and one of spaces alone belongs to the word that follows.
    """
    groups: list[tuple[int, int, list[int]]] = []
    spaces: list[int] = []
    for i, span in enumerate(spans):
        if span is None:
            continue
        start, end = span
        if not question[start:end].strip():
            spaces.append(i)
        elif groups and not spaces and not any(c.isspace() for c in question[groups[-1][1] : start + 1]):
            first, last, members = groups[-1]
            groups[-1] = (first, max(last, end), [*members, i])
        else:
            groups.append((start, end, [*spaces, i]))
            spaces = []
    if spaces:
        first, last, members = groups[-1] if groups else (0, len(question), [])
        groups[-1:] = [(first, last, members + spaces)]
    return tuple(Word(question[start:end].strip(), tuple(members)) for start, end, members in groups)
