"""`make gpu` at smoke size on the processor: what it measures, what it says, and that it goes on where it was cut."""
import csv, io, json, math, os, re, shutil, signal, subprocess, sys, time, zipfile
from importlib.util import find_spec
from pathlib import Path

import pytest, torch
from pretended import DEVICE, pretended
from aepretrain_nb.answers.results import Results
from aepretrain_nb.data.named import dataset

BENCHMARKS = Path(__file__).resolve().parents[1]/'benchmarks'

@pytest.fixture
def gpu(monkeypatch):
    "The script and its modules"
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    import gpu, gpu_parts, gpu_steps
    yield gpu,gpu_parts,gpu_steps
    for k in [k for k in sys.modules if k.partition('_')[0]=='gpu']: del sys.modules[k]

def read(file):
    with file.open(newline='', encoding='utf-8') as f: return list(csv.DictReader(f))

def number(v): return v!='' and math.isfinite(float(v))

def test_a_grid_that_is_cut_goes_on(gpu, tmp_path, monkeypatch):
    "Time is up as the third step is told: three steps are kept, named as the first of a larger task, and not run again"
    script,parts,steps = gpu
    work,out = tmp_path/'work',tmp_path/'out'
    out.mkdir()
    job = steps.Job('cpu', True, work)
    class Cut(io.StringIO):
        def write(self, s):
            if s.startswith('[3/'): raise steps.TimeUp
    with monkeypatch.context() as m:
        m.setattr(sys, 'stderr', Cut())
        parts.run_tasks('kohlbrenner', job, math.inf)
    said = script.write_out(out, work, {}, 0)['tasks'][0]
    first = read(out/'grid.csv')
    assert said['state']=='left' and 'classify to do' in said['why'] and len(first)==3
    parts.run_tasks('kohlbrenner', job, math.inf)
    said = script.write_out(out, work, {}, 0)
    assert said['tasks'][0]['state']=='done' and not said['not_kept']
    rows = {r['key']: r for r in read(out/'grid.csv')}
    assert len(rows)==2+12 and all(rows[r['key']]==r for r in first)
    res = Results.read(out/'grid.csv', recipe='kohlbrenner')
    assert [*res.cells.labels.unique()]==[50, 100] and (res.rows.revision!='').all() and (res.rows.device=='cpu').all()

def rows_of_part(gpu, folder, name, file):
    "Run one part, and read what it wrote"
    script,parts,steps = gpu
    parts.run_tasks(name, steps.Job('cpu', True, folder), math.inf)
    script.write_out(folder, folder, {}, 0)
    return read(folder/file)

def test_rows_of_a_grid_name_reading_and_net(gpu, tmp_path):
    "Without these no claim of the paper would take them"
    rows = rows_of_part(gpu, tmp_path, 'dong', 'grid.csv')
    assert {r['reading'] for r in rows}=={'as_written'}
    assert {r['architecture'] for r in rows if r['kind']=='fit'}=={'all-cnn-c'}

def test_the_variants_of_a_net_with_decoders_stand_beside_their_controls(gpu, tmp_path):
    rows = rows_of_part(gpu, tmp_path, 'zhang', 'grid.csv')
    assert {r['reading'] for r in rows}=={'fair'}
    assert {'SWWAE-all', 'SAE-first', 'further', 'compute', 'classifier'}<={r['arm'] for r in rows}

def test_rows_have_their_columns(gpu, tmp_path):
    "Five nets stacked end as five alone; the columns of a pace are filled"
    rows = rows_of_part(gpu, tmp_path, 'stacked', 'rows.csv')
    assert [*rows[0]]==['part', *gpu[2].MEASURED]
    *paces,same = rows
    assert [r['variant'] for r in paces]==['one by one', 'stacked']
    assert all(number(r[k]) for r in paces for k in ('batch', 'us', 'images_s', 'ratio'))
    assert same['within']=='True' and float(same['apart'])<=float(same['tolerance'])

