"""Text embeddings: diffusers' own, computed once, kept by content; the encoder is freed."""

import gc
import shutil
import weakref

import pytest
import torch
from tiny_models import SENTENCES, item, model_of

from rcm_bench.diffusion import text as text_module
from rcm_bench.diffusion.text import TextCache
from rcm_bench.errors import UserError
from rcm_bench.suite import RcmSampler, UnipcSampler
from rcm_bench.types import PromptRecord

SAMPLER = RcmSampler(kind="rcm")


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("RCM_BENCH_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.mark.parametrize("family", ["wan", "cosmos"])
def test_equal_to_the_pipelines(family, request, cache):
    root, pipe = request.getfixturevalue(family)
    encoder = model_of(family, root, SAMPLER).text_encoder()
    stored = TextCache(encoder.identity())
    texts = [*SENTENCES, "", "a photo of a cat " * 30, "naïve — “quotes”  and   spaces"]
    assert stored.fill(texts, encoder, "cpu") == len(texts)
    for text in texts:
        expected, _ = pipe.encode_prompt(
            text, do_classifier_free_guidance=False, max_sequence_length=16
        )
        rows, padding = stored.read(text), expected[0][len(stored.read(text)) :]
        assert (rows - expected[0][: len(rows)]).abs().max() < 1e-5, text
        assert not padding.any()
        assert expected.abs().max() > 0.1


def test_computed_once_and_for_one_encoder(wan, cache, monkeypatch):
    model = model_of("wan", wan[0], SAMPLER)
    encoder = model.text_encoder()
    stored = TextCache(encoder.identity())
    assert stored.fill(["a cat", "two dogs", "a cat"], encoder, "cpu") == 2
    monkeypatch.setattr(text_module, "from_folder", None)  # loading again would fail
    assert stored.fill(["two dogs", "a cat"], encoder, "cpu") == 0
    other = model_of("wan", wan[0], SAMPLER, max_tokens=8).text_encoder()
    assert TextCache(other.identity()).missing(["a cat"]) == ["a cat"]
    small = stored.path("a cat").stat().st_size
    assert small < 16 * 32 * 4, "padding is not stored"


def test_a_damaged_embedding_is_computed_anew(wan, cache, capsys):
    encoder = model_of("wan", wan[0], SAMPLER).text_encoder()
    stored = TextCache(encoder.identity())
    texts = ["a cat", "two dogs", "a bird"]
    stored.fill(texts, encoder, "cpu")
    before = {text: stored.read(text).clone() for text in texts}  # a file is mapped
    for text, size in (("a cat", 5), ("two dogs", stored.path("two dogs").stat().st_size - 1)):
        stored.path(text).write_bytes(stored.path(text).read_bytes()[:size])
    assert stored.fill(texts, encoder, "cpu") == 2
    said = capsys.readouterr().err
    assert said.count("computed anew") == 2 and str(stored.path("a cat")) in said
    for text, rows in before.items():  # other texts in the batch: equal up to rounding
        torch.testing.assert_close(stored.read(text), rows, rtol=0, atol=1e-5)


def test_a_damaged_tokenizer_or_scheduler_is_the_users_fault(wan, cache, tmp_path):
    copy = shutil.copytree(wan[0], tmp_path / "copy")
    for file in ("tokenizer/tokenizer.json", "scheduler/scheduler_config.json"):
        whole = (copy / file).read_text()
        (copy / file).write_text(whole[: len(whole) // 2])
        encoder = model_of("wan", copy, SAMPLER).text_encoder()
        with (
            pytest.raises(UserError, match="tokenizer, scheduler or configuration cannot be"),
            encoder.loaded("cpu"),
        ):
            pass
        (copy / file).write_text(whole)


def test_a_machine_that_is_full_is_no_damaged_tokenizer(wan, cache, monkeypatch):
    def full(*_, **__):
        raise MemoryError

    encoder = model_of("wan", wan[0], SAMPLER).text_encoder()
    monkeypatch.setattr("diffusers.WanPipeline.from_pretrained", full)
    with pytest.raises(MemoryError), encoder.loaded("cpu"):
        pass


def test_an_encoder_that_does_not_fit_says_what_it_takes(wan, cache, monkeypatch):
    def full(self, *_):
        raise torch.OutOfMemoryError("CUDA out of memory")

    encoder = model_of("wan", wan[0], SAMPLER).text_encoder()
    monkeypatch.setattr(torch.nn.Module, "to", full)
    with pytest.raises(UserError, match=r"text encoder takes .* GB, more"), encoder.loaded("cpu"):
        pass


def test_the_encoder_is_freed_before_sampling(wan, cache, monkeypatch):
    alive = []
    real = text_module.from_folder

    def spy(*arguments):
        net = real(*arguments)
        alive.append(weakref.ref(net))
        return net

    monkeypatch.setattr(text_module, "from_folder", spy)
    model = model_of("wan", wan[0], UnipcSampler(kind="unipc", guidance=2.0), negative_prompt="bad")
    prompts = [PromptRecord(prompt_id="00000-a", text="a cat", task="p",
                            metadata={"rewritten": "a fluffy cat"})]  # fmt: skip
    model.check(prompts, [1])
    model.load("cpu")
    gc.collect()
    assert [ref() for ref in alive] == [None]
    stored = TextCache(model.text_encoder().identity())
    # What the model sees is the rewritten prompt; the original is not encoded.
    assert stored.missing(["a fluffy cat", "bad"]) == []
    assert stored.missing(["a cat"]) == ["a cat"]
    list(model.generate([item(prompt="a fluffy cat", steps=1)]))
    assert len(alive) == 1


def test_what_a_network_sees_is_padded_in_its_own_dtype(wan, cache):
    model = model_of("wan", wan[0], SAMPLER, text_dtype="bfloat16", max_tokens=24)
    model.load("cpu")
    texts = ["a cat", "two dogs by a lake"]
    model._engine.embed(texts)
    seen = model._engine._texts(texts, torch.float32)
    assert seen.dtype == torch.float32 and seen.shape == (2, 24, 32)
    stored = TextCache(model.text_encoder().identity())
    for row, text in zip(seen, texts, strict=True):
        kept = stored.read(text)
        assert kept.dtype == torch.bfloat16 and 0 < len(kept) < 24
        assert (row[: len(kept)] == kept.float()).all() and not row[len(kept) :].any()
