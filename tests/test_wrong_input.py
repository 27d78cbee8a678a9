"Wrong input is one line on standard error that names the thing and what is allowed, exit code 2, and nothing written."
import errno, gzip, json, os, re, resource, shutil, signal, struct
from pathlib import Path
import numpy as np, pytest, torch
from torch import nn
from aepretrain_nb.data import ground
from aepretrain_nb.cli import main
from aepretrain_nb.data.named import DATASETS, dataset
from aepretrain_nb.data.sets import ImageSet
from aepretrain_nb.data.splits import Splits
from aepretrain_nb.compare import compare, read_results
from aepretrain_nb.nets.encoder import ConvEncoder, ConvStage
from aepretrain_nb.train.transfer import save_encoder
from aepretrain_nb.experiment.recipe import find_recipe
from aepretrain_nb.experiment.kinds import ExperimentError
from aepretrain_nb.experiment.records import read_record
from torture.child import Child

pytestmark = pytest.mark.usefixtures('no_pictures')

smoke = find_recipe('kohlbrenner', 'smoke')
SMALL = '--recipe kohlbrenner --setting smoke --labels 50 --seeds 2 --arms random_default'.split()

@pytest.fixture
def say(capsys, tmp_path, monkeypatch):
    "Run the command line in an empty folder; gives its exit code, and the one line it said"
    monkeypatch.chdir(tmp_path)
    def f(*argv):
        capsys.readouterr()
        code = main([str(a) for a in argv])
        err = capsys.readouterr().err
        assert code==2, err
        assert err.count('\n')==1 and err.startswith('aepretrain'), err
        return err
    return f

def written(folder): return sorted(p.name for p in Path(folder).iterdir())

@pytest.mark.parametrize('change,folder',
    [([], 'aepretrain-kohlbrenner-digits-smoke'),
    (['--set', 'reading=fair'], 'aepretrain-kohlbrenner-digits-smoke-fair'),
    (['--set', 'reading=fair', '--set', 'study=relu', '--arms', 'relu_pretrained'],
    'aepretrain-kohlbrenner-digits-smoke-fair-relu')])
def test_without_out_the_folder_is_named_after_what_was_asked(tmp_path, monkeypatch, capsys, change, folder):
    monkeypatch.chdir(tmp_path)
    assert main(['compare', 'digits', *SMALL, *change])==0 and written('.')==[folder]

