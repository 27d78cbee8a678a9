"""What would spoil the narrative of the executors: workers killed in the middle, steps that kill them, schedulers that
hand a step out twice, two runs on one store."""
import multiprocessing, os, signal, socket, subprocess, sys, threading, time
from collections import Counter
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from pathlib import Path
import psutil, pytest, submitit
from distributed import Client, LocalCluster
from aepretrain_nb.experiment import executor
from aepretrain_nb.data.splits import Splits
from aepretrain_nb.data.named import dataset
from aepretrain_nb.experiment.executor import Processes, WorkerLost, check_executor, executor_of
from aepretrain_nb.compare import compare
from aepretrain_nb.experiment.recipe import find_recipe, merged
from aepretrain_nb.experiment.kinds import ExperimentError
from aepretrain_nb.papers.kohlbrenner import head
from torture.child import Child

digits = dataset('digits')
smoke = find_recipe('kohlbrenner', 'smoke')
small = dict(arms=['pretrained', 'random_default'], labels=[50, 100], seeds=3)  # 12 fits and 3 encoders

def table(res):
    # someone may commit meanwhile
    return res.rows.drop(columns=['seconds', 'images_s', 'revision']).to_csv(index=False)
def run(store, executor, **kw):
    return compare(digits, **(small | kw), recipe=smoke, store=store, executor=executor, progress=False)
def finished(store): return sorted((Path(store)/'steps').glob('[!.]*.json'))

def done(store):
    "How often each step ran to its end, as the log has it"
    f = Path(store)/'log.txt'
    return Counter(l.split()[3] for l in f.read_text().splitlines()
        if l.split()[2]=='done') if f.exists() else Counter()

@pytest.fixture(scope='module')
def whole(tmp_path_factory): return run(tmp_path_factory.mktemp('w')/'whole', None)

def complete(res, whole):
    "The table of an undisturbed run, each step run to its end once"
    assert table(res)==table(whole) and not len(res.missing) and not (res.store.path/'failed').exists()
    n = done(res.store.path)
    assert set(n.values())=={1} and len(n)<=len(finished(res.store.path))==15

def workers(): return multiprocessing.active_children()

@contextmanager
def killing(store, victims, at=3):
    "Kill one of `victims()` as soon as `at` steps are finished in the store; gives the list of the killed."
    killed = []
    def watch():
        while len(finished(store))<at or not victims(): time.sleep(.01)
        killed.append(victims()[0])
        os.kill(killed[0], signal.SIGKILL)
    t = threading.Thread(target=watch, daemon=True)
    t.start()
    yield killed
    t.join(10)
    assert killed

def test_the_log_has_each_step_once(whole): complete(whole, whole)

# Processes of this machine

def test_a_killed_process_costs_its_step_only(tmp_path, whole):
    with killing(tmp_path/'s', lambda: [p.pid for p in workers()]) as killed: res = run(tmp_path/'s', 2)
    complete(res, whole)
    pids = {l.split()[1].split(':')[1] for l in (tmp_path/'s'/'log.txt').read_text().splitlines()}
    assert len(pids)>=2 and not set(killed) & {p.pid for p in workers()}

# A head whose every fit takes its worker with it; other processes import it by this name.
def deadly(encoder, c, h, w, n_out, gen=None, width=1., act='scaled_tanh', dropout=0.):
    if multiprocessing.parent_process(): os.kill(os.getpid(), signal.SIGKILL)
    return head(encoder, c, h, w, n_out, gen, width, act, dropout)

def test_a_process_that_was_forked_from_one_with_workers_has_workers_of_its_own(tmp_path):
    def run():
        with Processes(1) as ex: return int(ex.submit(os.getpid).result()==os.getpid())
    assert run()==0
    c = Child(run, tmp_path)
    assert c.wait()==0, c.err()

def test_a_step_that_kills_its_process_is_recorded_as_failed(tmp_path, monkeypatch):
    monkeypatch.setenv('PYTHONPATH', str(Path(__file__).parent))
    poison = smoke | dict(head=smoke['head'] | dict(make='test_executors:deadly'))
    res = compare(digits, ['random_default'], [50], 1, poison, store=tmp_path/'s', executor='processes:2',
        progress=False)
    assert list(res.missing.reason)==['its worker was lost 2 times: killed by SIGKILL, perhaps for lack of memory']

