"""Run one of the parts of `benchmarks/gpu.py`: what a task gave is written down as it ends, and is not run again."""
import json, signal, time
from pathlib import Path

import torch
from aepretrain_nb.data.ground import write_whole
from gpu import stop
from gpu_grids import dong, kohlbrenner, parity, zhang
from gpu_steps import Job, Task, TimeUp, here, stacked, throughput

PARTS = dict(parity=parity, throughput=throughput, stacked=stacked, kohlbrenner=kohlbrenner, dong=dong, zhang=zhang)

def carried_out(task, before):
    "What a task gave, or why it gave nothing"
    start = time.perf_counter()
    try: out = task(before)
    except TimeUp: out = Task(state='left', why='time was up')
    except Exception as e: out = Task(state='failed', why=f'{type(e).__name__}: {(str(e).splitlines() or [""])[0]}')
    return vars(out) | dict(seconds=round(time.perf_counter()-start, 2))

def run_tasks(
    name:str, # of a part
    job:Job,
    until:float # seconds since the epoch
):
    "Run what is not done of a part, and write each task down as it ends."
    file = job.work/'parts'/f'{name}.json'
    known = json.loads(file.read_text(encoding='utf-8')) if file.exists() else {}
    def note(): write_whole(file, lambda f: f.write_text(json.dumps(known, indent=1), encoding='utf-8'))
    for what,task in PARTS[name](job):
        known.setdefault(what, vars(Task(state='left', why='not begun')))
        if known[what]['state']=='done' or time.time()>=until: continue
        before = sum((o['rows'] for o in known.values()), [])
        known[what] = carried_out(task, before)
        print(f'{name}, {what}: {known[what]["state"]} {known[what]["why"]}', flush=True)
        note()
    note()

def run_part(name, work, until, device=None, smoke=False, processes=1):
    "Run a part until its time is up, on the machine that `work` belongs to"
    about,file = here(device, smoke),work/'about.json'
    old = json.loads(file.read_text(encoding='utf-8')) if file.exists() else about
    for k in ('name', 'smoke'):
        if old[k]==about[k]: continue
        stop(f'{work} holds what was measured with {k} {old[k]}, not {about[k]}: choose another --out')
    write_whole(file, lambda f: f.write_text(json.dumps(about), encoding='utf-8'))
    def over(*_): raise TimeUp
    signal.signal(signal.SIGALRM, over)
    signal.setitimer(signal.ITIMER_REAL, max(.01, until-time.time()))
    torch.set_num_threads(1)
    try: run_tasks(name, Job(about['device'], about['smoke'], work, processes), until)
    except TimeUp: pass
    finally: signal.setitimer(signal.ITIMER_REAL, 0)
