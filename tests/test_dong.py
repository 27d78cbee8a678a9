"""Dong et al.: nets from a line, skips of raw features, the masked loss, four corners of transfer, probes as steps, the
recipe."""
from types import SimpleNamespace
from aepretrain_nb.imports import *
import matplotlib.pyplot as plt, pytest
from hypothesis import given, settings, strategies as st
from aepretrain_nb.cli import main
from aepretrain_nb.compare import compare
from aepretrain_nb.data.augment import Augment, augmentation
from aepretrain_nb.data.corrupt import corruption
from aepretrain_nb.data.named import dataset
from aepretrain_nb.data.sets import ImageSet
from aepretrain_nb.data.splits import Splits
from aepretrain_nb.data.voc import VOC, VOC_CLASSES, draw_voc
from aepretrain_nb.nets.allconv import all_conv_encoder, check_exact, read_layers, total_stride
from aepretrain_nb.nets.autoencoder import Autoencoder
from aepretrain_nb.nets.decoders import SkipDecoder, skip_decoder
from aepretrain_nb.nets.encoder import conv_encoder
from aepretrain_nb.nets.loss import ReconLoss
from aepretrain_nb.train.callbacks import MaskedLossCB
from aepretrain_nb.answers.pretraining import pretraining
from aepretrain_nb.experiment.build import build_classifier
from aepretrain_nb.experiment.carry import carry_out, rehearse
from aepretrain_nb.experiment.cost import cost_of
from aepretrain_nb.experiment.fitted import kept_table
from aepretrain_nb.experiment.kinds import ExperimentError
from aepretrain_nb.experiment.plan import Plan
from aepretrain_nb.experiment.probes import build_layer, read_layer, redraw
from aepretrain_nb.experiment.recipe import check_recipe, find_recipe, merged
from aepretrain_nb.experiment.pretrain import error_of
from aepretrain_nb.experiment.run import dropping, judged_dl
from aepretrain_nb.experiment.seen import images_of
from aepretrain_nb.experiment.segment import build_segmenter, corners
from aepretrain_nb.experiment.store import Store, keeps
from aepretrain_nb.papers.dong import *
from test_data import stl10 # a fixture

pytestmark = pytest.mark.usefixtures('no_pictures')

THREE = dict(layers='16 16/2 16/2') # what does not ask for nine layers takes three
few = settings(max_examples=25, deadline=None)
digits = dataset('digits')
def gen(s=0): return torch.Generator().manual_seed(s)
def words(layers): return ' '.join(f'{m}@{k}/{s}' for m,k,s in layers)

# Nets and sizes

layer = st.tuples(st.integers(1, 5), st.sampled_from([1, 3, 5]), st.integers(1, 2))

@few
@given(layers=st.lists(layer, min_size=1, max_size=5), h=st.integers(3, 40), w=st.integers(3, 40))
def test_a_size_is_exact_when_plain_transposes_lead_back(layers, h, w):
    "`check_exact` says yes where the transposes alone, without a size to arrive at, give the image's size"
    enc = all_conv_encoder(1, h, w, layers=words(layers))
    ae = Autoencoder(enc, skip_decoder(enc, 1, h, w, raw=True, image=True), 'identity')
    x = torch.zeros(2, 1, h, w)
    z = enc(x)
    for up in ae.decoder.convs.values(): z = up(z)
    try: check_exact(enc, h, w); exact = True
    except ValueError: exact = False
    assert exact==(z.shape==x.shape)==((h-1)%total_stride(enc)==(w-1)%total_stride(enc)==0)
    assert ae(x).shape==x.shape

@few
@given(h=st.integers(1, 80), w=st.integers(1, 80), stride=st.sampled_from([1, 2, 4, 8]), crop=st.integers(0, 8))
def test_windows_of_a_stride_are_the_largest_that_fit(h, w, stride, crop):
    aug,room = Augment(stride=stride, crop=crop),(h+2*crop, w+2*crop)
    if min(room)<=stride:
        with pytest.raises(ValueError, match='too few for a stride'): aug.out_size(h, w)
        return
    out = aug.out_size(h, w)
    assert all((o-1)%stride==0 and o<=r<o+stride for o,r in zip(out, room))
    x = torch.rand(2, 1, h, w)
    assert aug(x, None, gen())[0].shape[2:]==aug.evaluation()(x)[0].shape[2:]==out
    assert augmentation(aug.config)==aug