def test_steps_stay_on_the_device(gpu):
    "Tried on one that is pretended: the processor knows no graphs, and nothing else is different"
    *_,steps = gpu
    job = steps.Job('cuda:0', True, Path())
    with pretended():
        for name in steps.NETS: steps.bare_step(*steps.autoencoder(name, True), job, 4, last=True)()
        for way in steps.WAYS.values():
            step,weights = way(*steps.small_nets(job))
            step()
            assert weights().device==DEVICE

def test_a_task_that_fails_says_why_and_the_next_begins(gpu, tmp_path, monkeypatch):
    script,parts,steps = gpu
    def broken(before): raise RuntimeError('no kernel image\nfor this card')
    def fine(before): return steps.measured('something', 'quick', us=1.)
    monkeypatch.setitem(parts.PARTS, 'stacked',
        lambda job: iter([('first', broken), ('second', fine), ('third', fine)]))
    parts.run_tasks('stacked', steps.Job('cpu', True, tmp_path), math.inf)
    tasks = script.summary(tmp_path, {}, 0)['tasks']
    assert [t['state'] for t in tasks]==['failed', 'done', 'done'] and tasks[0]['why']=='RuntimeError: no kernel image'
    assert any('no kernel image' in o for o in script.words(script.summary(tmp_path, {}, 0)))

def test_without_time_nothing_begins(gpu, tmp_path):
    script,parts,_ = gpu
    before = signal.getsignal(signal.SIGALRM)
    try: parts.run_part('stacked', tmp_path, time.time(), 'cpu')
    finally: signal.signal(signal.SIGALRM, before)
    assert {t['state'] for t in script.summary(tmp_path, {}, 0)['tasks']}<={'left'}

def test_one_folder_for_one_machine(gpu, tmp_path, capsys):
    _,parts,_ = gpu
    (tmp_path/'about.json').write_text(json.dumps(dict(name='another card', smoke=False)))
    with pytest.raises(SystemExit, match='2'): parts.run_part('stacked', tmp_path, time.time(), 'cpu')
    assert re.search('another card.*choose another --out', capsys.readouterr().err)

def test_state_leaves_out_weights_that_find_no_room(gpu, tmp_path, monkeypatch):
    script,*_ = gpu
    monkeypatch.setattr(script, 'MOST', 5000)
    for name,n in {'stores/a/steps/x.json': 9000, 'stores/a/weights/x.safetensors': 3000,
        'stores/a/weights/y.safetensors': 4000, 'stores/a/data/z': 9}.items():
        f = tmp_path/'work'/name
        f.parent.mkdir(parents=True, exist_ok=True)
        f.write_bytes(os.urandom(n) if 'weights' in name else b'0'*n)
    assert script.keep_state(tmp_path/'work', tmp_path/'state.zip')==['stores/a/weights/y.safetensors']
    assert sorted(zipfile.ZipFile(tmp_path/'state.zip').namelist())==['stores/a/steps/x.json',
        'stores/a/weights/x.safetensors']

@pytest.mark.parametrize('n, shape', [(7, (1, 4, 6)), (10, (3, 5, 5)), (1, (3, 2, 2))])
def test_a_mosaic_loses_nothing(gpu, n, shape):
    x = torch.randint(0, 256, (n, *shape), dtype=torch.uint8)
    assert torch.equal(gpu[0].taken_apart(gpu[0].mosaic(x), n, shape), x)

def test_a_pack_carries_the_images(gpu, tmp_path, monkeypatch):
    "Named after the data set only where it holds all of it"
    script,*_ = gpu
    digits = dataset('digits')
    for sizes,name in (((1297, 500), 'digits'), ((40, 9), 'digits_part')):
        monkeypatch.setattr(script, 'SETS', dict(digits=sizes))
        with zipfile.ZipFile(tmp_path/'z', 'w') as z: script.carried(z, 'digits')
        zipfile.ZipFile(tmp_path/'z').extractall(tmp_path)
        got = script.unpacked(tmp_path/'data'/'digits')
        assert got.name==name and (len(got.train), len(got.test))==sizes
        assert torch.equal(got.test.x, digits.test.x[:sizes[1]]) and torch.equal(got.train.y, digits.train.y[:sizes[0]])

