"Arms in words: what recipes of the core and of papers have, and odd ones of a user."
import pytest
from aepretrain_nb.experiment.default import default_recipe
from aepretrain_nb.experiment.told import in_words

@pytest.mark.parametrize('spec,said', [
    (dict(steps=['classify']), 'Starts from random weights; then all weights learn from the labels.'),
    (dict(steps=['reconstruct', 'knn']), 'nearest labelled neighbours'),
    (dict(steps=['classify'], start='a file'), 'Starts from the weights of a file;'),
    (dict(steps=['classify'], change=dict(encoder=dict(init=dict(dist='normal', std=.2)))),
    'a normal distribution of deviation 0.2'),
    (dict(steps=['reconstruct', 'classify'], change=dict(images=dict(n=1000), pretrain=dict(corrupt=None))),
    'on 1,000 images without labels;'),
    (dict(steps=['reconstruct', 'classify'], change=dict(pretrain=dict(corrupt=dict(kind='gaussian')))),
    'takes off noise (gaussian)'),
    (dict(steps=['my.module:ALL_LAYERS', 'phase', dict(do='redraw')]), 'Goes through all layers, phase; then redraw.'),
    (dict(steps=['classify'], change=dict(finetune=dict(lr=1, bs=2, steps=3, evals=4), decoder=None)),
        '(with finetune.lr = 1, finetune.bs = 2, finetune.steps = 3 and 2 more settings of its own)'),
    ({}, 'Starts from random weights')])
def test_a_sentence_for_each(spec, said):
    told = in_words(spec, default_recipe('quick'))
    assert said in told and told.endswith('.') and '\n' not in told