def test_the_way_out_that_an_error_names_is_one():
    for n in range(5, 40):
        if n%4==1: continue
        with pytest.raises(ValueError) as e: all_conv_encoder(1, n, n, layers='2/2 2/2', exact=True)
        below,above = (Augment(stride=4, crop=c).out_size(n, n)[0] for c in (0, 2))
        assert f'Take {below}x{below} or {above}x{above}' in str(e.value) and '"stride": 4' in str(e.value)
        assert '\n' not in str(e.value)

@pytest.mark.parametrize('text', ['', '  ', 'a', '0', '8/0', '8@2', '8*0', '8-2', '8/2/2', None, 8])
def test_a_line_that_is_no_net_is_refused(text):
    with pytest.raises(ValueError, match='^layer'): read_layers(text)

def test_augment_refuses_a_stride_that_is_none():
    for kw in (dict(stride=0), dict(stride=True), dict(stride=1.5), dict(stride=4, size=29),
        dict(stride=4, resized=(.1, 1))):
        with pytest.raises(ValueError, match='^augment: '): Augment(**kw)

# Skips

def test_a_raw_skip_is_added_before_norm_and_activation():
    "The decoder by hand, from the encoder's own convolutions"
    enc = all_conv_encoder(1, 9, 9, gen(), '3 4/2 5')
    dec = SkipDecoder(enc, image=True, norm=True, raw=True)
    for m in (enc, dec): m.eval()
    x,d = torch.rand(4, 1, 9, 9),dec.convs
    raw = enc.stages.conv1.conv(x)
    assert dec.skips==dict(conv2='conv1', conv1='input') and raw.min()<0
    z = dec.norms.conv3(d.conv3(enc(x), output_size=(5, 5))).relu()
    z = dec.norms.conv2(d.conv2(z, output_size=(9, 9)) + raw).relu()
    torch.testing.assert_close(dec(enc.encode(x, **dec.wants), enc), d.conv1(z, output_size=(9, 9)) + x)

def test_pooled_stages_hand_over_their_output():
    enc = conv_encoder(1, 16, 16, gen(), widths=(3, 4, 5))
    dec = SkipDecoder(enc, every=1, raw=True)
    a,b = enc.eval().encode(torch.rand(2, 1, 16, 16), **dec.wants),enc.encode(torch.rand(2, 1, 16, 16))
    assert all(t.min()>=0 for t in a.taps.values()) and dec.eval()(a).shape==(2, 1, 16, 16)

def test_switches_change_no_weight():
    enc = all_conv_encoder(1, 9, 9, gen(), '3 4/2 5 5')
    ways = [skip_decoder(enc, 1, 9, 9, gen(), every=e, image=i, raw=True, norm=True) for e in (2, None)
        for i in (True, False)]
    first = ways[0].state_dict()
    assert all(torch.equal(v, first[k]) for d in ways for k,v in d.state_dict().items())
    assert [len(d.wants['taps']) for d in ways]==[2, 1, 1, 0]

# Masked loss, dropping rate

def test_the_masked_loss_by_hand():
    y,p = torch.rand(3, 2, 5, 5, generator=gen())+.1,torch.rand(3, 2, 5, 5, generator=gen(1))
    x = corruption(dict(kind='blocks', n=1, size=2))(y, gen(2))
    cb = MaskedLossCB()
    cb.learn = SimpleNamespace(xb=(x,), yb=(y,), pred=p, loss_func=ReconLoss('mse', 'identity'))
    cb.after_loss()
    hit = (x!=y)
    assert hit.sum()==3*2*4
    torch.testing.assert_close(cb.learn.loss, (p-y)[hit].square().mean())