@pytest.mark.parametrize('argv,names', [
    ('compare mnits', "unknown data set 'mnits'; did you mean"),
    ('compare digits --arms pretraind', "unknown arm 'pretraind'; did you mean 'pretrained'"),
    ('compare digits --arms ,', 'no arms. There are: pretrained'),
    ('compare digits --recipe kohlbrener', "did you mean 'kohlbrenner'"),
    ('compare digits --recipe os:nothing', 'package.module:name'),
    ('compare digits --recipe ..:x', "'..:x' cannot be imported"),
    ('compare digits --setting huge', "unknown setting 'huge'"),
    ('compare digits --recipe kohlbrenner --setting smoke --set pretrain.phase.x=[76]',
    "pretrain.phase is {'x': [76]}: a section with name, train and top"),
    ('compare /', '/ is the whole machine: name a folder of images'),
    ('compare digits --set arms.own.steps=.1,.1', "arm 'own'.steps is [0.1, 0.1]: a list of steps"),
    ('compare digits --recipe kohlbrenner --setting smoke --recipe kohlbrenner_background --set arms.own.columns.a=b',
    "does 'classify': its recipe has no finetune"),
    ('compare digits --set arms.own.lr_of=noise', "unknown arm 'noise'. There are: own"),
    ('compare digits --set finetune.steps=null', 'finetune has neither steps nor epochs'),
    ('compare digits --policy best', "label policy 'best' is none of stratified"),
    ('compare digits --set seeds.n=some', "seeds.n is 'some': a number of seeds from 1"),
    ('compare digits --set encoder.widht=1', "encoder has no 'widht'; did you mean 'width'"),
    ('compare digits --set head.make=linea', "unknown head 'linea'"),
    ('compare digits --set encoder.make=timm:resnet19', "timm has no net 'resnet19'"),
    ('compare digits --set pretrian.steps=3', "no 'pretrian'; did you mean 'pretrain'"),
    ('compare digits --valid maybe', "within"),
    ('compare digits --valid extra', "n_valid from 1"),
    ('compare digits --labels 5000', '5000 labels asked for; stratified takes 10 to 1297'),
    ('compare digits --labels 7', '7 labels asked for; stratified takes 10'),
    ('compare digits --labels 50 --n-valid 50', '50 of 50 labels to validate on'),
    ('compare digits --labels ten', "'ten' is not a list of whole numbers"),
    ('compare digits --labels 50,-1', "'50,-1' is not a list of whole numbers from 1"),
    ('compare digits --labels', 'expected one argument'),
    ('compare digits --seeds 0', "'0' is not a whole number from 1"),
    ('compare digits --seeds 2.5', "'2.5' is not a whole number from 1"),
    ('compare digits --seeds autp', "'autp' is not a whole number from 1, nor auto"),
    ('compare digits --seeds auto', "seeds 'auto' needs a margin"),
    ('compare digits --seeds auto --margin 2 --max-seeds 4', 'max_seeds is 4'),
    ('compare digits --seeds auto --margin 2 --crossed', 'crossed'),
    ('compare digits --treatment pretraind', "unknown treatment 'pretraind'; did you mean 'pretrained'"),
    ('compare digits --recipe kohlbrenner --arms pretrained,random_paper --treatment random_matched',
    "unknown treatment 'random_matched'"),
    ('compare digits --labels 50,50', '50'),
    ('compare digits --lr 0', "'0' is not a number above 0"),
    ('compare digits --lr .1,nan', "'nan' is not a number above 0"),
    ('compare digits --set reading', "'reading' is not a setting such as finetune.steps=2000"),
    ('compare digits --recipe kohlbrenner --set reading=literal',
    "unknown reading 'literal'. There are: as_written, fair"),
    ('compare digits --recipe kohlbrenner --set study=relus', "unknown study 'relus'"),
    ('compare digits --set finetune.stepz=3', "no 'stepz'"),
    ('compare digits --set finetune.steps=many', "finetune.steps is 'many': a whole number from 1"),
    ('compare digits --set finetune.steps=0', "finetune.steps is 0: a whole number from 1"),
    ('compare digits --set pretrain.lr=-1', "pretrain.lr is -1: a number above 0"),
    ('compare digits --set finetune=3', "finetune is 3: a section of settings"),
    ('compare digits --set encoder.width=wide', "the nets cannot be built from "),
    ('compare digits --set seeds=some', "seeds is 'some': a section of settings"),
    ('compare digits --set labels.n=few', "labels.n is 'few': a whole number from 1 to a billion, or several"),
    ('compare digits --tune last', "invalid choice: 'last'"),
    ('compare digits --metric acuracy', "unknown metric 'acuracy'; did you mean 'accuracy'"),
    ('compare digits --executor slurm', "executor 'slurm'"),
    ('compare digits --executor processes:0', "executor 'processes:0'"),
    ('compare digits --margin inf', "'inf' is not a number above 0"),
    ('compare digits --processes none', "'none' is not a whole number from 1"),
    ('compare digits --n-unlabelled 99999', '99999 unlabelled images asked for: from 1 to 1297'),
    ('compare digits --nonsense', 'unrecognized arguments: --nonsense'),
    ('compare', 'arguments are required: data'),
    ('compair digits', 'compair'),
    ('data verify mnits', "unknown data set 'mnits'"),
    ('data verify mnist --root .', 'mnist: 4 of 4 files are not as they should be'),
    ('power nowhere.csv --margin 2', 'nowhere.csv is not there: give a CSV'),
    ('power .', 'arguments are required: --margin'),
    ('power . --margin 2', 'results.csv is not there'),
    ('power x --margin 0', "'0' is not a number above 0"),
    ('settings nobody', "unknown recipe 'nobody'. There are: "),
    ('settings --setting huge', "unknown setting 'huge'"),
    ('settings --set finetune.stepz=3', "no 'stepz'"),
    ('settings kohlbrenner mnist', 'unrecognized arguments: mnist'),
    ('ledger nobody', "no claims of 'nobody'"),
    ('ledger --results nowhere', 'nowhere is no folder of results'),
    ('ledger --results', 'expected one argument'),
    ('ledger digits --table', 'unrecognized arguments: --table'),
    ('data', 'arguments are required')])
