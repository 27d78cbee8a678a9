"The shallow autoencoders of the background experiment: arms, pairing, held-out images, resuming, the command."
from pathlib import Path
import re
import pytest
from aepretrain_nb.imports import *
from aepretrain_nb.cli import main
from aepretrain_nb.compare import compare
from aepretrain_nb.data.corrupt import corruption
from aepretrain_nb.data.loader import ImageDL
from aepretrain_nb.data.sets import ImageSet, generator
from aepretrain_nb.data.splits import Splits
from aepretrain_nb.data.named import dataset
from aepretrain_nb.experiment import pretrain
from aepretrain_nb.experiment.plan import plan
from aepretrain_nb.experiment.recipe import merged
from aepretrain_nb.experiment.build import build_autoencoder
from aepretrain_nb.experiment.carry import carry_out
from aepretrain_nb.experiment.run import stream
from aepretrain_nb.experiment.kinds import ExperimentError
from aepretrain_nb.experiment.seen import held_out
from aepretrain_nb.nets.loss import recon_error
from aepretrain_nb.nets.filters import measure_filters
from aepretrain_nb.answers.rows import recorded
from aepretrain_nb.papers.kohlbrenner_background import *

DIGITS = dataset('digits')
KEY = '62920eab12613b37df75'
RESULTS = Path(__file__).parents[1]/'results'

R = recipe('smoke')

def run(folder, seeds=2, **kw): return compare(DIGITS, seeds=seeds, recipe=R, store=folder, progress=False, **kw)
def of(arm, seed=0, lr=.5): return plan(DIGITS, merged(R, dict(pretrain=dict(lr=lr))), [arm], seeds=[seed])[0]

@pytest.fixture(scope='module')
def smoke(tmp_path_factory): return run(tmp_path_factory.mktemp('background')/'s')

@pytest.mark.parametrize('c,h,w', [(1,28,28), (3,32,32), (1,9,13), (2,1,8)])
@pytest.mark.parametrize('pool', [None, 'max'])
def test_any_size(c, h, w, pool):
    ae = shallow_cae(c, h, w, generator('t'), pool=pool)
    assert ae(torch.rand(2,c,h,w)).shape==(2,c,h,w) and conv_filters(ae).shape==(20,c,7,7)

def test_the_arms_are_those_of_the_paper():
    steps = {s.arm: s for s in plan(DIGITS, R, seeds=1)}
    got = {a: ((s.fit.get('corrupt') or {}).get('p', 0), s.net['encoder']['pool'])
        for a,s in steps.items() if a!='random'}
    assert got==dict(plain=(0,None), noise=(.5,None), pool=(0,'max'), noise_pool=(.3,'max'))

@pytest.mark.parametrize('setting', SETTINGS)
def test_recipes_are_plain_json(setting): assert json.loads(json.dumps(recipe(setting)))==recipe(setting)

def test_keys_are_pinned():
    z = lambda n: ImageSet(torch.zeros(n,1,8,8,dtype=torch.uint8))
    step, = plan(Splits('none', z(10), z(2)), recipe('quick', pretrain=dict(lr=2.)), ['noise_pool'], seeds=1)
    assert step.key==KEY

def test_held_out_images_are_not_trained_on(monkeypatch):
    seen = []
    monkeypatch.setattr(pretrain, 'stream',
        lambda step,train,valid,*a,**kw: (seen.extend([train, valid]), stream(step, train, valid, *a, **kw))[1])
    t = of('plain', 3)
    carry_out(t, DIGITS)
    x = lambda ds: sorted(map(bytes, ds.x.flatten(1).numpy()))
    assert len(seen[0])==t.data['n']==1038 and sorted(x(seen[0])+x(held_out(t, DIGITS)))==x(DIGITS.unlabelled)

def test_arms_are_paired_and_the_target_is_clean():
    for s in (0,1):
        start = [conv_filters(build_autoencoder(of(a, s), DIGITS)) for a in ARMS]
        for w in start: np.testing.assert_array_equal(w, start[0])
    ae = shallow_cae(1, 8, 8, generator('t'))
    x,noise = ImageDL(DIGITS.test, 500, target='x'),corruption(dict(kind='masking', p=.5))
    fed = noise(torch.ones(500,1,8,8), generator('no'))
    assert recon_error(ae, x)!=recon_error(ae, x.new(corrupt=noise)) and 0<fed.mean()<1

