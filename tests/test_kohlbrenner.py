"Kohlbrenner et al.: the model at any width and size, its initialisations, the transfer and the recipe."
from aepretrain_nb.imports import *
import pytest
from hypothesis import given, settings, strategies as st
from aepretrain_nb.nets.autoencoder import Autoencoder, TiedDecoder
from aepretrain_nb.nets.loss import ReconLoss
from aepretrain_nb.nets.encoder import feature_sizes
from aepretrain_nb.nets.layers import init_
from aepretrain_nb.papers.kohlbrenner import *
from aepretrain_nb.papers.kohlbrenner_claims import CLAIMS
from aepretrain_nb.answers.ledger import ledger, settle
from aepretrain_nb.answers.rows import recorded
from aepretrain_nb.experiment.plan import steps_at
from aepretrain_nb.experiment.recipe import at_edge, candidates, check_recipe

few = settings(max_examples=25, deadline=None)
def gen(s=0): return torch.Generator().manual_seed(s)
def nparams(m): return sum(p.numel() for p in m.parameters())

@few
@given(c=st.integers(1,4), h=st.integers(4,40), w=st.integers(4,40), width=st.floats(.01,.1),
    pools=st.sampled_from(['table','code']), down=st.sampled_from(['max','stride']))
def test_any_width_and_size(c, h, w, width, pools, down):
    ae = tied_cae(c, h, w, gen(), width=width, pools=pools)
    net = cnn(strided(ae.encoder) if down=='stride' else ae.encoder, c, h, w, 7, gen(), width=width)
    x = torch.rand(2,c,h,w)
    assert ae(x).shape==x.shape and net(x).shape==(2,7)
    a,b,d,k = channels(width)
    n = math.prod(math.ceil(s/(4 if pools=='table' else 8)) for s in (h,w))
    enc = (25*c+1)*a + (25*a+1)*b + (9*b+1)*d
    assert nparams(ae)==enc+c+a+b and nparams(net)==enc+(n*d+1)*k+(k+1)*7

@pytest.mark.parametrize('c,h,w,pools,n',
    [(1,28,28,'table',4_415_384), (1,28,28,'code',1_880_984), (3,32,32,'table',5_572_384), (3,32,32,'code',1_885_984)])
def test_parameter_counts_of_the_paper(c, h, w, pools, n):
    with torch.device('meta'): enc = encoder(c, pools=pools)
    f = math.prod(feature_sizes(enc, c, h, w)['conv3'])
    assert nparams(enc) + (f+1)*384 + 385*10==n

def test_initialisations():
    ae = tied_cae(1, 28, 28, gen())
    for n,p in ae.named_parameters():
        if 'bias' in n: assert (p==.001).all()
        else: assert (p-.001).abs().max()<=.1+1e-6 and abs(p.std()-.05*.8796)<2e-3
    net = cnn(ae.encoder, 1, 28, 28, 10, gen())
    for n,p in net.head.named_parameters():
        if 'bias' in n: assert (p==1e-4).all()
        else: assert p.abs().max()<=.002+1e-8
    enc = init_(encoder(1), REF_INIT, gen())
    W = enc.stages.conv2.conv
    assert abs(W.weight.std()-.2)<2e-3 and (W.bias==1e-4).all()

def test_arms_differ_in_the_encoder_only():
    "Heads come from their own stream: whatever filled the encoder, the same head."
    nets = [cnn(init_(encoder(1, width=.1), a.get('change', {}).get('encoder', {}).get('init', CAE_INIT), gen(i)), 1, 8,
        8, 10, gen(9), width=.1) for i,a in enumerate(ARMS.values())]
    for net in nets[1:]:
        for p,q in zip(net.head.parameters(), nets[0].head.parameters()): assert torch.equal(p, q)
        assert not torch.equal(net.encoder.stages.conv1.conv.weight, nets[0].encoder.stages.conv1.conv.weight)

