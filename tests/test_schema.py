"""Every setting there is can be set from Python, from the command line and in a recipe; what is misspelt or of the
wrong kind ends in one line."""
from dataclasses import fields
import pytest
from aepretrain_nb.cli import main
from aepretrain_nb.compare import compare
from aepretrain_nb.commands import setting_of, together
from aepretrain_nb.experiment.recipe import check_recipe, find_recipe, merged
from aepretrain_nb.experiment.schema import (Arm, Fit, Images, Labels, SECTIONS, Seeds, check_section, defaults,
    fields_of)
from aepretrain_nb.experiment.kinds import ExperimentError

smoke = find_recipe('kohlbrenner', 'smoke')

# A value other than the default for each field, as typed and as it is
GOOD = dict(
    fit=dict(opt='adam', lr=[.1, .2], tune='first', seek='outward', first_lr=.1, ties='smaller', bs=7, steps={'100': 5},
    epochs=3, partial=True, patience=2, evals=4,
        every=5, valid_bs=9, loss='bce', score='f1', reduction='sum_pixels', keep='last', momentum=.9, weight_decay=.01,
        fused=True, normalised_grad=True, clip=1.5,
        sparsity=.001, penalty='weights', corrupt={'kind': 'masking', 'p': .1}, norm_target=True, unlabelled=True,
        n_valid=30, checkpoints=[1, 'best'],
        plain_order=True, freeze=['encoder.'], dropout_on=True, score_train=True, k=3, precision='bf16',
        phase={'name': 'one', 'train': ['l1'], 'top': 'l1'},
        weight=2., schedule='one_cycle', least_gain=.01, masked=True, choose='noisy', layer='conv1', kind='knn',
        cells=2, ten_crops=True),
    images=dict(n=50, pick='rest', data='mnist', norm=[.1, .2], augment={'flip': True}, fold=[0, 5]),
    labels=dict(n=[10], policy='uniform', valid='extra', n_valid=5),
    seeds=dict(n=[3, 4], crossed=True, one_encoder='all'))
CLASSES = dict(fit=Fit, images=Images, labels=Labels, seeds=Seeds)
WRONG = {Fit: dict(opt=3, lr=-1, tune='never', seek='inward', first_lr=0, ties='larger', bs=0, steps=-2, epochs='two',
    partial=1, patience=.5, evals=0, every=0,
        valid_bs=0, loss=3, score='auc', reduction='sum', keep='worst', momentum=-.1, weight_decay='much', fused='yes',
        normalised_grad=1, clip=0, sparsity=0,
        penalty='bias', corrupt=.5, norm_target='no', unlabelled='no', n_valid=0, checkpoints=[0], plain_order=2,
        freeze='encoder.', dropout_on='on',
        score_train=1, k=0, precision='fp8', phase='first', weight=-1, schedule='cosine', least_gain=-.1, masked='yes',
        choose='test', layer=3, kind='tree', cells=0, ten_crops='no'),
    Images: dict(n=0, pick='best', data=3, norm=.5, augment='flips', fold=[1]),
    Labels: dict(n=0, policy=3, valid='no', n_valid=0),
    Seeds: dict(n=0, crossed=1, one_encoder='some')}

def section(part): return 'fit' if SECTIONS[part] is Fit else part
def typed(v): return str(v).replace("'", '"').replace('True', 'true') if not isinstance(v, str) else v

@pytest.mark.parametrize('part', SECTIONS)
def test_every_field_of_every_section_can_be_set_from_python_and_typed(part):
    good = GOOD[section(part)]
    assert set(good)=={f.name for f in fields(SECTIONS[part])}, 'a field without a value here'
    for k,v in good.items():
        check_section(part, {k: v}, SECTIONS[part])
        assert merged(smoke, {part: {k: v}})[part][k]==v
        assert together([setting_of(f'{part}.{k}={typed(v)}')])=={part: {k: v}}
        assert defaults(SECTIONS[part])[k]!=v