def test_a_word_or_number_that_does_not_exist(say, tmp_path, argv, names):
    assert names in say(*argv.split())
    assert not written(tmp_path)

def test_a_link_that_leads_round_holds_no_images(say):
    Path('round').symlink_to('round')
    for verb in ('compare', 'look', 'pretrain'): assert 'round/new' in say(verb, 'round/new')

@pytest.mark.parametrize('argv,names', [
    ('--executor dask:127.0.0.1', 'no dask scheduler answers at 127.0.0.1'),
    ('--executor dask:http://x:1', "no dask scheduler answers at http://x:1"),
    ('--reuse .', '. holds no experiment'),
    ('--set finetune.opt=adamax', "finetune.opt is 'adamax': one of sgd"),
    ('--set pretrain.loss=mae', "unknown reconstruction loss 'mae'"),
    ('--set finetune.loss=mae', "no loss 'mae'. There are: cross_entropy"),
    ('--set images.norm=0.5', 'images.norm is 0.5: (mean, sd above 0)'),
    ('--set images.norm=[.1,.2,.3]', '(mean, sd above 0)'),
    ('--set encoder.act=nope', "unknown activation 'nope'"),
    ('--set head.dropout=2', 'between 0 and 1, but got 2'),
    ('--set encoder.width=1e9', 'allocate memory'),
    ('--set labels.policy=seen', "labels.policy is 'seen': arm 'pretrained' has to begin with a pre-training"),
    ('--set labels.policy=fold', "needs data with official folds"),
    ('--set images.augment=[[1]]', 'images.augment is'),
    ('--set finetune.opt=[[[[]]]]', 'finetune.opt is'),
    ('--set version=2.5', 'version is 2.5'),
    ('--set setting=quick', 'said by --setting'),
    ('--seeds 100000000', 'seeds is 100000000: a number from 1 to 10000'),
    ('--seeds 200 --crossed', '40000 runs: at most 10000'),
    ('--device hpu', "device 'hpu' cannot be used"),
    ('--device meta', "device 'meta' cannot be used")])
def test_what_can_be_refused_is_refused_before_anything_is_done(say, tmp_path, argv, names):
    assert names in say('compare', 'digits', *SMALL, '--arms', 'pretrained,random_default', *argv.split())
    assert not written(tmp_path)

def test_brackets_without_end_are_a_word(say, tmp_path):
    for path in ('finetune.lr', 'arms', 'images.augment', 'encoder'):
        assert path.partition('.')[0] in say('compare', 'digits', *SMALL, '--set', path + '=' + '['*5000)
    assert 'is not a setting' in say('compare', 'digits', *SMALL, '--set', '.'.join('a'*5000) + '=1')
    assert not written(tmp_path)

def test_a_device_that_is_not_there(say, tmp_path):
    assert 'cuda:99' in say('compare', 'digits', *SMALL, '--device', 'cuda:99')
    assert not written(tmp_path)

# Files of a data set

def idx(path, a):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(struct.pack('>HBB', 0, 8, a.ndim) + struct.pack(f'>{a.ndim}I', *a.shape) +
        a.astype(np.uint8).tobytes())