def test_same_generator_same_network():
    a = tied_cae(3, 9, 9, gen(4), width=.1).state_dict()
    torch.rand(5)
    b = tied_cae(3, 9, 9, gen(4), width=.1).state_dict()
    assert all(torch.equal(a[k], b[k]) for k in a)

@pytest.mark.parametrize('down', ['max','stride'])
def test_the_classifier_gets_weights_and_biases_and_keeps_to_itself(down):
    ae = tied_cae(1, 8, 8, gen(), width=.05)
    for p in ae.encoder.parameters(): p.data += torch.rand_like(p)
    want = {k: v.clone() for k,v in ae.encoder.state_dict().items()}
    net = cnn(strided(ae.encoder) if down=='stride' else ae.encoder, 1, 8, 8, 3, gen(), width=.05)
    assert len(want)==6 and all(torch.equal(v, want[k]) for k,v in net.encoder.state_dict().items())
    for p in net.parameters(): p.data.zero_()
    assert all(torch.equal(v, want[k]) for k,v in ae.encoder.state_dict().items())
    assert all(s.pool=='max' for s in list(ae.encoder.stages.values())[:2])

def test_strided_sees_what_a_stride_sees():
    "A strided stage is every second pixel of the same convolution."
    enc = encoder(1, width=.05); x = torch.rand(2,1,9,8)
    s,t = enc.stages.conv1,strided(enc).stages.conv1
    torch.testing.assert_close(t(x), s.act(s.conv(x))[...,::2,::2])

@pytest.mark.parametrize('loss', ['mse','bce'])
def test_the_loss_falls(loss):
    x,ae = torch.rand(16,1,8,8, generator=gen())**2,tied_cae(1, 8, 8, gen(), width=.05)
    opt,f = torch.optim.SGD(ae.parameters(), .5),ReconLoss(loss)
    first = f(ae(x), x).item()
    for _ in range(30): opt.zero_grad(); f(ae(x), x).backward(); opt.step()
    assert f(ae(x), x).item()<first

@pytest.mark.parametrize('setting', SETTINGS)
def test_recipes_are_json_and_complete(setting):
    r = recipe(setting)
    assert json.loads(json.dumps(r))==r and r['setting']==setting
    assert set(r['arms'])=={'pretrained','random_paper','random_matched','random_default'}
    for f in ('encoder', 'head'): assert r[f]['make']==f'aepretrain_nb.papers.kohlbrenner:{f}'
    check_recipe(r)

def test_the_papers_numbers():
    r = recipe('paper')
    own = {part: {k: v for k,v in r[part].items() if k!='make'} for part in ('encoder', 'decoder', 'head')}
    assert own==dict(encoder=dict(width=1., pools='table', act='scaled_tanh', downsample='max'),
        decoder=dict(bias=.001, out_act='scaled_tanh'),
        head=dict(width=1., act='scaled_tanh', dropout=.5))
    assert (r['pretrain']['opt'],r['pretrain']['lr'],r['pretrain']['bs'],r['pretrain']['steps'],
        r['pretrain']['loss'])==('sgd',.5,128,300_000,'mse')
    assert (r['finetune']['opt'],r['finetune']['lr'],r['finetune']['bs'])==('sgd',.1,128)
    assert [steps_at(r['finetune']['steps'], n) for n in (1000, 10_000, 45_000, 55_000)]==[5000, 10_000, 20_000, 20_000]
    q = recipe('quick')
    assert channels(q['encoder']['width'])==channels(q['head']['width'])==[33,50,67,128]
    assert (q['pretrain']['steps'],steps_at(q['finetune']['steps'], 1000),
        steps_at(q['finetune']['steps'], 10_000))==(2000,1000,2000)

@pytest.mark.parametrize('kw,msg', [(dict(setting='big'),'There are: paper, ckplus, quick, digits, smoke'),
    (dict(encoder=dict(widht=1)),'widht'), (dict(pretran={}),'pretran')])