@pytest.mark.parametrize('change,match',
    [(dict(pretrain=dict(masked=True, corrupt=dict(kind='gaussian', sigma=.1))), 'masked counts hidden pixels'),
    (dict(pretrain=dict(masked=True, corrupt=None)), 'masked counts hidden pixels')])
def test_a_masked_loss_wants_a_mask(change, match):
    with pytest.raises(ExperimentError, match=match): check_recipe(recipe(**change))

def test_a_masked_loss_wants_one_scale():
    with pytest.raises(ExperimentError, match='norm_target=true'):
        rehearse(Plan(digits, recipe(study='masked', pretrain=dict(norm_target=False)), ['masked'], seeds=1).steps(),
            digits)

def test_an_autoencoder_of_hidden_pixels_is_judged_by_hidden_pixels(tmp_path):
    """On pixels that no loss asked for it may be as bad as it likes; where hidden ones are drawn better than by the
    mean image, it is called trained"""
    r = recipe(study='masked', encoder=THREE | dict(width=1.), pretrain=dict(steps=300, evals=3),
        finetune=dict(steps=2, evals=1))
    res = compare(digits, ['masked_within'], recipe=r, seeds=1, store=tmp_path/'s', progress=False)
    step = res.steps[0].parents[0]
    ae,row = res.store.net(step, digits),res.encoders.iloc[0]
    train,held = images_of(step, digits)
    x,y = next(iter(judged_dl(step, held, target='x', norm_target=True, corrupt=corruption(step.fit['corrupt']))))
    clean, = next(iter(judged_dl(step, train, len(train), target=None)))
    assert row.mean_image==pytest.approx((y-clean.mean(0))[(x!=y)].square().mean().item(), rel=.05)
    assert row.mse<row.mean_image and not pretraining(res.encoders).untrained.any()
    assert row.mse==pytest.approx(row.value, rel=.02) and error_of(ae, step, held)!=pytest.approx(row.mse, rel=.02)

def test_a_rate_drops_twice():
    assert [round(.1/dropping(.1)(p)) for p in (0, .59, .61, .84, .86, 1)]==[1, 1, 10, 10, 100, 100]

# The recipe

@pytest.mark.parametrize('study', STUDIES)
@pytest.mark.parametrize('setting', SETTINGS)
@pytest.mark.parametrize('reading', [None, *READINGS])
def test_recipes_are_json_and_complete(setting, reading, study):
    r = recipe(setting, reading, study)
    assert json.loads(json.dumps(r))==r and r.get('reading')==reading and r['arms']
    check_recipe(r)
    assert r['images']['augment']['stride']==total_stride(all_conv_encoder(3, 33, 33, layers=r['encoder']['layers'],
        width=.01))

def test_the_papers_numbers():
    r = recipe('paper')
    assert r['pretrain']['lr']==r['finetune']['lr']==1e-4
    assert r['encoder']['init']==r['decoder']['init']==r['head']['init']==dict(dist='normal', std=.01)
    assert r['labels']['n']==[4000] and r['images']['augment']==dict(stride=4)
    assert recipe('paper', study='table1')['images']['augment']['flip']
    assert [k for k in r['arms']]==['skips', 'no_skips', 'random_paper', 'random_default', 'random_kaiming']

def test_every_arm_of_the_main_studies_can_be_done():
    studies = 'main', 'equal', 'noise', 'masked', 'switches', 'linear', 'redrawn'
    rehearse(sum((Plan(digits, recipe(study=o, encoder=THREE), seeds=1).steps() for o in studies), []), digits)

def test_controls_with_equal_compute_get_two_steps_for_one():
    r = recipe('quick', study='equal')
    assert {a['change']['finetune']['steps'] for k,a in r['arms'].items() if k!='skips'}=={2000+2*6000}
    r = recipe('quick', study='equal', finetune=dict(steps={'100': 10}))
    assert r['arms']['random_paper_longer']['change']['finetune']['steps']=={'100': 12_010}

