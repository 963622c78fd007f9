"""Language models and their text."""

import torch

from pytorch_lightning.demos import (
    LightningLSTM,
    LightningTransformer,
    SequenceSampler,
    SimpleLSTM,
    Transformer,
    WikiText2,
)


def test_text(tmp_path):
    (tmp_path / "wiki.train.tokens").write_text("a b a c b a d")
    text = WikiText2(tmp_path, block_size=3)
    assert text.vocab_size == 4
    assert [[x.tolist() for x in pair] for pair in (text[0], text[1])] == [
        [[0, 1, 0], [1, 0, 2]],
        [[2, 1, 0], [1, 0, 3]],
    ]
    assert len(text) == 2


def test_the_text_that_python_brings_along(tmp_path):
    text = WikiText2(tmp_path)
    assert text.vocab_size > 1000
    assert len(text) > 100
    inputs, target = text[len(text) - 1]
    assert len(inputs) == len(target) == 35
    assert torch.equal(inputs[1:], target[:-1])


def test_sequence_sampler():
    sampler = SequenceSampler(range(11), 3)
    assert list(sampler) == [[0, 3, 6], [1, 4, 7], [2, 5, 8]]
    assert len(sampler) == 3


def test_lstm_keeps_its_state_and_its_graph_apart():
    model = SimpleLSTM(20, 8, 8, 2)
    words = torch.randint(0, 20, (5, 4))
    output, _ = model(words, model.init_hidden(5))
    assert output.shape == (20, 20)
    assert torch.allclose(output.exp().sum(-1), torch.ones(20))
    lit = LightningLSTM(20)
    lit.model = model
    lit.training_step((words, words), 0).backward()
    lit.training_step((words, words), 1).backward()
    assert lit.hidden[0].shape == (2, 5, 8)
    lit.on_train_epoch_end()
    assert lit.hidden is None


def test_transformer_does_not_look_ahead():
    torch.manual_seed(1)
    model = Transformer(20, 8, 2, 8, 1).eval()
    words = torch.randint(0, 20, (1, 4))
    target = words.clone()
    before = model(words, target)
    target[0, 3] = (target[0, 3] + 1) % 20
    after = model(words, target)
    assert before.shape == (4, 20)
    assert torch.allclose(before[:3], after[:3])
    assert not torch.allclose(before[3], after[3])


def test_transformer_module():
    model = LightningTransformer(20)
    words = torch.randint(0, 20, (2, 4))
    assert model.training_step((words, words), 0).shape == ()
    assert model.configure_optimizers().param_groups[0]["lr"] == 0.1