@pytest.fixture
def root(tmp_path_factory):
    "A folder with files of MNIST's names and form, but other content"
    r = tmp_path_factory.mktemp('root')
    for part,n in (('train', 30), ('t10k', 20)):
        idx(r/'MNIST'/'raw'/f'{part}-images-idx3-ubyte', np.zeros((n, 28, 28)))
        idx(r/'MNIST'/'raw'/f'{part}-labels-idx1-ubyte', np.arange(n)%10)
    return r

def test_a_root_without_the_files(say, tmp_path):
    line = say('compare', 'mnist', '--root', tmp_path/'nowhere')
    assert 'MNIST/raw/train-images-idx3-ubyte is missing' in line and 'aepretrain data get mnist --root' in line
    assert not written(tmp_path)

def test_an_altered_file(say, tmp_path, root):
    line = say('compare', 'mnist', '--root', root)
    assert 'MNIST/raw/train-images-idx3-ubyte' in line and '6bbc9ace898e44ae57da46a324031adb' in line
    assert 'aepretrain data get mnist' in line
    assert not written(tmp_path)

def test_a_truncated_file(say, tmp_path, root):
    f = root/'MNIST'/'raw'/'train-images-idx3-ubyte'
    f.write_bytes(f.read_bytes()[:100])
    assert 'train-images-idx3-ubyte' in say('compare', 'mnist', '--root', root)
    assert not written(tmp_path)

# Weight files

def weights(path, width):
    from aepretrain_nb.papers.kohlbrenner import tied_cae
    ae = tied_cae(1, 8, 8, torch.Generator().manual_seed(0), width=width)
    return save_encoder(path, ae.encoder, dict(factory='aepretrain_nb.papers.kohlbrenner:encoder',
        kwargs=dict(c=1, width=width)))

def test_weight_files(say, tmp_path):
    (tmp_path/'notes.safetensors').write_text('no weights')
    weights(tmp_path/'wide.safetensors', .5)
    before = written(tmp_path)
    arm = lambda f: say('compare', 'digits', *SMALL[:-1], f'file:{f},random_default', '--out', 'a')
    assert 'no weight file nowhere.safetensors' in arm('nowhere.safetensors')
    assert 'notes.safetensors is not a safetensors file' in arm('notes.safetensors')
    line = arm('wide.safetensors')
    first = 'stages.conv1.conv.weight'
    assert f'{first} is 50x1x5x5 in the source ({first}) and 4x1x5x5 in the receiver' in line
    assert written(tmp_path)==before

def test_an_encoder_from_a_file_is_an_arm(tmp_path):
    f = weights(tmp_path/'mine.safetensors', smoke['encoder']['width'])
    res = compare('digits', [f'file:{f}', 'random_matched'], [50], 2, smoke, store=tmp_path/'s', progress=False)
    assert set(res.rows.arm)=={'file:mine', 'random_matched'} and len(res.rows)==4
    f.unlink()
    more = compare('digits', ['random_matched'], [50], 3, smoke, store=tmp_path/'s', progress=False)
    assert set(read_results(tmp_path/'s').rows.arm)=={'file:mine', 'random_matched'} and len(more.rows)==3

# Folders of results

def test_an_out_folder_that_holds_another_experiment(say, tmp_path):
    assert main(['compare', 'digits', *SMALL, '--out', 'a'])==0
    before = {p: p.read_bytes() for p in Path('a').rglob('*') if p.is_file()}
    line = say('compare', 'digits', *SMALL, '--lr', '.5', '--out', 'a')
    assert 'a holds an experiment with another recipe (differs in finetune): choose another folder' in line
    assert before=={p: p.read_bytes() for p in Path('a').rglob('*') if p.is_file()}

def test_encoders_of_a_folder_that_holds_none(say, tmp_path):
    assert 'there is no folder nowhere' in say('compare', 'digits', *SMALL, '--reuse', 'nowhere', '--out', 'a')
    assert not written(tmp_path)