def test_an_arm_without_skips_shares_its_start_with_one_that_has_them():
    steps = {s.arm: s for s in Plan(digits, recipe(), seeds=1).steps()}
    a,b = (steps[k].parents[0] for k in ('skips', 'no_skips'))
    assert a.key!=b.key and a.net['encoder']==b.net['encoder'] and a.seeds==b.seeds

def test_each_arm_names_its_net():
    for study,own in STUDIES.items():
        r = recipe(study=study)
        assert {a['columns']['architecture']
            for a in r['arms'].values()}=={own.net} and r['encoder']['layers']==NETS[own.net], study

def test_the_paper_starts_both_sides_from_its_normal_numbers_and_the_fair_reading_from_the_default():
    for setting in SETTINGS:
        a,b = recipe(setting),recipe(setting, 'fair')
        assert a['encoder']['init']==a['decoder']['init']==PAPER_INIT
        assert a['arms']['random_paper']['change']['encoder']['init']==PAPER_INIT
        assert b['encoder']['init']==b['decoder']['init']==STARTS['default'] and 'random_default' in b['arms']

@pytest.mark.parametrize('study,kind,size',
    [('main', 'blocks', 6), ('table1', 'gaussian', None), ('table1_few', 'blocks', 6), ('table3', 'blocks', 18),
    ('table4', 'blocks', 46), ('segment', 'blocks', 33)])
def test_noise_is_the_papers_and_blocks_grow_with_the_image(study, kind, size):
    noise = recipe('paper', 'as_written', study)['pretrain']['corrupt']
    assert (noise['kind'], noise.get('size'))==(kind, size)

def test_figure_2_as_written_shows_its_autoencoders_as_many_images_as_there_are_labels():
    for study in ('linear', 'neighbours', 'redrawn'):
        for reading,n in ((None, 4000), ('as_written', 4000), ('fair', None)):
            assert recipe('paper', reading, study)['images'].get('n')==n
    assert recipe('paper', None, 'linear', images=dict(n=100))['images']['n']==100
    assert 'n' not in recipe('paper')['images']
    step = Plan(digits, recipe(study='linear', encoder=THREE), ['skips_conv1'], seeds=1).steps()[0].parents[0]
    assert step.data['n']==100

def test_nets_without_pre_training_start_in_three_ways_in_the_fair_reading():
    r = recipe(study='segment', reading='fair')
    assert set(r['arms'])=={'both', 'encoder', 'decoder', *(f'neither_{k}' for k in STARTS)}
    steps = {s.arm: s for s in Plan(drawn, merged(r, dict(finetune=dict(lr=3e-3), encoder=THREE)), seeds=1).steps()}
    for k,v in STARTS.items():
        assert steps[f'neither_{k}'].net['encoder']['init']==steps[f'neither_{k}'].net['decoder']['init']==v

def test_each_study_can_be_read_by_itself():
    "The arm with skips stands in each study of the nine layers, and is run once for all of them"
    studies = 'main', 'equal', 'noise', 'masked', 'switches'
    assert len({next(s.key for s in Plan(digits, recipe(study=o), ['skips'], seeds=1).steps()) for o in studies})==1

def test_dong_runs_from_the_command_line(tmp_path, capsys):
    assert main(['compare', 'digits', '--recipe', 'dong', '--setting', 'smoke', '--seeds', '1', '--arms', 'skips',
        '--arms', 'random_default', '--out', str(tmp_path/'s')])==0
    assert 'random_default' in capsys.readouterr().out

def test_sizes_that_do_not_invert_end_in_one_line(tmp_path, capsys):
    assert main(['compare', 'digits', '--recipe', 'dong', '--setting', 'smoke', '--seeds', '1', '--set',
        'images.augment={}', '--out', str(tmp_path/'s')])==2
    assert 'pixels do not invert' in capsys.readouterr().err and not (tmp_path/'s').exists()

# Photographs, animals and vehicles

TINY = dict(pretrain=dict(steps=2, evals=1, bs=4), finetune=dict(steps=2, evals=1, bs=4), encoder=dict(width=1/64))

@pytest.fixture(scope='module')
def voc(tmp_path_factory): return VOC(draw_voc(tmp_path_factory.mktemp('voc'), 21))

