"""What a reviewer of the code found: steps on a device that go through the store, batches under autocast, warnings
after an interruption, streams that were not seeded, losses that are no number, draws of the test that remember"""
import os, random, warnings
import numpy as np, pandas as pd, pytest, torch
from PIL import Image
from sklearn.metrics import f1_score
from torch import nn
from pretended import DEVICE, pretended
from aepretrain_nb.cli import main
from aepretrain_nb.data import decoded
from aepretrain_nb.data.arrays import DataError
from aepretrain_nb.data.augment import augmentation
from aepretrain_nb.data.ground import write_whole
from aepretrain_nb.data.labels import label_subset
from aepretrain_nb.data.listing import list_folder
from aepretrain_nb.data.loader import ImageDL, image_dls
from aepretrain_nb.data.named import dataset
from aepretrain_nb.data.own import read_own
from aepretrain_nb.data.sets import ImageSet
from aepretrain_nb.data.splits import Splits
from aepretrain_nb.experiment.carry import brief
from aepretrain_nb.experiment.finetune import preferred
from aepretrain_nb.experiment.grid import Progress
from aepretrain_nb.experiment.plan import Plan
from aepretrain_nb.experiment.recipe import find_recipe
from aepretrain_nb.experiment.run import alone
from aepretrain_nb.experiment.step import chain
from aepretrain_nb.experiment.store import Store
from aepretrain_nb.experiment.work import data_ref, work
from aepretrain_nb.train.heads import fit_heads
from aepretrain_nb.train.one_head import HeadJob
from aepretrain_nb.train.scores import confusion_counts, count_scores
from aepretrain_nb.train.search import or_last

digits = dataset('digits')
images = Splits('some', digits.train.take(range(60)), digits.test.take(range(20)))

# Devices

def test_an_arm_whose_twin_has_run_goes_on_where_it_runs(tmp_path):
    recipe = find_recipe('default', 'smoke', 'digits')
    fit = brief(Plan(images, recipe, ['random'], labels=[20], seeds=1).steps()[0], n=4, judged=2)
    store = Store(tmp_path/'s')
    store.adopt(images, recipe)
    store.fits,refs = 'best',[data_ref(images, store)]
    with pretended():
        for step in (*chain(fit)[:-1], fit.twin, fit):
            assert work(step, store, refs, DEVICE, keep=True)=='done', store.why(step)

def test_heads_take_classes_from_another_device():
    x,y = torch.rand(20, 4),torch.arange(20)%2
    with pretended():
        found = fit_heads(x.to(DEVICE), y, [HeadJob(idx=torch.arange(20), seed=0, lr=.1, steps=2)], k=2, bs=4)
    assert len(found)==1

def test_a_device_is_known_by_its_whole_name():
    assert ImageDL(images.train, 4, device='cpu').device==torch.empty(0).device

# Batches

@pytest.mark.parametrize('augment', [None, dict(crop=1, flip=True), dict(resized=(.5, 1.))])
def test_batches_under_autocast_are_those_without(augment):
    def batches(on):
        dl = image_dls(images.train, None, 8, target='x', norm=(.3, .4), norm_target=True, steps=2, seed=0,
            augment=augmentation(augment)).train
        with torch.autocast('cpu', torch.bfloat16, enabled=on): return list(dl)
    for (x,y),(a,b) in zip(batches(True), batches(False)):
        assert x.dtype==y.dtype==torch.float32 and torch.equal(x, a) and torch.equal(y, b)

def test_input_and_target_are_two_tensors():
    x,y = image_dls(images.train, None, 8, target='x', steps=1).train.one_batch()
    x.zero_()
    assert y.abs().sum()>0

# Streams

def test_a_step_has_streams_of_its_own_for_numpy_and_python_too():
    def drawn():
        with alone('a step'): return torch.rand(1).item(),np.random.rand(),random.random()
    np.random.seed(1); random.seed(1)
    first,outside = drawn(),(np.random.rand(),random.random())
    np.random.seed(1); random.seed(1)
    assert (np.random.rand(),random.random())==outside and drawn()==first

class Interrupted(list):
    "Rows that are interrupted as the second of them is asked for, once they have been looked through"
    looked = False
    def __iter__(self):
        for i,o in enumerate(super().__iter__()):
            if self.looked and i==1: raise KeyboardInterrupt
            yield o
        self.looked = True

