"The mean over ten windows: what a test scores, what predict gives, and where it has no place."
from types import SimpleNamespace
from aepretrain_nb.imports import *
import pytest
from torchvision.transforms import TenCrop  # after the package, which sees that it can be imported
from aepretrain_nb.compare import compare
from aepretrain_nb.data.named import dataset
from aepretrain_nb.data.sets import ImageSet
from aepretrain_nb.data.splits import Splits
from aepretrain_nb.experiment.carry import carry_out
from aepretrain_nb.experiment.default import default_recipe
from aepretrain_nb.experiment.fitted import fitted
from aepretrain_nb.experiment.plan import Plan
from aepretrain_nb.experiment.recipe import check_fit, merged
from aepretrain_nb.experiment.finetune import ten_windows
from aepretrain_nb.train.task import task_of

digits = dataset('digits')
def several(o): return ImageSet(o.x, torch.stack([o.y%2, o.y//5, 1-o.y%3%2], 1), layout='nchw')
DATA = {'classify': digits, 'multi-label': Splits('several', several(digits.train), several(digits.test))}
OWN = dict(images=dict(augment=dict(size=7)), labels=dict(n=[60], policy='uniform'), seeds=dict(n=1),
    finetune=dict(steps=12, evals=1, lr=.01))
RECIPE = merged(default_recipe('smoke', 'digits') | dict(arms=dict(random=dict(steps=['classify']))), OWN)

def over_torchvisions(net, norm, images):
    mean,sd = norm or (0, 1)
    with torch.no_grad(): return torch.stack([net.eval()(o) for o in TenCrop(7)((images.x/255-mean)/sd)]).mean(0)

@pytest.mark.parametrize('task', DATA)
def test_a_test_scores_the_mean_over_torchvisions_windows(task):
    values,splits = {},DATA[task]
    for ten in (False, True):
        step, = Plan(splits, merged(RECIPE, dict(finetune=dict(ten_crops=ten)))).steps()
        net,res = carry_out(step, splits)
        values[ten] = res['value']
    tally = task_of(task).tally()
    tally.add(over_torchvisions(net, step.data.get('norm'), splits.test), splits.test.y)
    assert values[True]==pytest.approx(tally.scores()[task_of(task).primary], abs=.01) and values[True]!=values[False]

def test_predict_tells_what_the_test_scored(tmp_path):
    r = merged(RECIPE, dict(finetune=dict(ten_crops=True)))
    res = compare(digits, recipe=r, store=tmp_path/'s', progress=False, keep='all')
    one = fitted(tmp_path/'s')
    right = (one.logits(digits.test).argmax(1)==digits.test.y).float().mean()
    assert 100*right==pytest.approx(res.rows.value.item(), abs=.01)

def test_ten_crops_where_they_have_no_place():
    step = lambda task, **a: SimpleNamespace(fit=dict(ten_crops=True), data=dict(task=task, augment=a or None))
    with pytest.raises(ValueError, match='a mask has a place'): ten_windows(step('segment'), (3, 8, 8))
    with pytest.raises(ValueError, match='cannot cut 9x9'): ten_windows(step('classify', stride=4, crop=1), (3, 8, 8))
    for part in ('pretrain', 'probe'):
        with pytest.raises(ValueError, match=f'{part}.ten_crops'): check_fit(part, dict(ten_crops=True))
    assert ten_windows(step('classify', stride=32), (3, 256, 256))==(225, 225)