@pytest.fixture
def no_names(voc):
    "Unlabelled photographs in the place of ImageNet's"
    sp = voc.splits(size=40)
    return {f'imagenet{o}': Splits('x', sp.test, sp.test) for o in ('', '_animals', '_vehicles')}

@pytest.mark.parametrize('study,arms', [('table4', ['skips', 'random_paper']),
    ('table5', ['animals', 'vehicles', 'random_default'])])
def test_a_net_learns_from_imagenet_and_classifies_voc(study, arms, voc, no_names, tmp_path, monkeypatch):
    monkeypatch.setenv('AEPRETRAIN_CACHE', str(tmp_path/'cache'))
    sp = voc.splits(size=40)
    res = compare(sp, arms, recipe=recipe(study=study, labels=dict(n=[21]), **TINY), seeds=1, store=tmp_path/'s',
        progress=False, pretrain_sets=no_names)
    assert set(res.rows.metric)=={'map'} and res.rows.value.notna().all() and res.rows.map11.notna().all()
    parents = {s.arm: s.parents[0] for s in res.steps if s.parents}
    assert {s.data['digest'] for s in parents.values()}=={no_names['imagenet'].digest}!={sp.digest}
    assert all(s.fit['ten_crops'] and s.data['augment']==dict(stride=32, flip=True) for s in res.steps)
    rows = as_recorded(res)
    fits = rows[rows.kind=='fit']
    each = res.store.get(fits.key.iloc[0])['each']
    assert len(each)==20
    assert fits.animal.iloc[0]==pytest.approx(np.mean([each[VOC_CLASSES.index(o)] for o in GROUPS['voc07']['animal']]))
    assert fits.vehicle.notna().all() and np.mean(each)==pytest.approx(fits.value.iloc[0], abs=1e-3)
    assert set(rows.architecture)=={'vgg-16'}
    found = as_pictured(res, n=4)
    assert bool(found)==(study=='table5')
    if not found: return
    seen = [o.x.numpy().tobytes() for o in map(sp.test.take, torch.arange(len(sp.test)).split(1))]
    shown = [seen.index(o[None].tobytes()) for o in next(v for k,v in found.items() if k.endswith('/images'))]
    for own,at in zip(GROUPS['voc07'].values(), (shown[:4], shown[4:])):
        assert len(at)==4 and all(sp.test.y[i,[VOC_CLASSES.index(c) for c in own]].eq(1).any() for i in at)

def test_figure_3_hands_on_what_imagenet_taught(voc, no_names, tmp_path):
    sp = voc.splits('2012', 40)
    res = compare(sp, recipe=recipe(study='figure3', labels=dict(n=[10]), **TINY), seeds=1, store=tmp_path/'s',
        progress=False, pretrain_sets=no_names)
    assert set(res.rows.arm)==set(corners()) and set(res.rows.metric)=={'miou'} and res.rows.value.between(0, 100).all()
    fig = starts_figure(res.rows, res.curves)
    shown = {o.get_label(): o for o in fig.axes[1].containers}
    assert set(shown)==set(corners()) and fig.axes[1].get_xticklabels()[0].get_text()=='10'
    for arm,v in res.rows.set_index('arm').value.items():
        assert shown[arm].lines[0].get_ydata().item()==pytest.approx(v)

def test_table_3_runs_on_a_tree_in_the_official_layout(stl10, tmp_path):
    res = compare(dataset('stl10', stl10.parent), ['skips', 'random_default'],
        recipe=recipe(study='table3', labels=dict(n=[2]), **TINY), seeds=2, store=tmp_path/'s', progress=False)
    assert len(res.rows)==4 and set(res.rows.policy)=={'fold'} and res.rows.groupby('arm').subset.nunique().eq(2).all()
    assert set(res.encoders.n_unlabelled)=={9} and res.rows.value.between(0, 100).all()