def test_what_is_missing_is_said_in_one_line(gpu, monkeypatch, tmp_path, capsys):
    script,*_ = gpu
    monkeypatch.setattr(script, 'NEEDED', ('torch', 'no_such_module'))
    monkeypatch.setattr(sys, 'path', sys.path[:])
    monkeypatch.setenv('PYTHONPATH', '')
    with pytest.raises(SystemExit, match='2'): script.main(['--out', str(tmp_path/'o')])
    line, = capsys.readouterr().err.splitlines()
    assert line.startswith('not installed: no_such_module. --wheels DIR') and not (tmp_path/'o').exists()

def test_what_is_missing_comes_from_wheels(gpu, tmp_path, monkeypatch, capsys):
    "Into a folder of its own; what is there already stays as it is, whatever lies among the wheels"
    script,*_ = gpu
    monkeypatch.setattr(sys, 'path', sys.path[:])
    monkeypatch.setenv('PYTHONPATH', '')
    about = 'tiny_thing-1.0.dist-info/'
    files = {'tiny_thing.py': 'size = 3', about+'METADATA': 'Metadata-Version: 2.1\nName: tiny-thing\nVersion: 1.0\n',
        about+'WHEEL': 'Wheel-Version: 1.0\nGenerator: by hand\nRoot-Is-Purelib: true\nTag: py3-none-any\n',
        about+'RECORD': ''}
    with zipfile.ZipFile(tmp_path/'tiny_thing-1.0-py3-none-any.whl', 'w') as z:
        for k,v in files.items(): z.writestr(k, v)
    (tmp_path/'torch-9.9-py3-none-any.whl').write_bytes(b'not to be looked at')
    script.add_wheels(tmp_path, tmp_path/'site')
    assert Path(find_spec('tiny_thing').origin).parent==tmp_path/'site' and not (tmp_path/'site'/'torch').exists()
    (tmp_path/'other-1.0-cp20-none-any.whl').write_bytes(b'for another Python')
    with pytest.raises(SystemExit): script.add_wheels(tmp_path, tmp_path/'site')
    assert 'not for this Python' in capsys.readouterr().err

@pytest.mark.slow
def test_a_pack_that_is_killed_goes_on_from_its_state(gpu, tmp_path, monkeypatch):
    "One file, run elsewhere, killed within a grid and run again to the end; its state.zip alone gives the same rows"
    script,*_ = gpu
    monkeypatch.setattr(script, 'SETS', dict(digits=(40, 9)))
    script.pack(tmp_path/'gpu.pyz', None)
    env = {k: v for k,v in os.environ.items() if k!='PYTHONPATH'}
    call = [sys.executable, 'gpu.pyz', '--device', 'cpu', '--parts', 'kohlbrenner', '--out', 'out', '--minutes', '3']
    p = subprocess.Popen(call, cwd=tmp_path, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True, env=env,
        start_new_session=True)
    next(line for line in p.stderr if line.startswith('[2/'))
    os.killpg(p.pid, signal.SIGKILL)
    p.communicate()
    kept = tmp_path/'out.work'/'stores'/'kohlbrenner'/'steps'
    first = {f.name: f.read_bytes() for f in kept.glob('[!.]*.json')}
    r = subprocess.run(call, cwd=tmp_path, capture_output=True, text=True, env=env)
    assert r.returncode==0 and r.stdout.splitlines()[-1].startswith('1 of 1 tasks finished on cpu'), r.stderr
    assert len(first)>=2 and all((kept/k).read_bytes()==v for k,v in first.items())
    rows = read(tmp_path/'out'/'grid.csv')
    assert {r['revision'] for r in rows}=={(tmp_path/'gpu.unpacked'/'revision.txt').read_text()}
    shutil.rmtree(tmp_path/'out.work')
    a = script.options(['--out', str(tmp_path/'out')])
    script.begin(a)
    script.write_out(a.out, a.work, {}, 0)
    assert read(tmp_path/'out'/'grid.csv')==rows
