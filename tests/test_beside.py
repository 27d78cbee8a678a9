"Several methods of pre-training beside each other: each arm does what it would do alone, and each is judged."
import pytest
from aepretrain_nb.answers.report import report
from aepretrain_nb.compare import compare
from aepretrain_nb.data.named import dataset
from aepretrain_nb.experiment.chosen import chosen
from aepretrain_nb.experiment.kinds import ExperimentError
from aepretrain_nb.experiment.methods import with_method, with_methods
from aepretrain_nb.experiment.plan import Plan
from aepretrain_nb.experiment.recipe import find_recipe, merged
from aepretrain_nb.experiment.step import chain

pytestmark = pytest.mark.usefixtures('no_pictures')

digits = dataset('digits')
shape = digits.train.shape
SEVERAL = merged(find_recipe('default', 'smoke', 'digits', controls='all'), dict(pretrain=dict(steps=4, evals=2, bs=16),
    finetune=dict(steps=4, evals=2, bs=16), seeds=dict(n=1), labels=dict(n=[40])))
APART = 'plain', 'denoising', 'skips', 'masked', 'sparse', 'joint'

def keys_of(recipe, arm): return [s.key for s in chain(Plan(digits, recipe, [arm]).steps()[0])]

@pytest.mark.parametrize('name', APART)
def test_an_arm_beside_others_does_what_it_does_alone(name):
    "Autoencoder and net alike; the random starts are those of the recipe, whatever stands beside them"
    other = next(o for o in APART if o!=name)
    both,alone = with_methods(SEVERAL, [name, other], shape),with_method(SEVERAL, name, shape)
    own = name if name=='joint' else 'pretrained'
    mine,theirs = (chain(Plan(digits, r, [a]).steps()[0]) for r,a in ((both, name), (alone, own)))
    assert [(s.do, s.net, s.fit, s.data, s.seeds) for s in mine]==[(s.do, s.net, s.fit, s.data, s.seeds)
        for s in theirs]
    for arm in ('random', 'random_longer', 'frozen_random'): assert keys_of(both, arm)==keys_of(SEVERAL, arm)

def test_methods_beside_each_other_run_and_each_is_judged(tmp_path):
    one = merged(SEVERAL, dict(seeds=dict(n=2)))
    res = compare('digits', recipe=one, method='sparse, masked,joint', store=tmp_path, progress=False)
    assert res.arms==['sparse', 'sparse_frozen', 'masked', 'masked_frozen', 'joint', 'random', 'random_longer',
        'frozen_random']
    assert dict(zip(res.rows.arm, res.rows.encoder))['joint']=='joint'
    t = res.gains()
    assert t.treatment.tolist()==res.arms[:5] and t.control.isin(res.arms[5:]).all() and (t.family<=5).all()
    assert 'each against its best random start' in res.text() and '--method sparse,masked,joint' in res.told('command')
    assert 'Each arm that was pre-trained' in report(res, tmp_path).read_text(encoding='utf-8')

@pytest.mark.parametrize('methods,say',
    [('masked,masked', 'none twice'), ('masked,', 'unknown method'), ([], 'at least one'),
    ('masked,skip', "did you mean 'skips'"), ('masked,tied', '^method tied: ')])
def test_methods_that_cannot_stand_beside_each_other_are_told_in_a_line(methods, say):
    with pytest.raises(ExperimentError, match=say) as e: chosen(SEVERAL, shape, method=methods)
    assert '\n' not in str(e.value)

@pytest.mark.parametrize('method', ['joint', 'stacked', 'plain,stacked'])
def test_one_method_and_several_are_repeated_by_a_command(method, tmp_path):
    "The command makes the same folder again: it is accepted there, and nothing is left to do"
    quick = dict(recipe=SEVERAL, arms=['random'], labels=40, seeds=1, store=tmp_path, progress=False)
    first = compare('digits', method=method, **quick)
    assert f'--method {method} ' in first.told('command') and 'images.norm' not in first.told('command')
    assert len(compare('digits', method=method, **quick).rows)==1
    with pytest.raises(ExperimentError, match='differs in arms'): compare('digits', method='masked', **quick)