def test_animals_are_told_apart_from_vehicles(tmp_path):
    "On the digits in the place of CIFAR-10: what is recorded, and figure 4"
    names = 'airplane automobile bird cat deer dog frog horse ship truck'.split()
    def named(o): return ImageSet(o.x, o.y, names, layout='nchw')
    ten = Splits('cifar10', named(digits.train), named(digits.test))
    parts = {f'cifar10_{k}': Splits(k, *(o.take(torch.isin(o.y, torch.tensor([names.index(c) for c in own])))
        for o in (ten.train, ten.test)))
        for k,own in dict(animals=GROUPS['cifar10']['animal'], vehicles=GROUPS['cifar10']['vehicle']).items()}
    res = compare(ten, recipe=recipe(study='table5_cifar10', encoder=THREE), seeds=1, store=tmp_path/'s',
        progress=False, pretrain_sets=parts)
    fits = as_recorded(res).query("kind=='fit'").set_index('arm')
    assert set(fits.index)=={'animals', 'vehicles', 'random_paper', 'random_default', 'random_kaiming'}
    np.testing.assert_allclose((6*fits.animal+4*fits.vehicle)/10, fits.balanced, atol=1e-2)
    found = as_pictured(res)
    assert {k.split('/')[-1] for k in found}=={'images', 'maps'} and all(len(o)==8 for o in found.values())

# Segmentation and probes

def inked(images): return ImageSet(images.x, (images.x[:,0]>127).long(), classes=['paper', 'ink'], layout='nchw')
drawn = Splits('ink', inked(digits.train), inked(digits.test), digits.unlabelled)

def test_four_corners_from_one_autoencoder():
    steps = {s.arm: s for s in Plan(drawn, recipe(study='segment', encoder=THREE), seeds=1).steps()}
    assert set(steps)==set(corners()) and len({s.parents[0].key for s in steps.values() if s.parents})==1
    rehearse(steps.values(), drawn)
    state = carry_out(steps['both'].parents[0], drawn)[0].state_dict()
    for k,s in steps.items():
        net = build_segmenter(s, drawn, [(state, s.start[0].names)] if s.start else ())
        for part in ('encoder.', 'decoder.'):
            same = {torch.equal(v, state[n]) for n,v in net.state_dict().items() if n.startswith(part)
                and n.endswith('running_mean')}
            assert same=={k in ('both', part[:-1])}
        assert net(torch.rand(2, 1, 9, 9)).shape==(2, 2, 9, 9) and 'input' not in net.decoder.wants['taps']

def test_the_head_starts_as_the_layers_do_as_written_and_by_default_in_the_fair_reading():
    for reading,std in ((None, .01), ('as_written', .01), ('fair', None)):
        own = dict(finetune=dict(lr=3e-3)) if reading=='fair' else {}
        for study,data in (('main', digits), ('segment', drawn)):
            r = recipe(reading=reading, study=study, encoder=dict(layers='256 256/2', width=1.), **own)
            step = [s for s in Plan(data, r, seeds=1).steps() if s.arm in ('skips', 'both')][0]
            head = build_classifier(step, data).head.out if study=='main' else build_segmenter(step, data).head
            bound = head.weight[0].numel()**-.5 # of PyTorch's uniform numbers
            assert head.weight.std().item()==pytest.approx(std or bound/3**.5, rel=.1)

def test_images_without_masks_are_not_segmented():
    with pytest.raises(ExperimentError, match='digits has no masks'):
        rehearse(Plan(digits, recipe(study='segment'), seeds=1).steps(), digits)

def test_what_a_middle_step_has_learnt_is_kept():
    last = next(s for s in Plan(digits, recipe(study='linear'), ['supervised_conv1'], seeds=1).steps())
    assert last.parents[0].do=='classify' and keeps(last.parents[0]) and not keeps(last)

def test_probes_change_nothing_and_read_what_they_are_told():
    r = recipe(study='linear', encoder=THREE)
    step, = Plan(digits, r, ['random_conv2'], seeds=1).steps()
    encoder,row = read_layer(step, digits)
    again,same = read_layer(step, digits)
    assert list(encoder.stages)==['conv1', 'conv2'] and row['value']==same['value']>row['chance']
    step, = Plan(digits, recipe(study='redrawn', encoder=THREE), ['random_conv2'], seeds=1).steps()
    ae,row = redraw(step, digits)
    assert all(torch.equal(v, ae.encoder.state_dict()[k]) for k,v in encoder.state_dict().items())
    assert row['metric']=='mse' and row['better']=='lower' and row['n_test']==len(digits.test)