def test_warnings_are_heard_after_an_interrupted_reading(tmp_path):
    for i in range(4): Image.new('L', (4, 4), i).save(tmp_path/f'{i}.png')
    found,before = list_folder(tmp_path, labelled=False),list(warnings.filters)
    with pytest.raises(KeyboardInterrupt) as kept: decoded.read_headers(found, Interrupted(decoded.stamps(found)))
    assert warnings.filters==before and kept.tb

# Choices

def test_a_loss_that_is_no_number_is_never_preferred():
    assert or_last(float('nan'))==float('inf') and or_last(None)==0. and or_last(.3)==.3
    fit = Plan(images, find_recipe('default', 'smoke', 'digits'), ['random'], labels=[20], seeds=1).steps()[0]
    tries = [dict(valid=50., valid_loss=float('nan')), dict(valid=50., valid_loss=.3)]
    assert preferred(tries, fit) is tries[1] and preferred(tries[::-1], fit) is tries[1]

def test_f1_is_that_of_scikit_learn_where_an_answer_names_an_absent_class():
    true,told = torch.tensor([0, 0, 0, 1, 1, 1]),torch.tensor([0, 0, 2, 1, 1, 2])
    found = count_scores(confusion_counts(true, told, 4))
    assert found['f1']==pytest.approx(100*f1_score(true, told, average='macro'), abs=1e-3)
    assert found['balanced']==pytest.approx(200/3, abs=1e-3)

# Draws of the test

def test_an_earlier_draw_is_told_where_another_would_be_made(tmp_path):
    def more(names):
        for i in names: Image.fromarray(np.full((4, 4), 3*i, np.uint8)).save(tmp_path/'own'/'ab'[i%2]/f'{i:02}.png')
    for c in 'ab': (tmp_path/'own'/c).mkdir(parents=True)
    more(range(30))
    def notes(cache): return [o for o in read_own(tmp_path/'own', cache=cache).account.notes if 'earlier draw' in o]
    assert notes(tmp_path/'old')==[]
    more(range(30, 60))
    told, = notes(tmp_path/'old')
    assert 'a new cache draws otherwise' in told and str(tmp_path/'old') in told
    assert notes(tmp_path/'new')==[]

# Small things

def test_minutes_end_at_sixty_seconds():
    fit = Plan(images, find_recipe('default', 'smoke', 'digits'), ['random'], labels=[20], seeds=1).steps()[0]
    say = Progress([fit])
    say.spent[fit.do] = 119.7,1
    assert say.eta()=='2 min 0 s left'

def test_a_number_of_labels_is_needed_but_for_folds():
    with pytest.raises(DataError, match='n is None: stratified needs a number'): label_subset(digits.train.y, None, 0)

def test_a_long_name_is_written(tmp_path):
    path = tmp_path/('a'*240+'.csv')
    write_whole(path, lambda f: f.write_text('x'))
    assert path.read_text()=='x'

@pytest.mark.parametrize('switch', ['', '1'])
def test_an_error_of_no_kind_of_ours_says_where_to_look(switch, monkeypatch, capsys, tmp_path):
    monkeypatch.setenv('AEPRETRAIN_TRACEBACK', switch)
    def broken(*a, **kw): raise ValueError('cannot reshape')
    monkeypatch.setattr('aepretrain_nb.answers.report.report', broken)
    monkeypatch.setattr('aepretrain_nb.compare.read_results', broken)
    assert main(['report', str(tmp_path)])==2
    said = capsys.readouterr().err
    assert ('Traceback' in said)==bool(switch) and ('AEPRETRAIN_TRACEBACK=1 shows where' in said)==(not switch)

def test_what_failed_keeps_its_traceback(tmp_path):
    recipe = find_recipe('default', 'smoke', 'digits')
    fit = brief(Plan(images, recipe, ['random'], labels=[20], seeds=1).steps()[0], n=4, judged=2)
    store = Store(tmp_path/'s')
    store.adopt(images, recipe)
    refs = [data_ref(images, store)]
    def broken(*a, **kw): raise RuntimeError('no such kernel')
    with pytest.MonkeyPatch.context() as m:
        m.setattr('aepretrain_nb.experiment.work.carry_out', broken)
        assert work(fit, store, refs)=='failed'
    assert 'in broken' in store.file('failed', fit.key).read_text()
