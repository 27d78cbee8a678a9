"""Several at once on one folder: one is let in, nobody's tables are lost, who waits says for whom, and thousands of
finished steps are read once"""
import io, os, re, signal, sys, time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
import pandas as pd, psutil, pytest, torch
from aepretrain_nb.cli import main
from aepretrain_nb.compare import compare, read_results
from aepretrain_nb.data.named import dataset
from aepretrain_nb.data.sets import ImageSet
from aepretrain_nb.data.splits import Splits
from aepretrain_nb.experiment import grid, records, work
from aepretrain_nb.experiment.grid import needed
from aepretrain_nb.experiment.kinds import ExperimentError
from aepretrain_nb.experiment.plan import plan
from aepretrain_nb.experiment.recipe import find_recipe
from aepretrain_nb.experiment.step import chain, to_json
from aepretrain_nb.experiment.store import Store
from aepretrain_nb.experiment.work import data_ref
from aepretrain_nb.gather import gather
from torture.child import Child

pytestmark = pytest.mark.usefixtures('no_pictures')

digits,smoke = dataset('digits'),find_recipe('kohlbrenner', 'smoke')
ARGS = 'compare digits --recipe kohlbrenner --setting smoke --labels 50 --arms random_default'.split()

def end(child):
    "Exit code and what was said"
    return child.wait(),child.file('out').read_text(encoding='utf-8') + child.err()

# One is let in

def test_of_two_recipes_that_begin_a_folder_together_one_is_let_in(tmp_path, n=60):
    digits.digest
    def run(lr):
        r = find_recipe('kohlbrenner', 'smoke', finetune=dict(lr=lr))
        for i in range(n):
            while time.time()<start+.02*i: pass
            try: Store(tmp_path/str(i)).adopt(digits, r)
            except ExperimentError as e: print('out' if 'another recipe (differs in finetune)' in str(e) else e)
            else: print('in')
        return 0
    start = time.time()+.3
    both = [Child(lambda lr=lr: run(lr), tmp_path) for lr in (.1, .2)]
    (_,a),(_,b) = (end(c) for c in both)
    assert [sorted(o) for o in zip(a.split('\n'), b.split('\n'))]==[['in', 'out']]*n + [['', '']]
    assert [sorted(f.name for f in (tmp_path/str(i)).iterdir()) for i in range(n)]==[['experiment.json']]*n

# Tables

def slow(kind, key, seconds):
    "Writing one kind of record takes long in this process"
    put = Store.put
    def slowly(self, k, record, where='steps'):
        if (where, k)==(kind, key): time.sleep(seconds)
        put(self, k, record, where)
    Store.put = slowly

def test_what_two_calls_ask_together_is_kept_of_both(tmp_path):
    "One reads what was asked, and is overtaken before it writes"
    def first():
        slow('plan', 'cells', 1.5)
        return main([*ARGS, '--seeds', '1', '--out', 'o'])
    a = Child(first, tmp_path)
    while a.ended() is None and not (tmp_path/'o'/'plan').exists(): time.sleep(.01)
    b = Child([*ARGS, '--labels', '100', '--seeds', '2', '--out', 'o'], tmp_path)
    (ca,sa),(cb,sb) = end(a),end(b)
    assert (ca, cb)==(0, 0), sa+sb
    assert Counter(read_results(tmp_path/'o').rows.labels)=={50: 1, 100: 2}
    assert Counter(pd.read_csv(tmp_path/'o'/'results.csv').labels)=={50: 1, 100: 2}

def test_tables_of_two_calls_that_end_together_hold_both(tmp_path):
    "One has read the folder, and is overtaken before it writes its tables"
    def first():
        from aepretrain_nb.answers.results import Results
        save = Results.save
        def slowly(self, folder):
            (tmp_path/'reading-done').touch()
            time.sleep(2)
            return save(self, folder)
        Results.save = slowly
        return main([*ARGS, '--seeds', '1', '--out', 'o'])
    a = Child(first, tmp_path)
    while a.ended() is None and not (tmp_path/'reading-done').exists(): time.sleep(.01)
    b = Child([*ARGS, '--labels', '100', '--seeds', '2', '--out', 'o'], tmp_path)
    (ca,sa),(cb,sb) = end(a),end(b)
    assert (ca, cb)==(0, 0), sa+sb
    assert Counter(pd.read_csv(tmp_path/'o'/'results.csv').labels)=={50: 1, 100: 2}
    assert not [*(tmp_path/'o').rglob('.*')]

# Waiting

