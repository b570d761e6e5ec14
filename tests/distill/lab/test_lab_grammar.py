import pytest

from rcm_distill.lab.grammar import (
    MAX_WORDS,
    NULL,
    PAD,
    RELATIONS,
    TASKS,
    VOCAB,
    VOCAB_SIZE,
    all_prompts,
    encode,
    parse,
    prompt_set,
)

SIZES = {
    "single_object": 8,
    "two_object": 56,
    "counting": 24,
    "colors": 80,
    "position": 224,
    "color_attr": 5040,
}


@pytest.mark.parametrize("task", TASKS)
def test_every_prompt_is_distinct_and_parses_back(task):
    prompts = all_prompts(task)
    assert len(prompts) == SIZES[task] == len({prompt.text for prompt in prompts})
    assert all(parse(prompt.text) == prompt and prompt.task == task for prompt in prompts)


def test_every_prompt_encodes_word_by_word():
    prompts = [prompt for task in TASKS for prompt in all_prompts(task)]
    tokens = encode([prompt.text for prompt in prompts])
    assert tokens.shape == (len(prompts), MAX_WORDS)
    for row, prompt in zip(tokens.tolist(), prompts, strict=True):
        words = [VOCAB[token] for token in row if token != PAD]
        assert " ".join(words) == prompt.text
        assert row[len(words) :] == [PAD] * (MAX_WORDS - len(words))
    assert len(set(map(tuple, tokens.tolist()))) == len(prompts)
    assert NULL == VOCAB_SIZE == len(set(VOCAB))


def test_metadata_is_genevals():
    expected = {
        "a photo of a moon": {
            "tag": "single_object",
            "include": [{"class": "moon", "count": 1}],
            "prompt": "a photo of a moon",
        },
        "a photo of three crosses": {
            "tag": "counting",
            "include": [{"class": "cross", "count": 3}],
            "exclude": [{"class": "cross", "count": 4}],
            "prompt": "a photo of three crosses",
        },
        "a photo of an orange heart": {
            "tag": "colors",
            "include": [{"class": "heart", "count": 1, "color": "orange"}],
            "prompt": "a photo of an orange heart",
        },
        "a photo of a circle left of a square": {
            "tag": "position",
            "include": [
                {"class": "square", "count": 1},
                {"class": "circle", "count": 1, "position": ["left of", 0]},
            ],
            "prompt": "a photo of a circle left of a square",
        },
        "a photo of a red star and an orange ring": {
            "tag": "color_attr",
            "include": [
                {"class": "star", "count": 1, "color": "red"},
                {"class": "ring", "count": 1, "color": "orange"},
            ],
            "prompt": "a photo of a red star and an orange ring",
        },
    }
    for text, metadata in expected.items():
        assert parse(text).metadata() == metadata
        assert list(parse(text).metadata()) == list(metadata)


def test_pairs_differ_in_shape_and_in_given_colour():
    for task in ("two_object", "position", "color_attr"):
        for prompt in all_prompts(task):
            a, b = prompt.include
            assert a.name != b.name
            assert a.color is None or a.color != b.color
    relations = [prompt.include[1].position[0] for prompt in all_prompts("position")]
    assert {relation: relations.count(relation) for relation in RELATIONS} == dict.fromkeys(
        RELATIONS, 56
    )


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a photo of a cirle", "unknown word 'cirle'. Did you mean 'circle'?"),
        ("a photo of an circle", "Did you mean 'a photo of a circle'?"),
        ("a photo of two crosss", "unknown word 'crosss'. Did you mean 'cross"),
        ("", "expected a sentence of the grammar, got ''"),
        ("a photo of a red star and a red ring", "expected a sentence of the grammar"),
        ("a photo of <pad>", "unknown word '<pad>'"),
    ],
)
def test_wrong_sentences_are_refused_by_name(text, message):
    with pytest.raises(ValueError, match="unknown word|expected a sentence") as caught:
        parse(text)
    assert message in str(caught.value)


def test_encode_takes_known_words_in_any_order_but_no_more_than_fit():
    assert encode(["red red star"])[0, :3].tolist() == [
        VOCAB.index(w) for w in ["red", "red", "star"]
    ]
    assert encode([]).shape == (0, MAX_WORDS)
    with pytest.raises(ValueError, match="at most 12 words, got 13"):
        encode(["a " * 13])
    with pytest.raises(ValueError, match="'blu'. Did you mean 'blue'"):
        encode(["a photo of a star", "a blu star"])


def test_prompt_set_is_stratified_nested_and_deterministic(seed):
    small, large = prompt_set(10, seed), prompt_set(30, seed)
    assert small == prompt_set(10, seed)
    assert small != prompt_set(10, seed + 1)
    for task in TASKS:
        few = [prompt for prompt in small if prompt.task == task]
        many = [prompt for prompt in large if prompt.task == task]
        assert len(few) == min(10, SIZES[task])
        assert len(many) == min(30, SIZES[task]) == len({prompt.text for prompt in many})
        assert many[: len(few)] == few
    assert [prompt.task for prompt in small] == sorted((p.task for p in small), key=TASKS.index)
    with pytest.raises(ValueError, match="per_task must be at least 1, got 0"):
        prompt_set(0)


def test_unknown_task_is_refused():
    with pytest.raises(ValueError, match="got 'colours'"):
        all_prompts("colours")
