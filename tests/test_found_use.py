"""What a hostile reading found of what comes after a comparison: exports without a head, files in another order, inputs
written over, verdicts about another arm."""
import json
import numpy as np, pandas as pd, pytest, tifffile, torch
from PIL import Image
from safetensors.torch import load_file
from aepretrain_nb.cli import main
from aepretrain_nb.compare import compare, read_results
from aepretrain_nb.data.arrays import DataError
from aepretrain_nb.data.decode import decode, header
from aepretrain_nb.experiment.exported import export, native
from aepretrain_nb.experiment.fitted import fitted
from aepretrain_nb.experiment.kinds import ExperimentError
from aepretrain_nb.experiment.recipe import find_recipe, merged

pytestmark = pytest.mark.usefixtures('no_pictures')
BRIEF = merged(find_recipe('default', 'smoke', controls='all'),
    dict(pretrain=dict(steps=4, evals=1), finetune=dict(lr=.01, seek='all', first_lr=None, steps=20, evals=1)))

def draw(path, i, bright):
    rng = np.random.default_rng(i)
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray((rng.integers(0, 90, (16,16,3)) + 150*bright).astype('uint8')).save(path)

@pytest.fixture(scope='module')
def own(tmp_path_factory):
    "A folder of two classes, a table of them with a column of kinds, and a comparison"
    home = tmp_path_factory.mktemp('own')
    rows = []
    for i in range(40):
        name = f'{"ab"[i%2]}/{i:02d}.png'
        draw(home/'images'/name, i, i%2)
        rows.append(dict(file=f'images/{name}', label='ab'[i%2], kind='ab'[i%2]))
    pd.DataFrame(rows).to_csv(home/'t.csv', index=False)
    argv = ['--setting', 'smoke', '--labels', '20', '--seeds', '2', '--keep', 'all', '--arms',
        'pretrained,random,frozen_random', '--set', 'controls=all',
        '--set', 'finetune.steps=30', '--out', str(home/'results')]
    assert main(['compare', str(home/'t.csv'), *argv, '--treatment', 'frozen_random', '--metric', 'error', '--margin',
        '5'])==0
    return home

def one_line(capsys, *argv):
    capsys.readouterr()
    assert main(list(map(str, argv)))==2
    err = capsys.readouterr().err.strip()
    assert '\n' not in err
    return err

# Exports

def test_an_export_is_a_whole_classifier(own, tmp_path):
    "A head that the library does not have goes out with the rest, under names of ours"
    r = merged(BRIEF, dict(encoder=dict(make='timm:test_resnet'), head=dict(make='mlp')))
    for k in ('width', 'stem'): r['encoder'].pop(k, None)
    res = compare(str(own/'t.csv'), ['random'], 20, 1, r, store=tmp_path/'s', progress=False)
    fit = fitted(res.folder)
    assert native(fit).library=='aepretrain_nb'
    export(fit, tmp_path/'out')
    assert any(k.startswith('head.') for k in load_file(tmp_path/'out'/'model.safetensors'))
    assert fit.predict(own/'images').equals(fitted(tmp_path/'out').predict(own/'images'))

def test_an_export_says_what_the_net_reads(own, tmp_path):
    r = merged(BRIEF, dict(images=dict(augment=dict(size=12))))
    fit = fitted(compare(str(own/'t.csv'), ['random'], 20, 1, r, store=tmp_path/'s', progress=False).folder)
    export(fit, tmp_path/'out')
    config,card = json.loads((tmp_path/'out'/'config.json').read_text()),(tmp_path/'out'/'README.md').read_text()
    assert config['pretrained_cfg']['input_size']==[3,12,12] and config['pretrained_cfg']['crop_pct']==.75
    assert 'the middle, 12x12 pixels, of an image of 16x16' in card

@pytest.mark.parametrize('spoil', [lambda f: (f/'model.safetensors').write_bytes(b''),
    lambda f: (f/'config.json').write_text('[]'),
    lambda f: (f/'config.json').write_text('{"aepretrain_nb": {"step": {}}}'),
    lambda f: (f/'model.safetensors').unlink()])
def test_a_broken_export_is_told_in_a_line(own, tmp_path, capsys, spoil):
    assert main(['export', str(own/'results'), '-o', str(tmp_path/'out')])==0
    spoil(tmp_path/'out')
    assert str(tmp_path/'out') in one_line(capsys, 'predict', tmp_path/'out', own/'images', '-o', tmp_path/'p.csv')

# New images

def test_files_stay_in_their_order(own):
    fit = fitted(own/'results')
    names = [own/'images'/n for n in ('b/03.png', 'a/00.png', 'b/01.png')]
    each = torch.cat([fit.features([n]) for n in names])
    torch.testing.assert_close(fit.features(names), each)
    assert [o[-6:] for o in fit.predict(names).file]==['03.png', '00.png', '01.png']
    table = pd.DataFrame(dict(file=['images/b/03.png', 'images/a/00.png', 'images/b/01.png']))
    table.to_csv(own/'some.csv', index=False)
    assert fit.predict(own/'some.csv').file.tolist()==table.file.tolist()