def test_who_waits_says_for_whom_and_since_when(tmp_path, monkeypatch):
    store,step = Store(tmp_path/'o'),plan(digits, smoke, ['random_default'], [50], 1)[0]
    store.adopt(digits, smoke)
    held = store.claim(step.key)
    assert held.__enter__()
    class Screen(io.StringIO):
        def write(self, s):
            if s.startswith('waiting for'): held.__exit__(None, None, None)
            return super().write(s)
    monkeypatch.setattr(sys, 'stderr', screen := Screen())
    begun = time.monotonic()
    res = compare('digits', ['random_default'], [50], 1, smoke, store=store.path)
    assert len(res.rows)==1 and time.monotonic()-begun>5
    line, = [l for l in screen.getvalue().splitlines() if l.startswith('waiting for')]
    assert re.fullmatch(rf'waiting for random_default, 50 labels, seed 0: held by \S+:{os.getpid()} since '
        rf'\d{{4}}-\d\d-\d\dT\d\d:\d\d:\d\d', line)

# Workers that begin

@pytest.mark.slow
def test_an_interruption_while_workers_start_is_two_lines_and_leaves_nobody(tmp_path):
    c = Child([*ARGS, '--seeds', '4', '--processes', '2', '--out', 'o'], tmp_path)
    me = psutil.Process(c.pid)
    while c.ended() is None and not [p for p in me.children() if 'multiprocessing' in ' '.join(p.cmdline())]:
        time.sleep(.005)
    os.killpg(c.pid, signal.SIGINT)
    code,said = end(c)
    # which speaks of processes that are forked and not begun by Python
    said = re.sub(r'(?s)\S*resource_tracker.*', '', said)
    assert code==130 and 'Traceback' not in said and 'To go on' in said
    assert said.splitlines()[-1].startswith('  aepretrain compare')
    assert not psutil.wait_procs([p for p in psutil.process_iter() if p.pid!=c.pid and os.getsid(p.pid)==c.pid],
        timeout=15)[1]
    assert not (tmp_path/'o'/'copies').exists()

# One copy of the images

@pytest.mark.skipif(not Path('/proc/self/maps').exists(), reason='reads /proc')
def test_workers_map_one_file_that_holds_each_image_once(tmp_path):
    x = torch.zeros(20_000, 1, 32, 32, dtype=torch.uint8)
    own = Splits('mine', ImageSet(x, torch.arange(len(x))%10), ImageSet(x[:500], torch.arange(500)%10))
    store = Store(tmp_path/'o')
    ref = data_ref(own, store)
    f = Path(ref['file'])
    assert x.nbytes<f.stat().st_size<1.1*x.nbytes
    work._loaded.clear()
    there = work.load_ref(ref)
    assert there.unlabelled.x.data_ptr()==there.train.x.data_ptr() and there.digest==own.digest
    at = there.train.x.data_ptr()
    spans = [l.split() for l in Path('/proc/self/maps').read_text().splitlines() if l.endswith(str(f))]
    assert any(a<=at<b for a,b in ([int(o, 16) for o in s[0].split('-')] for s in spans))

def test_what_a_loader_gives_is_there_for_workers_while_the_grid_runs(tmp_path, monkeypatch):
    seen,plain = [],grid.Grid.run
    def run(self):
        seen.extend((tmp_path/'o'/'copies').iterdir())
        plain(self)
    monkeypatch.setattr(grid.Grid, 'run', run)
    with ThreadPoolExecutor(1) as ex:
        compare('digits', ['random_default'], [50], 1, smoke, store=tmp_path/'o', executor=ex, progress=False)
    assert len(seen)==1 and not (tmp_path/'o'/'copies').exists()

# Many steps

def test_a_finished_step_is_looked_at_once_and_a_grid_is_read_in_time_that_grows_with_it(tmp_path, monkeypatch):
    steps = plan(digits, smoke, ['pretrained', 'random_default'], [50], 40)
    every = {s.key: s for s in [o for s in steps for o in chain(s)]}
    store,row = Store(tmp_path/'o'),dict(value=61.5, metric='accuracy', unit='%', steps=20, seconds=.5,
        n_unlabelled=100)
    for s in every.values():
        if s.do=='reconstruct': store.keep_weights(s, {'': {}})
        store.put(s.key, dict(step=to_json(s), row=row | dict(key=s.key), curve=[.5]))
    looked,plain = Counter(),records._check_form
    monkeypatch.setattr(records, '_check_form', lambda record, path: (looked.update([path]), plain(record, path)))
    fresh = Store(tmp_path/'o')
    assert needed(steps, fresh)=={} and len(gather(steps, fresh, digits, smoke).rows)==len(steps)==80
    times = {f: n for f,n in looked.items() if f.parent.name=='steps'}
    assert len(times)==len(every)==120 and set(times.values())=={1}
