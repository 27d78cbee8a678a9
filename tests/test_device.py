"Every kind of step keeps its tensors on the device where it runs: tried on one that is pretended."
import pytest, torch
from pretended import DEVICE, pretended
from aepretrain_nb.data.named import dataset
from aepretrain_nb.data.splits import Splits
from aepretrain_nb.experiment.carry import brief, carry_out
from aepretrain_nb.experiment.plan import Plan
from aepretrain_nb.experiment.recipe import find_recipe
from aepretrain_nb.experiment.step import chain

digits = dataset('digits')
images = Splits('digits', digits.train.take(range(20)), digits.test.take(range(6)))

def papers(name, arms=None, **kw): return find_recipe(f'aepretrain_nb.papers.{name}:recipe', 'smoke', **kw),arms
def alone(): return papers('kohlbrenner')[0] | dict(arms=dict(alone=dict(steps=['reconstruct']))),None

CASES = {
    'kohlbrenner': lambda: papers('kohlbrenner', ['pretrained', 'random_default']),
    'an autoencoder alone': alone,
    'dong': lambda: papers('dong', ['skips', 'random_default']),
    'redrawn': lambda: papers('dong', ['skips_conv1'], study='redrawn'),
    'a layer read': lambda: papers('dong', ['skips_conv1'], study='linear'),
    'neighbours': lambda: papers('dong', ['skips_conv1'], study='neighbours'),
    'heads': lambda: papers('barletta', ['plain', 'random'], study='frozen'),
    'phases': lambda: papers('kalmanovich', study='figure3', data='digits'),
    'phases of convolutions': lambda: papers('kalmanovich', ['gradual'], study='conv', data='digits'),
    'fits after phases': lambda: papers('kalmanovich', study='conv_fits', data='digits'),
    'zhang': lambda: papers('zhang', ['SWWAE-all', 'SAE-layerwise']),
    'default': lambda: (find_recipe('default', 'smoke', 'digits'), None)}

def test_sides_that_mix_raise():
    with pretended():
        there = torch.ones(2, device=DEVICE)
        assert there.device==DEVICE and (2*there).to('cpu').device.type=='cpu'
        for f in (lambda: there+torch.ones(2), lambda: torch.ones(3)[there.long()], lambda: there.numpy()):
            with pytest.raises((RuntimeError, TypeError)): f()
    assert there.device.type=='cpu'

@pytest.mark.parametrize('case', CASES)
def test_a_step_stays_on_its_device(case):
    recipe,arms = CASES[case]()
    known = {}
    for fit in Plan(digits, recipe, arms, seeds=1).steps():
        for step in chain(brief(fit, n=4, judged=2)):
            if step.key in known: continue
            weights = [(known[o.step.key], o.names) for o in step.start]
            with pretended(): net,_ = carry_out(step, images, weights, DEVICE)
            known[step.key] = {k: v.detach().clone() for k,v in net.state_dict().items()}
    assert known