def test_an_out_folder_that_holds_something_else(say, tmp_path):
    Path('a').mkdir()
    (Path('a')/'thesis.tex').write_text('mine')
    assert 'choose an empty or a new folder' in say('compare', 'digits', *SMALL, '--out', 'a')
    assert written('a')==['thesis.tex']
    assert 'thesis.tex is a file: a folder is needed' in say('compare', 'digits', *SMALL, '--out', 'a/thesis.tex')

ROWS = 'arm,labels,value,subset,subset_seed,encoder_seed,head_seed\n'
@pytest.mark.parametrize('text,names', [('', 'a.csv is no table in CSV'),
    ('arm,labels\nx,5\n', "a.csv has no column 'value'"), (ROWS, 'a.csv holds no fits'),
    (ROWS + 'x,50,70,d,0,0,0\n', 'only one arm, x'),
    (ROWS + 'x,50,70,d,0,0,0\nx,50,71,d,0,0,0\ny,50,70,d,0,0,0\n', 'two rows for')])
def test_a_table_that_holds_no_grid(say, tmp_path, text, names):
    Path('a.csv').write_text(text)
    assert names in say('power', 'a.csv', '--margin', '2')

def test_a_treatment_or_a_file_that_is_not_there_for_power(say, tmp_path):
    Path('b.csv').write_text(ROWS + 'x,50,70,d,0,0,0\ny,50,70,d,0,0,0\n')
    assert "unknown treatment 'z'" in say('power', 'b.csv', '--margin', '2', '--treatment', 'z')
    Path('c.csv').write_bytes(bytes(range(128, 256)))
    assert 'c.csv is no table in CSV' in say('power', 'c.csv', '--margin', '2')

@pytest.mark.parametrize('content,names',
    [('{"format": 99}', 'of another version (format 99, not 2)'), ('{"for', 'not readable as JSON'),
    ('[]', 'another version'),
    ('{"format": 2, "data": "a", "digest": "b", "recipe": {"name": "c", "arms": {}, "encoder": {"width": 1e999}}}',
    'experiment.json is broken: Out of range')])
def test_a_store_of_another_version(say, content, names):
    Path('a').mkdir()
    (Path('a')/'experiment.json').write_text(content)
    assert names in say('compare', 'digits', *SMALL, '--out', 'a')
    assert written('a')==['experiment.json']

@pytest.mark.parametrize('name,said', [('cells', dict(cells=[], tuning=[], calls=[])),
    ('cells', dict(cells=dict(a=3), tuning=[], calls=[])), ('common', [1]),
    ('cells', dict(cells={}, runs=[{}], tuning=[], calls=[])),
    ('seeds', dict(pilot=5, margin=1, most=9, treatment='a', sizes=[dict(labels=50, seeds=5)]))])
def test_a_plan_that_was_edited_is_named(tmp_path, name, said):
    (tmp_path/'plan').mkdir()
    f = tmp_path/'plan'/f'{name}.json'
    f.write_text(json.dumps(said))
    with pytest.raises(ExperimentError, match=f'{name}.json is broken'): read_record(f)

def test_a_folder_that_cannot_be_written(say, tmp_path):
    (tmp_path/'file').write_text('')
    assert 'file' in say('compare', 'digits', *SMALL, '--out', 'file/below')
    assert '/proc/no' in say('compare', 'digits', *SMALL, '--out', '/proc/no')

def test_no_space_left(tmp_path):
    "A limit on the size of a file stands in for a full disk: the write fails in the middle of a file"
    def limited():
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (1500, 1500))
    c = Child(['compare', 'digits', *SMALL, '--out', 'a'], tmp_path, limited)
    assert c.wait()==2 and 'Traceback' not in c.err()
    assert c.err().splitlines()[-1].startswith('aepretrain: ')
    for f in (tmp_path/'a').rglob('*.json'): json.loads(f.read_text())
    assert not [f for f in (tmp_path/'a').rglob('.*') if f.is_file()]

