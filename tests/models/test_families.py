"""What a folder must hold, and that an adapter which does not tell the truth is refused."""

from __future__ import annotations

import copy
import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import VisualBertConfig, VisualBertForQuestionAnswering

from xai.base.errors import XaiError
from xai.models.families import FAMILIES, load_family
from xai.models.selfcheck import check_family
from xai.tests.families import DATA, FamilyGolden


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A copy of the tiny ViLT."""
    path = tmp_path / "vilt"
    path.mkdir()
    for name in ("config.json", "model.safetensors", "preprocessor_config.json", "tokenizer.json"):
        shutil.copy(DATA / "vilt_tiny" / name, path)
    return path


def change(path: Path, **fields: object) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text()), **fields}))


def test_answers_are_named_by_the_folder_that_knows_them(folder: Path) -> None:
    names = FAMILIES["ViltForQuestionAnswering"].answers
    assert names is not None
    assert names(folder) == [f"answer{i}" for i in range(17)]


@pytest.mark.parametrize(
    ("architecture", "message"),
    [
        ("BertForMaskedLM", "holds a BertForMaskedLM: not supported; supported are ViltForQuestionAnswering, Lxmert"),
        ("LlavaForConditionalGeneration", "LlavaForConditionalGeneration, which generates text: not supported"),
        (None, "does not say which network it describes"),
    ],
)
def test_other_networks_are_named_with_what_is_supported(folder: Path, architecture: str | None, message: str) -> None:
    change(folder / "config.json", architectures=[architecture] if architecture else None)
    with pytest.raises(XaiError, match=message):
        load_family(folder)


def test_a_folder_that_is_none_is_refused(folder: Path) -> None:
    change(folder / "config.json", model_type="nothing-known")
    with pytest.raises(XaiError, match="of no network that transformers knows"):
        load_family(folder)
    (folder / "config.json").unlink()
    with pytest.raises(XaiError, match=r"has no config\.json"):
        load_family(folder)


def test_a_missing_or_foreign_preprocessor_is_refused(folder: Path) -> None:
    change(folder / "preprocessor_config.json", resample=2)
    with pytest.raises(XaiError, match="bicubic"):
        load_family(folder)
    (folder / "preprocessor_config.json").write_text("{}")
    with pytest.raises(XaiError, match="cannot be read as ViLT's"):
        load_family(folder)
    (folder / "preprocessor_config.json").unlink()
    with pytest.raises(XaiError, match=r"has no preprocessor_config\.json"):
        load_family(folder)


def test_weights_that_are_missing_broken_or_not_finite_are_refused(folder: Path) -> None:
    weights = folder / "model.safetensors"
    tensors = load_file(weights)
    name = "vilt.encoder.layer.1.attention.attention.query.weight"
    save_file({key: value for key, value in tensors.items() if key != name}, weights, metadata={"format": "pt"})
    with pytest.raises(XaiError, match=f"not a complete ViltForQuestionAnswering: it lacks {name}"):
        load_family(folder)
    save_file({**tensors, name: tensors[name] * torch.nan}, weights, metadata={"format": "pt"})
    with pytest.raises(XaiError, match=f"NaN or infinite: {name}"):
        load_family(folder)
    weights.write_bytes(weights.read_bytes()[:1000])
    with pytest.raises(XaiError, match="not a readable ViltForQuestionAnswering"):
        load_family(folder)


def test_a_visual_bert_whose_boxes_bypass_the_encoder_is_refused(tmp_path: Path) -> None:
    config = VisualBertConfig(
        vocab_size=20, hidden_size=8, num_hidden_layers=1, num_attention_heads=2, intermediate_size=8, bypass_transformer=True
    )
    VisualBertForQuestionAnswering(config).save_pretrained(tmp_path)
    with pytest.raises(XaiError, match="boxes bypass its encoder"):
        load_family(tmp_path)


def test_loading_says_nothing(folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    load_family(folder)
    assert capfd.readouterr() == ("", "")


def test_an_adapter_that_is_not_true_is_refused(family_golden: FamilyGolden) -> None:
    check_family(family_golden.family)
    described = family_golden.family.description
    last = described.sites[-1]

    def refused(message: str, **fields: object) -> None:
        family = copy.deepcopy(family_golden.family)
        for name, value in fields.items():
            setattr(family, name, value)
        with pytest.raises(XaiError, match=message):
            check_family(family)

    def altered(**fields: object):
        return {"description": type(described)(**{**vars(described), **fields})}

    refused("attentions, not", **altered(sites=(*described.sites, last._replace(layer="more"))))
    turned = last._replace(reached=not last.reached)
    refused("the answer (depends|does not depend) on attention", **altered(sites=(*described.sites[:-1], turned)))
    refused("has the shape", **altered(sites=(*described.sites[:-1], last._replace(heads=2))))

    fuse, embed = family_golden.family.fuse, family_golden.family.embed_text
    refused("does not give what the network gives", embed_text=lambda ids: embed(ids) * 1.01)

    def halved(*inputs, record):
        fused = fuse(*inputs, record=record)
        return fused._replace(attention=[a * 0.5 for a in fused.attention])

    refused("do not sum to 1", fuse=halved)
    refused("no features of", fuse=lambda *inputs, record: fuse(*inputs, record=record)._replace(features={}))