def test_features_of_a_file_that_is_none_are_refused(own):
    (own/'broken.png').write_bytes(b'no image')
    with pytest.raises(DataError, match='broken.png'):
        fitted(own/'results').features([own/'images'/'a'/'00.png', own/'broken.png'])

def test_a_folder_of_test_images_is_predicted(own, tmp_path):
    for i in range(3): draw(tmp_path/'new'/'test'/'a'/f'{i}.png', i, 0)
    assert fitted(own/'results').predict(tmp_path/'new').label.tolist()==['a']*3

@pytest.mark.parametrize('verb,out', [('predict', 'mine.csv'), ('embed', 'mine.npz'), ('subgroups', 'mine.csv')])
def test_what_is_read_is_not_written_over(own, tmp_path, capsys, verb, out):
    file = own/out
    if out=='mine.csv': file.write_bytes((own/'t.csv').read_bytes())
    else: np.savez(file, x=np.zeros((4,16,16,3), 'uint8'))
    before = file.read_bytes()
    more = ['--by', 'kind'] if verb=='subgroups' else []
    assert 'is read' in one_line(capsys, verb, own/'results', file, *more, '-o', file)
    assert file.read_bytes()==before

def test_a_table_of_answers_is_no_image(own, capsys):
    file = own/'images'/'a'/'00.png'
    before = file.read_bytes()
    assert 'named as an image' in one_line(capsys, 'predict', own/'results', own/'images', '-o', file)
    assert file.read_bytes()==before

@pytest.mark.parametrize('verb', ['predict', 'embed', 'subgroups'])
def test_a_device_that_is_not_there(own, capsys, verb):
    more = ['--by', 'kind'] if verb=='subgroups' else []
    assert "device 'nonsense' cannot be used" in one_line(capsys, verb, own/'results', own/'t.csv', *more, '--device',
        'nonsense')

def test_columns_are_those_of_a_table(own, capsys):
    assert 'columns are those of a table' in one_line(capsys, 'predict', own/'results', own/'images', '--columns',
        'file=nonsense')

# What was asked

def test_results_are_read_as_they_were_asked_for(own):
    res = read_results(own/'results')
    assert (res.treatment, res.metric, res.margin)==('frozen_random', 'error', 5.)
    assert read_results(own/'results', treatment='pretrained').treatment=='pretrained'

def test_a_subgroup_of_one_class_is_judged(own, capsys):
    "Whether a net has trained is told by the whole test: no net beats the best constant answer to one class"
    assert main(['subgroups', str(own/'results'), str(own/'t.csv'), '--by', 'kind'])==0
    rows = pd.read_csv(own/'results'/'subgroups-kind.csv').set_index('arm')
    assert rows.chance.eq(100).all() and not rows.loc[['pretrained', 'random']].at_chance.any()
    assert 'random did not train' not in capsys.readouterr().out.replace('frozen_random', 'frozen')

def test_a_dry_run_changes_no_later_answer(own, tmp_path):
    before = {f: f.read_bytes() for f in (own/'results').rglob('*') if f.is_file()}
    argv = ['--setting', 'smoke', '--labels', '20', '--seeds', '2', '--keep', 'all', '--set', 'controls=all', '--set',
        'finetune.steps=30']
    assert main(['compare', str(own/'t.csv'), *argv, '--resize', 'squash', '--dry-run', '--out', str(own/'results')])==0
    after = {f: f.read_bytes() for f in (own/'results').rglob('*') if f.is_file()}
    assert after==before

def test_the_picture_of_a_folder_is_none_of_its_images(own, monkeypatch, capsys):
    monkeypatch.chdir(own/'images')
    assert 'name a file outside' in one_line(capsys, 'look', '.')
    assert not list((own/'images').glob('*.png'))

# Planes

@pytest.mark.parametrize('kind,extra,reads',
    [('rgb', ['unspecified'], 4), ('rgb', ['unassalpha'], 3), ('minisblack', ['unspecified']*3, 4)])
def test_four_samples_are_a_colour_only_with_transparency(tmp_path, kind, extra, reads):
    a = np.random.default_rng(0).integers(0, 255, (20,24,4), dtype='uint8')
    tifffile.imwrite(tmp_path/'x.tif', a, photometric=kind, extrasamples=extra, planarconfig='contig')
    assert header(tmp_path/'x.tif').channels==reads
    found = decode(tmp_path/'x.tif', (20,24), reads, 'uint8')
    if reads==4: assert np.array_equal(found, a.transpose(2, 0, 1))