@pytest.mark.parametrize('part', SECTIONS)
def test_every_value_of_the_wrong_kind_is_refused_in_one_line(part):
    wrong = WRONG[SECTIONS[part]]
    assert set(wrong)=={f.name for f in fields(SECTIONS[part])}, 'a field without a wrong value here'
    for k,v in wrong.items():
        with pytest.raises(ExperimentError) as e: check_section(part, {k: v}, SECTIONS[part])
        assert str(e.value).startswith(f'{part}.{k} is {v!r}: ') and '\n' not in str(e.value)

MISSPELT = [(part, k, k[:-1]+'zz' if len(k)>2 else k+'zz')
    for part in ('images', 'labels', 'seeds', 'pretrain', 'finetune') for k in GOOD[section(part)]]

@pytest.mark.parametrize('part,name,wrong', [o for o in MISSPELT if len(o[1])>4])
def test_a_misspelt_field_is_answered_with_the_nearest(part, name, wrong):
    with pytest.raises(ExperimentError) as python: merged(smoke, {part: {wrong: 1}})
    with pytest.raises(ExperimentError) as file: check_recipe(smoke | {part: smoke.get(part, {}) | {wrong: 1}})
    for e in (python, file):
        assert f"{part} has no {wrong!r}; did you mean '{name}'?" in str(e.value) and '\n' not in str(e.value)

@pytest.mark.parametrize('words,say', [('finetune.weigth_decay=.1', "did you mean 'weight_decay'"),
    ('pretrain.reducton=mean', "did you mean 'reduction'"),
    ('labels.polcy=uniform', "did you mean 'policy'"), ('seeds.crosed=true', "did you mean 'crossed'"),
    ('images.augmnt={}', "did you mean 'augment'"),
    ('encoder.pool=code', "did you mean 'pools'"), ('head.dropuot=.1', "did you mean 'dropout'"),
    ('decoder.out_at=relu', "did you mean 'out_act'"),
    ('finetun.lr=.1', "did you mean 'finetune'"),
    ('finetune.weight_decay=-1', 'finetune.weight_decay is -1: a number from 0')])
def test_the_three_ends_say_the_same(words, say, tmp_path, monkeypatch, capsys):
    "Typed, given from Python, and written into a recipe"
    monkeypatch.chdir(tmp_path)
    (part,change), = setting_of(words).items()
    assert main(['compare', 'digits', '--recipe', 'kohlbrenner', '--setting', 'smoke', '--seeds', '1', '--set',
        words])==2
    line = capsys.readouterr().err
    with pytest.raises(ValueError) as python: check_recipe(find_recipe('kohlbrenner', 'smoke', **{part: change}))
    with pytest.raises(ValueError) as file:
        compare('digits', recipe=smoke | {part: smoke.get(part, {}) | change}, seeds=1,
            progress=False) if part in smoke else merged(smoke, {part: change})
    for told in (line.strip(), str(python.value), str(file.value)): assert say in told and '\n' not in told
    assert not list(tmp_path.iterdir())

def test_an_arm_that_cannot_be_followed_is_named():
    for arm,say in ((dict(step=['classify']), "arm 'a' has no 'step'; did you mean 'steps'"),
        (dict(steps=[]), "arm 'a'.steps is []: a list of steps"),
            (dict(change=dict(finetune=dict(lr=-1))), "arm 'a': finetune.lr is -1"),
            (dict(change=dict(finetun={})), "arm 'a': a kohlbrenner recipe has no 'finetun'")):
        with pytest.raises(ExperimentError) as e: check_recipe(smoke | dict(arms=dict(a=arm)))
        assert say in str(e.value) and '\n' not in str(e.value)
    assert {f.name for f in fields(Arm)}=={'steps', 'change', 'lr_of', 'start', 'columns'}

def test_settings_lists_every_field_with_its_meaning(capsys):
    t = fields_of(smoke)
    assert t.meaning.ne('').all() and not t.path.duplicated().any()
    want = {f'{part}.{f.name}' for part,cls in SECTIONS.items() if part in smoke for f in fields(cls)}
    assert want<=set(t.path) and {'encoder.width', 'decoder.out_act', 'head.dropout'}<=set(t.path)
    assert main(['settings', 'kohlbrenner'])==0
    said = capsys.readouterr().out
    assert all(p in said for p in t.path)