def test_no_space_left_says_so(say, monkeypatch):
    def full(src, dst): raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(dst))
    monkeypatch.setattr(ground.os, 'replace', full)
    assert 'No space left on device' in say('compare', 'digits', *SMALL, '--out', 'a')

# What looks like nothing, and what looks like something else

@pytest.mark.parametrize('kw,names', [(dict(seeds=0), 'seeds'), (dict(seeds=[]), 'seeds'), (dict(labels=[]), 'labels'),
    (dict(labels=[50, 50]), '50'), (dict(labels=0), 'labels'),
    (dict(labels=[50.5]), '50.5'), (dict(seeds='five'), 'five'), (dict(seeds='auto'), 'margin'),
    (dict(margin=0), 'margin'), (dict(margin=-1.), 'margin'),
    (dict(arms=[]), 'no arms'), (dict(treatment='random_matched'), "unknown treatment 'random_matched'"),
    (dict(metric='balanced_acuracy'), "did you mean 'balanced'"),
    (dict(seeds='auto', margin=2, max_seeds=4), 'max_seeds'), (dict(seeds='auto', margin=2, crossed=True), 'crossed')])
def test_nothing_is_taken_for_a_default(tmp_path, kw, names):
    "An empty list and a 0 are no wish for the default, which is what None says"
    with pytest.raises(ValueError, match=re.escape(names)) as e:
        compare('digits', **dict(arms=['pretrained', 'random_default'], labels=[50], seeds=2) | kw, recipe=smoke,
            store=tmp_path/'s', progress=False)
    assert '\n' not in str(e.value) and not (tmp_path/'s').exists()

def test_one_size_one_arm_and_numbers_of_numpy_are_what_they_say(tmp_path):
    kw = dict(recipe=smoke, progress=False)
    a = compare('digits', ['random_default'], [50], [0, 1], store=tmp_path/'a', **kw)
    b = compare('digits', 'random_default', np.int64(50), np.arange(2), store=tmp_path/'b', **kw)
    c = compare('digits', np.array(['random_default']), np.array([50]), np.int64(2), store=tmp_path/'c', **kw)
    assert a.rows.key.tolist()==b.rows.key.tolist()==c.rows.key.tolist() and len(a.rows)==2
    assert a.rows.value.tolist()==b.rows.value.tolist()==c.rows.value.tolist()
    json.loads((tmp_path/'b'/'steps'/f'{b.rows.key[0]}.json').read_text())

@pytest.mark.slow
def test_call_and_command_agree(tmp_path, monkeypatch, capsys):
    "The same words give the same trials: which setting the digits get is no matter of who asks"
    monkeypatch.chdir(tmp_path)
    res = compare('digits', ['random'], [50], 1, lr=.003, store=tmp_path/'call', progress=False)
    assert main('compare digits --arms random --labels 50 --seeds 1 --lr .003 --out command'.split())==0
    assert res.told('setting')=='digits' and read_results('command').rows.key.tolist()==res.rows.key.tolist()

# Images

def test_an_image_too_small_for_the_encoder(tmp_path):
    x = torch.randint(0, 256, (60, 1, 3, 3), dtype=torch.uint8)
    own = Splits('mine', ImageSet(x, torch.arange(60)%3), ImageSet(x[:9], torch.arange(9)%3))
    r = smoke | dict(encoder=dict(make='test_wrong_input:unpadded'))
    with pytest.raises(ValueError, match='3x3 pixels, too few for its filter') as e:
        compare(own, ['random_default'], [30], 1, r, store=tmp_path/'s', progress=False)
    assert '\n' not in str(e.value) and not (tmp_path/'s').exists()

def unpadded(c, h, w, gen=None): return ConvEncoder(dict(c1=ConvStage(nn.Conv2d(c, 4, 5))))

def test_one_seed_runs_and_the_verdict_says_what_is_missing(tmp_path):
    res = compare('digits', ['pretrained', 'random_default'], [50], 1, smoke, store=tmp_path/'s', progress=False)
    assert len(res.rows)==2 and 'no verdict' in res.text()