# A head whose every fit hangs in a worker.
def hanging(encoder, c, h, w, n_out, gen=None, width=1., act='scaled_tanh', dropout=0.):
    if multiprocessing.parent_process(): time.sleep(1000)
    return head(encoder, c, h, w, n_out, gen, width, act, dropout)

@pytest.mark.slow
def test_a_hung_step_is_recorded_as_failed(tmp_path, monkeypatch):
    monkeypatch.setenv('PYTHONPATH', str(Path(__file__).parent))
    slow = smoke | dict(head=smoke['head'] | dict(make='test_executors:hanging'))
    with Processes(1, timeout=3) as ex:
        res = compare(digits, ['random_default'], [50], 1, slow, store=tmp_path/'s', executor=ex, progress=False)
    assert list(res.missing.reason)==['its worker was lost 2 times: no end after 3 s, so it was killed']

def test_a_timeout_ends_the_hung_call_only():
    "A worker that was stopped cannot be asked to end; an error that is called a time-out is the call's own"
    with Processes(2, timeout=4) as ex:
        hung,fine = ex.submit(signal.raise_signal, signal.SIGSTOP),ex.submit(os.getpid)
        with pytest.raises(TimeoutError, match='my own'): ex.submit(exec, "raise TimeoutError('my own')").result()
        with pytest.raises(WorkerLost, match='no end after 4 s'): hung.result()
        assert ex.submit(os.getpid).result()==fine.result()

def test_a_worker_that_died_idle_costs_nothing():
    "Whether or not its death was noticed before the next call"
    with Processes(1) as ex:
        for wait in (0, 0, 0, .001, .01, .1):
            last = ex.submit(os.getpid).result()
            os.kill(last, signal.SIGKILL)
            time.sleep(wait)
            assert ex.submit(os.getpid).result()!=last

@pytest.mark.parametrize('executor,timeout,names',
    [(None, 0, 'timeout is 0: seconds above 0'), (2, '60', "timeout is '60'"),
    (2, float('nan'), 'timeout is nan'), ('dask:tcp://127.0.0.1:1', 60, 'kept by processes:N and submitit')])
def test_a_timeout_that_nobody_keeps_is_refused(executor, timeout, names):
    with pytest.raises(ExperimentError, match=names), executor_of(executor, timeout=timeout): pass

def test_one_process_with_a_timeout_is_one_that_can_be_ended():
    with executor_of(None, timeout=60) as ex:
        assert (ex.width, ex.timeout)==(1, 60) and ex.submit(os.getpid).result()!=os.getpid()

def test_slurm_counts_in_minutes(tmp_path):
    with executor_of('submitit', tmp_path, timeout=61) as ex: assert ex.executor._executor.parameters['timeout_min']==2

def test_workers_end_with_their_parent(tmp_path):
    def run():
        with Processes(1) as ex:
            print(ex.submit(os.getpid).result(), file=sys.stderr)
            ex.submit(time.sleep, 1000).result()
    c = Child(run, tmp_path)
    while c.ended() is None and not c.err().endswith('\n'): time.sleep(.01)
    worker = psutil.Process(int(c.err()))
    os.kill(c.pid, signal.SIGKILL)
    assert c.wait()==-signal.SIGKILL and not psutil.wait_procs([worker], timeout=10)[1]

def test_workers_that_cannot_start_are_no_steps_fault(monkeypatch):
    def stillborn(): raise BrokenProcessPool
    monkeypatch.setattr(executor, '_Worker', stillborn)
    with Processes(1) as ex, pytest.raises(ExperimentError, match="below `if __name__=='__main__':`"):
        ex.submit(os.getpid).result()

def test_a_pool_of_ones_own_that_breaks_is_one_line(tmp_path):
    with ProcessPoolExecutor(1) as ex:
        with pytest.raises(Exception): ex.submit(os._exit, 1).result()
        with pytest.raises(ExperimentError, match='run the same again') as e: run(tmp_path/'s', ex)
    assert '\n' not in str(e.value)

# dask