def test_batchnorms_of_a_net_that_nobody_trained_take_their_scale_from_images():
    """From N(0, .01) an uncalibrated net answers with numbers near zero; with its scale, each map has a deviation of
    about 1 before the activation"""
    r = recipe(study='linear', encoder=THREE | dict(width=1.))
    step, = Plan(digits, r, ['random_conv3'], seeds=1).steps()
    encoder = build_layer(step, digits)
    x, = next(iter(judged_dl(step, digits.train, 1000, target=None)))
    seen = []
    for m in encoder.modules():
        if isinstance(m, torch.nn.BatchNorm2d): m.register_forward_hook(lambda m, i, o: seen.append(o.std().item()))
    with torch.no_grad(): encoder.eval()(x)
    assert len(seen)==3 and all(.7<v<1.4 for v in seen) and not any(p.requires_grad for p in encoder.parameters())
    trained, = Plan(digits, r, ['skips_conv3'], seeds=1).steps()
    assert all((m.running_mean==0).all() for m in build_layer(trained, digits).modules()
        if isinstance(m, torch.nn.BatchNorm2d))

@pytest.mark.parametrize('study,metric,layer',
    [('neighbours', 'accuracy', 'conv1'), ('linear', 'accuracy', 'conv3'), ('redrawn', 'mse', 'conv3')])
def test_probes_are_foreseen_and_run_and_are_no_classifiers(study, metric, layer, tmp_path):
    r = recipe(study=study, encoder=THREE)
    arms = [f'supervised_{layer}', f'random_{layer}']
    cost = cost_of(Plan(digits, r, arms, seeds=1), Store(tmp_path/'none'))
    res = compare(digits, arms, recipe=r, seeds=1, store=tmp_path/'s', progress=False)
    assert list(res.rows.metric)==[metric]*2 and set(res.rows.protocol)=={'frozen'}
    assert cost.table.n.sum()==len(res.rows)+1 and (cost.table.seconds>0).all()
    with pytest.raises(ExperimentError, match='keeps no classifier'): kept_table(tmp_path/'s')

@pytest.mark.parametrize('study', ['linear', 'redrawn'])
def test_every_layer_is_asked_of_one_supervised_net(study, tmp_path):
    "Its rate is judged by its own validation error, not by what a layer is asked"
    r = recipe(study=study, reading='fair', encoder=THREE, finetune=dict(lr=[1e-4, 1e-3, 1e-2]), probe=dict(lr=3e-3))
    arms = [f'supervised_conv{i}' for i in (1, 2, 3)]
    res = compare(digits, arms, recipe=r, seeds=1, store=tmp_path/'s', progress=False)
    net, = {s.parents[0].key for s in res.steps}
    assert res.store.get(net)['row']['metric']=='accuracy'
    tried = [res.tuning[res.tuning.arm==a][['lr', 'valid', 'valid_loss']].values.tolist() for a in arms]
    assert tried[0]==tried[1]==tried[2] and len({loss for *_,loss in tried[0]})>1

def test_a_layer_that_is_not_there_ends_in_one_line():
    r = recipe(study='linear') | dict(arms=dict(a=dict(steps=[dict(do='probe', probe=dict(layer='conv99'))])))
    with pytest.raises(ValueError, match="no stage 'conv99'"): rehearse(Plan(digits, r, seeds=1).steps(), digits)