def test_recipe_errors(kw, msg):
    with pytest.raises(ValueError, match=msg): recipe(**kw)

@pytest.mark.parametrize('setting', list(SETTINGS))
@pytest.mark.parametrize('reading', [None, *READINGS])
def test_readings_keep_their_flaws_by_name(setting, reading):
    r = recipe(setting, reading)
    assert json.loads(json.dumps(r))==r and r.get('reading')==reading
    flawed = reading=='as_written'
    last = [a['steps'][-1] for a in r['arms'].values()]
    assert r['encoder']['pools']==('code' if flawed else 'table') and r['encoder']['downsample']=='max'
    assert last==[dict(do='classify', encoder=dict(downsample='stride')) if flawed else 'classify']*4
    assert r['seeds'].get('one_encoder', False)==flawed and r['labels'].get('policy')==('first_n' if flawed else None)
    if reading=='fair' and setting!='digits': assert r['finetune']['tune']=='first' and r['finetune']['lr']==RATES
    if reading=='fair' and setting in ('smoke', 'quick', 'paper'):
        found = candidates(r['pretrain'])
        assert ('sgd', .5) in found and any(o=='adam' for o,_ in found) and not at_edge('sgd', .5, found)
    assert recipe(setting, reading)['encoder'] is not recipe(setting, reading)['encoder']

def _beyond(arm):
    "What an arm changes beyond the arm of the paper that it stands for; one activation counts once"
    change = {k: dict(v) for k,v in arm.get('change', {}).items()}
    change.get('encoder', {}).pop('init', None)
    acts = {change[k].pop('act') for k in ('encoder', 'head') if 'act' in change.get(k, {})}
    return {k: v for k,v in change.items() if v} | (dict(act=acts.pop()) if acts else {})

def test_a_study_changes_one_thing():
    """Each arm of a study is an arm of the paper with one section, or the number of images, changed; equal layers need
    another rate."""
    for name,arms in STUDIES.items():
        for a in arms.values() if name!='main' else ():
            more = _beyond(a)
            assert len(more)==1 or (name, more)==('layers',
                dict(act='sigmoid', pretrain=dict(opt='sgd', lr=2.))), (name, more)
    equal = {k: a['change']['pretrain']['lr']/recipe('paper')['pretrain']['lr'] for k,a in STUDIES['layers'].items()}
    assert equal==dict(tanh1_pretrained=1, sigmoid4_pretrained=4)

@few
@given(width=st.floats(.02, .06), pools=st.sampled_from(['table', 'code']), lr=st.floats(.1, 2.),
    seed=st.integers(0, 99))
def test_sigmoid_of_doubled_weights_at_four_times_the_rate_is_scaled_tanh(width, pools, lr, seed):
    x = torch.rand(4,1,8,8, generator=gen(seed)).double()
    def fit(act, scale, lr):
        enc = init_(encoder(1, width=width, pools=pools, act=act), CAE_INIT, gen(seed))
        ae = Autoencoder(enc, TiedDecoder(enc, bias=CAE_INIT['bias']), act).double()
        for p in ae.parameters(): p.data *= scale
        loss,opt = ReconLoss(out_act=act),torch.optim.SGD(ae.parameters(), lr)
        for _ in range(5): opt.zero_grad(); loss(ae(x), x).backward(); opt.step()
        return ae.reconstruct(x).detach()
    torch.testing.assert_close(fit('scaled_tanh', 1, lr), fit('sigmoid', 2, 4*lr), rtol=1e-9, atol=1e-12)

