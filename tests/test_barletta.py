"Barletta & De Benedetti: what their numbers are, what their code did, and what neither reading may do"
import pytest, torch
from aepretrain_nb.data.splits import Splits
from aepretrain_nb.data.named import dataset
from aepretrain_nb.data.sets import generator
from aepretrain_nb.compare import compare
from aepretrain_nb.data.sets import ImageSet
from aepretrain_nb.experiment import stack
from aepretrain_nb.experiment.plan import plan
from aepretrain_nb.experiment.pretrain import reconstruct
from aepretrain_nb.experiment.build import build_classifier
from aepretrain_nb.experiment.stack import classify
from aepretrain_nb.answers.rows import recorded
from aepretrain_nb.papers.barletta_claims import CLAIMS
from aepretrain_nb.papers.barletta import (LABELS, arms, cnn_view, conv_ae, encoder, frozen_view, recipe,
    reported_rows, softmax_net, studies)

pytestmark = pytest.mark.usefixtures('no_pictures')

digits = dataset('digits')
others = dict(fashion_mnist=Splits('fashion_mnist', digits.train.take(range(900)), digits.test))
count = lambda m: sum(p.numel() for p in m.parameters())

# The table of facts.md section 002 (a): accuracy after 100 epochs, from the authors' logs
PINNED = dict(cnn=(68.09, 81.25, 84.44, 90.27, 91.94, 89.38, 88.28, 85.98, 88.68),
    sparse=(61.21, 83.38, 77.68, 82.25, 85.49, 84.93, 86.81, 90.19, 86.50),
    plain=(66.64, 79.38, 86.36, 87.23, 80.65, 77.59, 83.14, 92.35, 85.55),
    sparse_fashion=(54.47, 68.78, 72.47, 73.14, 77.98, 76.75, 82.39, 92.20, 81.18),
    random=(55.85, 65.95, 73.35, 74.02, 80.27, 82.26, 86.84, 93.31, 84.75))

@pytest.mark.parametrize('arm', PINNED)
def test_the_reported_accuracies_are_those_of_the_logs(arm):
    r = reported_rows().query('arm==@arm').set_index('labels').value
    assert [round(r[n], 2)
        for n in (160, 480, 960, 1120, 1920, 2080, 4000, 8000)] + [round(r.mean(), 2)]==pytest.approx(PINNED[arm],
        abs=.0051)

def test_random_beats_the_others_as_often_as_their_own_numbers_say():
    r = reported_rows().pivot(index='labels', columns='arm', values='value')
    assert {a: int((r.random>r[a]).sum())
        for a in ('sparse_fashion', 'plain', 'sparse', 'cnn')}==dict(sparse_fashion=47, plain=29, sparse=21, cnn=15)
    assert int((r['sparse']>r['plain']).sum())==32 and int((r['sparse']>r['cnn']).sum())==14

def test_parameter_counts():
    g = torch.Generator()
    assert count(encoder(1))==372 and count(softmax_net(encoder(1), 1, 28, 28, 10, g).head)==1970
    assert count(softmax_net(encoder(1, filters=(5, 5)), 1, 28, 28, 10, g, dropout=.2))==2740

@pytest.mark.parametrize('c,h,w', [(1, 28, 28), (3, 32, 32), (1, 13, 9), (2, 7, 30)])
def test_a_reconstruction_has_the_size_of_its_image(c, h, w):
    ae,x = conv_ae(c, h, w, torch.Generator().manual_seed(0)),torch.rand(2, c, h, w)
    assert ae(x).shape==x.shape
    ae(x).square().sum().backward()
    assert all(p.grad is not None and p.grad.abs().sum()>0 for p in ae.parameters())

def test_the_views_of_mnist_are_the_authors():
    images = lambda n, at: ImageSet(torch.arange(at, at+n, dtype=torch.int32).remainder(251).to(torch.uint8).reshape(n,
        1, 1, 1).expand(n, 1, 2, 2).clone(), torch.arange(n)%10)
    s = Splits('mnist', images(60_000, 0), images(10_000, 7))
    f,c = frozen_view(s),cnn_view(s)
    assert torch.equal(f.train.x, s.test.x[:8000]) and torch.equal(f.test.x, s.test.x[8000:8350])
    assert len(f.unlabelled)==60_000
    assert torch.equal(c.train.x, s.train.x[:8000]) and torch.equal(c.test.x, s.test.x[:350]) and f.derived
    assert c.derived

def test_as_written_trains_on_the_first_n_and_shares_one_encoder():
    r = recipe('smoke', 'as_written', 'frozen')
    ts = plan(frozen_view(digits), r, labels=[64], seeds=3, pretrain_sets=others)
    assert {t.seeds['encoder'] for t in ts}=={0} and {t.seeds['head'] for t in ts}=={0, 1, 2}
    assert {t.data['valid'] for t in ts}=={'test'}
    random = [build_classifier(t, frozen_view(digits)).encoder.state_dict() for t in ts if t.arm=='random']
    assert all(torch.equal(v, random[0][k]) for s in random for k,v in s.items())