def test_reported_rows():
    d = reported_rows()
    assert len(d)==18 and d.value.between(60, 100).all() and (d.reading=='reported').all()
    own = d[d['data'].eq('voc07')].set_index('arm')
    assert own.animal.to_dict()==pytest.approx(dict(random_paper=67.02, animals=73.04, vehicles=72.17,
        context_encoder=np.nan, no_skips=np.nan, skips=np.nan), nan_ok=True)
    assert set(d.arm)<={'context_encoder', *recipe()['arms'], *recipe(study='table5')['arms']}
    assert set(d.architecture)==set(NETS)
    assert d[(d.table==2) & (d.arm=='skips')].value.item()==80.22
    said = dict(zip(d[d.table==2].arm, d[d.table==2].value.round(1))) # at the top of the page
    assert said==dict(skips=80.2, no_skips=74.1, random_paper=70.9)

def test_figure_2_is_drawn_from_rows():
    rng = np.random.default_rng(0)
    def runs(probe, net, values): return [dict(data='cifar10', reading='fair', setting='quick', labels=4000,
        probe=probe, net=net, layer=f'conv{i}', value=v+e)
        for i,v in values.items() for e in rng.permutation([-1., 0, 1])]
    told = dict(skips={2: 60., 10: 70., 1: 50.}, random={2: 40., 10: 30., 1: 50.})
    rows = pd.DataFrame(sum((runs(p, n, v) for p in ('linear', 'drawn') for n,v in told.items()), []))
    fits = pd.DataFrame([dict(data='cifar10', reading='fair', setting='quick', labels=4000, value=80.)])
    fig = layers_figure(pd.concat([rows, fits]))
    assert [ax.get_ylabel()[:6] for ax in fig.axes]==['linear', 'recons']
    for ax in fig.axes:
        lines = {o.get_label(): o for o in ax.lines}
        assert set(lines)=={'skips', 'random'} and len(ax.collections)==2
        for n,v in told.items():
            assert lines[n].get_xdata().tolist()==[1, 2, 10]
            assert lines[n].get_ydata()==pytest.approx([v[i] for i in (1, 2, 10)])
    band = fig.axes[0].collections[0].get_paths()[0].vertices[:,1]
    assert band.min()<50-2 and band.max()>70+2 # 4.3 standard errors of three runs
    with pytest.raises(ValueError, match='no rows of probes'): layers_figure(fits)
    with pytest.raises(ValueError, match='differ in reading'):
        layers_figure(pd.concat([rows, rows.assign(reading='as_written')]))

def test_figure_3_is_drawn_from_rows():
    own = dict(data='voc12', architecture='vgg-16', recipe='dong', reading='fair', setting='paper', metric='miou',
        chance=3.5)
    told = dict(both=[40., 41, 42], encoder=[37., 38, 39], neither_paper=[30., 31, 32])
    rows = pd.DataFrame([own | dict(arm=k, labels=n, value=v+n/100) for k,vs in told.items() for v in vs
        for n in (100, 1464)])
    ax, = starts_figure(rows).axes
    assert [t.get_text() for t in ax.get_xticklabels()]==['100', '1,464']
    for o in ax.containers:
        v = np.mean(told[o.get_label().replace(' ', '_')])
        assert o.lines[0].get_ydata()==pytest.approx([v+1, v+14.64])
        ends = np.array([np.array(seg)[:,1] for seg in o.lines[2][0].get_segments()])
        # 4.303 standard errors of three runs to each side, a little more near a bound
        assert np.ptp(ends, axis=1)==pytest.approx([2*4.303/3**.5]*2, rel=.02)
    assert {o.get_label() for o in ax.containers}=={'both', 'encoder', 'neither paper'}
    with pytest.raises(ValueError, match='no rows of segmenters'): starts_figure(reported_rows())
    with pytest.raises(ValueError, match='differ in architecture'):
        starts_figure(pd.concat([rows, rows.assign(architecture='all-cnn-c')]))

def test_bands_of_a_layer_stay_within_what_is_possible():
    "A squared error's went below 0"
    def made(probe, v): return dict(probe=probe, net='skips', layer='conv1', value=v)
    some = [made('drawn', v) for v in (.1, .4, .7)] + [made('linear', v) for v in (92, 98, 99)]
    right,back = layers_figure(pd.DataFrame(some)).axes
    assert back.collections[0].get_datalim(back.transData).y0==0
    assert right.collections[0].get_datalim(right.transData).y1<=100
    plt.close('all')