def test_claims_are_answered_from_the_papers_own_runs():
    "On the published accuracies the differences are those of Table 2."
    book = settle(CLAIMS, reported_rows()).set_index('claim')
    assert set(book.outcome)=={'not run here'}
    said = {'helps-mnist-1k': '+0.37', 'helps-mnist-10k': '+0.39', 'helps-mnist-full': '+0.32',
        'not-cifar10-1k': '-0.20', 'helps-cifar10-10k': '+4.25', 'helps-cifar10-full': '+2.8', 'helps-ckplus': '+4.55'}
    for k,v in said.items(): assert book.reported[k].startswith(v), (k, book.reported[k])
    words = book.reported_outcome.replace('', np.nan).dropna().to_dict()
    assert words=={k: 'holds' for k in said if k!='not-cifar10-1k'} | {'not-cifar10-1k': words['not-cifar10-1k'],
        'most-on-ckplus': 'not shown',
        'helps-consistently': 'holds', 'more-with-few-labels': 'does not hold', 'ckplus-varies': 'holds'}
    for c in book.command: assert c.startswith('aepretrain compare ')

def test_the_best_start_is_chosen_by_validation_images():
    "Test accuracy may not choose the control; a start that was not run leaves the claim open."
    of = lambda arm,valid,value: [dict(kind='fit', reading='fair', setting='quick', data='mnist', labels=1000, arm=arm,
        head_seed=s, valid=valid+s, value=value+s*s,
        metric='accuracy', unit='%', chance=11., n_test=10_000) for s in range(4)]
    rows = pd.DataFrame(of('pretrained', 90, 91)+of('random_paper', 85, 80)+of('random_default', 84,
        95)+of('random_matched', 11, 11))
    ask = {c.name: c for c in CLAIMS}['helps-mnist-1k'].ask['fair']
    assert ask(rows.assign(value=rows.value+.1*rows.head_seed*(rows.arm=='pretrained'))).value==pytest.approx(11.15)
    assert 'random_paper' in ask(rows).by
    assert ask(rows[rows.arm!='random_default']) is None

@pytest.mark.slow
def test_no_claim_is_settled_on_an_unfinished_autoencoder():
    book = ledger('kohlbrenner').set_index('claim')
    for r in ('as_written', 'fair'):
        done = book[book[f'{r}_outcome'].isin(['holds', 'does not hold'])]
        assert not done[f'{r}_why'].any()

def test_recorded_columns_are_what_they_say():
    "Derived columns, from the curves that are recorded beside them; chance lies at the share of a class in ten."
    rows = recorded('kohlbrenner')
    fits = rows[(rows.kind=='fit') & (rows.reading!='reported')].set_index(['data', 'reading', 'setting', 'arm',
        'labels', 'head_seed'])
    curves = recorded('kohlbrenner_curves').sort_values('step').groupby(['data', 'reading', 'setting', 'arm', 'labels',
        'seed'])
    end = curves.last().rename_axis(fits.index.names)
    np.testing.assert_allclose(fits.loss_gap, (end.valid_loss-end.train_loss).reindex(fits.index), atol=2e-4)
    np.testing.assert_allclose(fits.loss_rise,
        (end.valid_loss-curves.valid_loss.min().rename_axis(fits.index.names)).reindex(fits.index), atol=2e-4)
    assert fits.chance.between(10, 12).all() and (fits.n_test==10_000).all() and fits.early.between(0, 100).all()
    e = rows[(rows.kind=='encoder') & rows.curve.notna()]
    for c,f in zip(e.curve, e.last_fifth):
        v = [float(o) for o in c.split()]
        assert f==pytest.approx(v[-1]/v[-1-len(v)//5]-1)
    assert (e.pca<e.mean_image).all() and (e.pca_k==50).all()

def test_the_commands_of_the_claims_can_be_given():
    from aepretrain_nb.cli import parser
    for c in CLAIMS:
        for line in c.commands.values():
            parser().parse_args(line.split()[1:])

def test_on_faces_both_readings_can_be_followed():
    "Section 3.3: 87 images to validate on; the fair reading seeks the rate of the paper's Adagrad"
    written,fair = (recipe('ckplus', o) for o in ('as_written', 'fair'))
    assert written['labels']['n_valid']==87
    assert candidates(fair['pretrain'])==[('adagrad', lr) for lr in (.05, .1, .5)]
    for r in (written, fair): check_recipe(r)
