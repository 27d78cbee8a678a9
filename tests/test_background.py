"The shallow autoencoders of the background experiment: arms, pairing, held-out images, resuming, the command."
from pathlib import Path
import pytest
from aepretrain_nb.imports import *
from aepretrain_nb.experiment import trial as core
from aepretrain_nb.data.sets import ImageSet, generator
from aepretrain_nb.data.splits import Splits
from aepretrain_nb.data.named import dataset
from aepretrain_nb.experiment.store import Store
from aepretrain_nb.nets.filters import measure_filters
from aepretrain_nb.answers.rows import recorded
from aepretrain_nb.papers.kohlbrenner_background import *

DIGITS = dataset('digits')
RESULTS = Path(__file__).parents[1]/'results'

@pytest.fixture(scope='module')
def smoke(tmp_path_factory):
    d = tmp_path_factory.mktemp('background')
    return background(DIGITS, 'smoke', 2, d, progress=False), d

@pytest.mark.parametrize('c,h,w', [(1,28,28), (3,32,32), (1,9,13), (2,1,8)])
@pytest.mark.parametrize('pool', [None, 'max'])
def test_any_size(c, h, w, pool):
    ae = shallow_cae(c, h, w, generator('t'), pool=pool)
    assert ae(torch.rand(2,c,h,w)).shape==(2,c,h,w) and conv_filters(ae).shape==(20,c,7,7)

def test_the_arms_are_those_of_the_paper():
    got = {a: ((recipe(a)['pretrain']['corrupt'] or {}).get('p', 0), recipe(a)['model']['pool']) for a in ARMS}
    assert got==dict(plain=(0,None), noise=(.5,None), pool=(0,'max'), noise_pool=(.3,'max'))

def test_recipes_are_plain_json():
    for a in ARMS: assert json.loads(json.dumps(recipe(a, 'paper')))==recipe(a, 'paper')

def test_keys_are_pinned():
    z = lambda n: ImageSet(torch.zeros(n,1,8,8,dtype=torch.uint8))
    assert background_trial(Splits('none', z(10), z(2)), 'noise_pool', 'quick').key=='e742271b96c6220f8475'

def test_held_out_images_are_not_trained_on(monkeypatch):
    t,seen = background_trial(DIGITS, 'plain', seed=3),[]
    stream = core._stream
    monkeypatch.setattr(core, '_stream', lambda trial,section,train,valid,*a,**kw: (seen.extend([train, valid]), stream(trial, section, train, valid, *a, **kw))[1])
    core.train_autoencoder(t, DIGITS)
    x = lambda ds: sorted(map(bytes, ds.x.flatten(1).numpy()))
    both = sorted(x(seen[0])+x(held_out(t, DIGITS)))
    assert len(seen[0])==t.n_unlabelled and both==x(DIGITS.unlabelled)

def test_arms_are_paired_and_the_target_is_clean(smoke):
    rows,d = smoke
    for s in (0,1):
        start = [conv_filters(core.build_autoencoder(background_trial(DIGITS, a, seed=s), DIGITS)) for a in ARMS]
        for w in start: np.testing.assert_array_equal(w, start[0])
    ae = shallow_cae(1, 8, 8, generator('t'))
    x,noise = DIGITS.test,core.corruption(dict(kind='masking', p=.5))
    fed = noise(torch.ones(500,1,8,8), generator('no'))
    assert recon_mse(ae, x)!=recon_mse(ae, x, noise) and 0<fed.mean()<1

def test_rows(smoke):
    rows,d = smoke
    assert not rows.duplicated(['arm','encoder_seed']).any() and len(rows)==10 and set(rows.reading)=={'fair'} and set(rows.setting)=={'smoke'}
    trained = rows[rows.arm!='random']
    assert trained.lr.isin(SETTINGS['smoke']['rates']).all() and (trained.groupby('arm').lr.nunique()==1).all() and rows.key.nunique()==10
    assert np.isfinite(rows[['value','valid','localisation','spread','smoothness','weight_sd','points','cosine']].values).all()
    w = conv_filters(load_trained(background_trial(DIGITS, 'pool', seed=1, lr=rows[rows.arm=='pool'].lr.iloc[0]), DIGITS, Store(d)))
    assert math.isclose(rows[(rows.arm=='pool') & (rows.encoder_seed==1)].weight_sd.item(), w.std(), rel_tol=1e-6)

def test_a_rate_is_chosen_by_held_out_images_only(smoke, monkeypatch):
    rows,d = smoke
    other = Splits(DIGITS.name, DIGITS.train, DIGITS.test.take(list(range(250))), DIGITS.unlabelled)
    monkeypatch.setattr(Splits, 'digest', DIGITS.digest, raising=False)
    assert [choose_rate(other, a, 'smoke', 0, Store(d)) for a in ARMS]==[choose_rate(DIGITS, a, 'smoke', 0, Store(d)) for a in ARMS]

def test_what_is_finished_is_not_run_again(smoke, monkeypatch):
    rows,d = smoke
    monkeypatch.setattr('aepretrain_nb.experiment.train_autoencoder', lambda *a: pytest.fail('ran again'))
    pd.testing.assert_frame_equal(background(DIGITS, 'smoke', 2, d, progress=False), rows)

def test_the_command(tmp_path):
    assert main(['digits', '--setting', 'smoke', '--seeds', '1', '--out', str(tmp_path)])==0
    rows = pd.read_csv(tmp_path/'kohlbrenner_background.csv')
    ws = np.load(tmp_path/'kohlbrenner_background_filters.npz')
    assert rows.arm.tolist()==['random', *ARMS] and list(ws)==[f'digits.{a}' for a in ARMS] and ws['digits.pool'].shape==(20,1,7,7)

@pytest.mark.parametrize('words,say', [('digit', "did you mean digits"), ('digits --seeds 0', "'0' is not a whole number from 1"), ('digits --steps -2', 'whole number'),
    ('digits --setting big', "'big'"), ('digits --out file', 'file')])
def test_wrong_input_is_one_line(tmp_path, monkeypatch, capsys, words, say):
    monkeypatch.chdir(tmp_path); Path('file').write_text('mine')
    code,err = main([*words.split(), *(['--setting', 'smoke'] if '--setting' not in words else [])]),capsys.readouterr().err
    assert code==2 and err.count('\n')==1 and say in err and [p.name for p in Path('.').iterdir()]==['file'] and Path('file').read_text()=='mine'

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
        np.testing.assert_allclose([got.localisation, got.spread, got.smoothness], [r.localisation, r.spread, r.smoothness], rtol=.01, atol=.005)