def test_rows(smoke):
    rows = smoke.rows
    assert not rows.duplicated(['arm','encoder_seed']).any() and len(rows)==10 and set(rows.reading)=={'fair'}
    assert set(rows.setting)=={'smoke'}
    trained = rows[rows.arm!='random']
    assert trained.lr.isin(SETTINGS['smoke']['lr']).all() and (trained.groupby('arm').lr.nunique()==1).all()
    assert rows.key.nunique()==10
    assert np.isfinite(rows[['value','valid','localisation','spread','smoothness','weight_sd','points']].values).all()
    assert set(rows.metric)=={'mse'} and set(rows.better)=={'lower'}
    pool = next(s for s in smoke.steps if s.arm=='pool' and s.seeds['encoder']==1)
    w = conv_filters(smoke.store.net(pool, DIGITS))
    assert math.isclose(rows[rows.key==pool.key].weight_sd.item(), w.std(), rel_tol=1e-6)

def test_a_rate_is_chosen_by_held_out_images_only(smoke, tmp_path, monkeypatch):
    "Other test images, of the same digest, move the values, not the rates"
    other = Splits(DIGITS.name, DIGITS.train, DIGITS.test.take(list(range(250))), DIGITS.unlabelled)
    for k,v in dict(digest=DIGITS.digest, content=DIGITS.content, fresh=lambda self: DIGITS.digest).items():
        monkeypatch.setattr(Splits, k, v)
    res = compare(other, seeds=2, recipe=R, store=tmp_path/'s', progress=False)
    assert res.rows.lr.equals(smoke.rows.lr) and res.rows.valid.equals(smoke.rows.valid)
    assert not res.rows.value.equals(smoke.rows.value)

def test_what_is_finished_is_not_run_again(smoke):
    written = lambda: {f.name: f.stat().st_mtime_ns for f in (smoke.store.path/'steps').iterdir()}
    before = written()
    pd.testing.assert_frame_equal(run(smoke.store.path).rows, smoke.rows)
    assert len(before)>4 and written()==before

def test_filters_are_written(smoke, tmp_path):
    save_filters(tmp_path/'f.npz', smoke)
    ws = np.load(tmp_path/'f.npz')
    assert list(ws)==[f'digits.{a}' for a in ARMS] and ws['digits.pool'].shape==(20,1,7,7)

@pytest.mark.slow
def test_the_command(tmp_path, capsys):
    assert main(['compare', 'digits', '--recipe', 'aepretrain_nb.papers.kohlbrenner_background:recipe', '--setting',
        'smoke', '--seeds', '1', '--out', str(tmp_path/'s')])==0
    assert pd.read_csv(tmp_path/'s'/'results.csv').arm.tolist()==['random', *ARMS]
    assert 'squared error' in capsys.readouterr().out and 'squared error' in (tmp_path/'s'/'report.html').read_text()

@pytest.mark.parametrize('setting,say', [('big', "unknown setting 'big'"), ('smok', "did you mean 'smoke'")])
def test_an_unknown_setting_is_one_line(setting, say):
    with pytest.raises(ExperimentError, match=re.escape(say)) as e: recipe(setting)
    assert '\n' not in str(e.value)

RECORD = recorded('kohlbrenner').query("recipe=='kohlbrenner_background'")

def test_the_record_is_whole():
    cells = RECORD.groupby(['data','arm']).encoder_seed
    assert not RECORD.revision.str.contains('dirty').any() and set(RECORD.reading)=={'fair'} and RECORD.key.is_unique
    assert set(RECORD.arm)=={'random', *ARMS} and (cells.nunique()==3).all() and (cells.size()==3).all()
    assert (RECORD[RECORD.arm!='random'].groupby(['data','arm']).lr.nunique()==1).all()

def test_the_recorded_filters_give_the_recorded_measures():
    ws = np.load(RESULTS/'kohlbrenner_background_filters.npz')
    rows = RECORD[(RECORD.encoder_seed==0) & (RECORD.arm!='random')]
    assert set(ws)==set(rows.data+'.'+rows.arm)
    for r in rows.itertuples():
        got = measure_filters(ws[f'{r.data}.{r.arm}']).median()
        np.testing.assert_allclose([got.localisation, got.spread, got.smoothness],
            [r.localisation, r.spread, r.smoothness], rtol=.01, atol=.005)