@pytest.fixture(scope='module')
def cluster():
    with LocalCluster(host='127.0.0.1', processes=True, n_workers=2, threads_per_worker=1, dashboard_address=None,
        worker_dashboard_address=None) as c:
        yield c

@pytest.fixture
def client(cluster):
    with Client(cluster, set_as_default=False) as c:
        c.wait_for_workers(2)
        yield c

def test_dask_listens_on_loopback_only(cluster):
    me = psutil.Process()
    for p in [me, *me.children(recursive=True)]:
        assert {c.laddr.ip for c in p.net_connections('tcp') if c.status==psutil.CONN_LISTEN} <= {'127.0.0.1'}

@pytest.mark.slow
def test_a_killed_dask_worker_costs_its_step_only(tmp_path, whole, client):
    pids = lambda: list(client.run(os.getpid).values())
    before = pids()
    with killing(tmp_path/'s', lambda: before) as killed: res = run(tmp_path/'s', client.get_executor())
    complete(res, whole)
    assert killed[0] not in pids()

@pytest.mark.slow
def test_dask_by_address_with_own_images_and_a_relative_folder(tmp_path, client, monkeypatch):
    monkeypatch.chdir(tmp_path)
    own = Splits('mine', digits.train.take(range(300)), digits.test.take(range(100)))
    a,b = (compare(own, ['pretrained'], [50], 1, smoke, store=str(i), executor=ex, progress=False)
        for i,ex in enumerate((None, f'dask:{client.scheduler.address}')))
    assert table(a)==table(b) and len(b.rows)==1

@pytest.mark.slow
def test_dask_tries_a_failed_step_again(tmp_path, client):
    "Equal arguments are one task to dask, which would give the old answer."
    bad = merged(smoke, dict(finetune=dict(opt='sgd', lr=1e38)))
    go = lambda: compare(digits, ['random_default'], [50], 1, bad, store=tmp_path/'s', executor=client, progress=False)
    assert len(go().missing)==len(go().missing)==1
    assert (tmp_path/'s'/'log.txt').read_text().count(' failed ')==2

@pytest.mark.slow
def test_dask_and_this_process_share_one_store(tmp_path, whole, client):
    other = threading.Thread(target=run, args=(tmp_path/'s', client), kwargs=dict(seeds=10))
    other.start()
    while other.is_alive() and not finished(tmp_path/'s'): time.sleep(.01)  # workers take seconds to start
    res = run(tmp_path/'s', 1, seeds=10)
    other.join()
    assert table(run(tmp_path/'s', None))==table(whole) and not len(res.missing)
    assert set(done(tmp_path/'s').values())=={1} and len(finished(tmp_path/'s'))==50
    assert len({l.split()[1] for l in (tmp_path/'s'/'log.txt').read_text().splitlines()})>1

def test_no_scheduler_is_one_line():
    with socket.socket() as s:
        s.bind(('127.0.0.1', 0))
        with pytest.raises(ExperimentError, match='no dask scheduler answers at tcp://127.0.0.1') as e:
            executor._dask(f'tcp://127.0.0.1:{s.getsockname()[1]}', timeout=1)
    assert '\n' not in str(e.value)

# submitit

@pytest.mark.slow
def test_submitit_runs_the_encoder_first_and_outlives_a_killed_job(tmp_path, whole, monkeypatch):
    monkeypatch.setattr(submitit.LocalJob, '_results_timeout_s', 0)
    with executor_of('submitit', tmp_path/'jobs') as ex:
        jobs = lambda: [p.pid for p in psutil.Process().children(recursive=True)
            if 'submitit.core._submit' in p.cmdline()]
        with killing(tmp_path/'s', jobs, at=0): res = run(tmp_path/'s', ex, arms=['pretrained'], labels=[50], seeds=1)
    assert list(done(tmp_path/'s').values())==[1, 1] and not len(res.missing)
    assert res.rows.value[0]==whole.rows.set_index('key').value[res.rows.key[0]]

def test_a_missing_extra_is_one_line(monkeypatch):
    monkeypatch.setitem(sys.modules, 'submitit', None)
    with pytest.raises(ExperimentError, match=r'pip install "aepretrain_nb\[slurm\]"'): check_executor('submitit')