def test_fair_draws_encoders_anew_and_gives_every_arm_the_same_images():
    r = recipe('smoke', 'fair')
    ts = plan(digits, r, labels=[64], seeds=3, pretrain_sets=others)
    assert {t.arm for t in ts}==set(arms()) and {t.seeds['encoder'] for t in ts}=={0, 1, 2}
    assert not any('valid' in t.data for t in ts)
    a,b = (build_classifier(t, digits).encoder.state_dict() for t in [t for t in ts if t.arm=='random'][:2])
    assert not any(torch.equal(v, b[k]) for k,v in a.items())

def test_arms_differ_in_the_one_thing_under_test():
    r = recipe('paper', 'fair')
    ts = {t.arm: t for t in plan(digits, r | dict(pretrain=r['pretrain'] | dict(n_valid=97)), labels=[160], seeds=1,
        pretrain_sets=others)}
    frozen = [ts[a] for a in arms() if a!='cnn']
    before = {a: ts[a].parents[0] for a in ('plain', 'sparse', 'sparse_fashion')}
    assert len({str(t.fit) for t in frozen})==1 and len({str(t.net) for t in frozen})==1
    assert before['plain'].fit | dict(sparsity=1e-3, penalty='code')==before['sparse'].fit
    assert before['sparse'].fit | dict(steps=100*((900-97)//32))==before['sparse_fashion'].fit
    assert before['sparse_fashion'].data['digest']==others['fashion_mnist'].digest!=before['sparse'].data['digest']
    assert ts['plain'].fit['steps']==100*(128//16)

LONGER = 'knn','finetuned','momentum'

@pytest.mark.parametrize('study', [pytest.param(s, marks=pytest.mark.slow if s in LONGER else [])
    for s in studies() if s!='main'])
def test_every_study_runs(study):
    got = compare(digits, recipe=recipe('smoke', 'fair', study), labels=[64], seeds=1, pretrain_sets=others,
        progress=False)
    assert not len(got.missing) and got.rows.value.between(0, 100).all() and got.rows.never.notna().all()

def test_held_out_images_are_not_trained_on():
    "At one rate; among several, they choose."
    one = recipe('smoke', 'fair', 'frozen', pretrain=dict(opt='adam'))
    t = next(t for t in plan(digits, one, labels=[64], seeds=1, pretrain_sets=others) if t.arm=='plain').parents[0]
    order = torch.randperm(len(digits.unlabelled), generator=generator('unlabelled', digits.digest, t.seeds['encoder']))
    x = digits.unlabelled.x.clone(); x[order[:97]] = 255-x[order[:97]]
    other = Splits('digits', digits.train, digits.test, type(digits.unlabelled)(x))
    a = reconstruct(t, digits)[0].state_dict()
    b = reconstruct(t, Swapped(other, digits.digest))[0].state_dict()
    assert all(torch.equal(v, b[k]) for k,v in a.items())

class Swapped:
    "Splits with other pixels under the same digest, so that all streams stay the same"
    def __init__(self, splits, digest):
        self.folds,self.train,self.test,self.unlabelled = None,splits.train,splits.test,splits.unlabelled
        self.digest = self.content = digest

def test_sizes_are_the_papers():
    assert (len(LABELS), LABELS[0], LABELS[-1], sum(n//16 for n in LABELS))==(50, 160, 8000, 12_750)

# Heads trained as one, in the grid

def test_heads_trained_as_one_are_those_of_a_learner(monkeypatch):
    r = recipe('smoke', 'fair', 'frozen', finetune=dict(lr=.01, epochs=20, evals=5))
    ts = plan(digits, r, ['random'], labels=[64, 160], seeds=2)
    ours = [classify(t, digits) for t in ts]
    monkeypatch.setattr(stack, 'together', lambda *_: None)
    for t,(net,res) in zip(ts, ours):
        other,own = classify(t, digits)
        for (k,p),q in zip(net.state_dict().items(), other.state_dict().values()):
            assert torch.allclose(p, q, atol=2e-6, rtol=1e-5), k
        assert (res['curve'], res['value'], res['train'], res['confusion'], res['steps'], res['subset'])==(own['curve'],
            own['value'], own['train'], own['confusion'], own['steps'], own['subset'])
        assert [v for _,v in res['losses']]==pytest.approx([v for _,v in own['losses']], abs=1e-5)

@pytest.mark.slow
def test_a_grid_of_heads_is_the_same_however_it_is_cut(tmp_path):
    r,times = recipe('smoke', 'fair', 'frozen'),['seconds', 'images_s']
    kw = dict(recipe=r, arms=['plain', 'random'], pretrain_sets=others, progress=False)
    whole = compare(digits, labels=[64, 160], seeds=3, store=tmp_path/'whole', **kw).rows.drop(columns=times)
    for labels,seeds in (([160], 1), ([64], 3), ([64, 160], 3)):
        parts = compare(digits, labels=labels, seeds=seeds, store=tmp_path/'parts', **kw)
    assert len(whole)==12 and parts.rows.drop(columns=times).to_csv()==whole.to_csv()
    log = (tmp_path/'whole/log.txt').read_text().split('done')[1:]
    assert len(log)==len({l.split()[0] for l in log})
    two = compare(digits, labels=[64, 160], seeds=3, store=tmp_path/'two', executor=2, **kw)
    assert two.rows.drop(columns=times).to_csv()==whole.to_csv()

def test_a_head_that_diverges_fails_alone(tmp_path):
    r = recipe('smoke', 'fair', 'frozen', finetune=dict(opt='sgd', clip=None))
    r['finetune'] |= dict(tune='each', lr=[1e-3])
    wild = r | dict(arms=dict(tame=r['arms']['random'],
        wild=r['arms']['random'] | dict(change=dict(finetune=dict(freeze=['encoder.'], lr=[1e38])))))
    got = compare(digits, recipe=wild, labels=[64, 160], seeds=1, store=tmp_path/'s', progress=False)
    assert set(got.rows.arm)=={'tame'} and got.missing.arm.tolist()==['wild']*2
    assert got.missing.reason.str.startswith('StepFailed: diverged at lr 1e+38').all()

def test_shuffled_test_labels_change_no_head(tmp_path):
    r = recipe('smoke', 'fair', 'frozen')
    other = Splits('digits', digits.train, ImageSet(digits.test.x, digits.test.y.flip(0)), digits.unlabelled)
    t = plan(digits, r, ['random'], labels=[160], seeds=1)[0]
    (a,ra),(b,rb) = (classify(t, s) for s in (digits, Swapped(other, digits.digest)))
    assert all(torch.equal(p, q) for p,q in zip(a.parameters(), b.parameters())) and ra['lr']==rb['lr']
    assert ra['curve']==rb['curve'] and ra['value']!=rb['value']

@pytest.mark.slow
def test_as_written_from_the_command_line_says_that_it_leaks(tmp_path, capsys):
    from aepretrain_nb.cli import main
    main(['compare', 'digits', '--recipe', 'barletta', '--set', 'reading=as_written', '--set', 'study=frozen', '--arms',
        'plain,random', '--labels', '64', '--seeds', '1', '--out', str(tmp_path/'s')])
    assert 'validation looked at the test images' in capsys.readouterr().out
    assert 'the test images: a leak' in (tmp_path/'s/report.html').read_text()

@pytest.mark.parametrize('study,kept', [('stopped', ['plain_1', 'plain_2']),
    ('frozen', ['sparse', 'plain', 'sparse_fashion', 'random'])])
def test_checkpoints_choose_only_among_arms_that_start_from_one(study, kept):
    assert list(recipe('smoke', 'fair', study, pretrain=dict(checkpoints=[1, 2]))['arms'])==kept

def test_arms_run_whatever_checkpoints_are_kept():
    r = recipe('smoke', 'fair', 'stopped', pretrain=dict(checkpoints=[1, 2]))
    res = compare(digits, recipe=r, labels=[64], seeds=1, progress=False)
    assert sorted(res.rows.arm)==['plain_1', 'plain_2'] and not len(res.missing)

def test_the_start_that_the_paper_writes_down_reaches_sqrt_6_times_as_far():
    widest = {}
    for study,arm in (('frozen', 'random'), ('starts', 'random_paper')):
        t, = plan(digits, recipe('smoke', 'fair', study), [arm], labels=[64], seeds=1, pretrain_sets=others)
        widest[arm] = build_classifier(t, digits).encoder.stages['conv2'].conv.weight.abs().max().item()
    assert widest['random_paper']/widest['random']==pytest.approx(6**.5, rel=.06) and widest['random_paper']<=(6/72)**.5

def test_recorded_rows_say_what_chance_and_the_mean_image_are():
    rows = recorded('barletta').query("reading!='reported'")
    fits,encoders = rows[rows.kind=='fit'],rows[rows.kind=='encoder']
    assert fits.chance.between(10, 15).all() and set(fits.n_test)=={350, 10_000}
    assert set(fits.n_test[fits.reading=='as_written'])=={350}
    assert (encoders.mse<encoders.pca).all() and (encoders.pca<encoders.mean_image).all()

def test_claims_are_asked_at_any_level():
    rows = recorded('barletta')
    for c in CLAIMS:
        for reading in ('as_written', 'fair'):
            ask = c.ask_of(reading)
            if ask and getattr(ask, 'beside', None) is None:
                ask(rows[(rows.reading==reading) & (rows.setting=='paper')][:400], .9)

def test_as_written_a_network_starts_anew_and_an_encoder_is_shared():
    "Section 5: in each run of the CNN the weights are drawn anew; the frozen arms have one encoder"
    def starts(study, arm):
        r = recipe('smoke', 'as_written', study) | dict(labels=dict(n=[64]))
        return {s.seeds['encoder'] for s in plan(digits, r, [arm], [64], 2)}
    assert starts('cnn', 'cnn')=={0, 1} and starts('frozen', 'random')=={0}
