"Promises that no test kept: each of these was found by changing one line and seeing every test pass."
from dataclasses import replace
import numpy as np, pytest, torch
from scipy import stats
from aepretrain_nb.data.named import dataset
from aepretrain_nb.data.sets import ImageSet
from aepretrain_nb.data.splits import Splits
from aepretrain_nb.experiment.build import build_autoencoder, build_classifier
from aepretrain_nb.experiment.carry import carry_out
from aepretrain_nb.experiment.plan import Plan, plan
from aepretrain_nb.answers.crossed import crossed
from aepretrain_nb.answers.design import power
from aepretrain_nb.answers.differences import differences
from aepretrain_nb.answers.results import Results
from aepretrain_nb.answers.stats import paired
from aepretrain_nb.answers.verdict import verdict
from aepretrain_nb.compare import compare
from aepretrain_nb.data.loader import image_dls
from aepretrain_nb.experiment import pretrain, probes, work
from aepretrain_nb.experiment.chosen import chosen
from aepretrain_nb.experiment.fitted import fitted
from aepretrain_nb.experiment.for_masks import segment_recipe
from aepretrain_nb.experiment.joint import two_streams
from aepretrain_nb.experiment.kinds import ExperimentError
from aepretrain_nb.experiment.pretrain import reconstruct
from aepretrain_nb.experiment.probes import read_layer
from aepretrain_nb.experiment.recipe import merged
from aepretrain_nb.experiment.run import alone
from aepretrain_nb.experiment.seen import labelled, measured
from aepretrain_nb.experiment.segment import build_segmenter
from aepretrain_nb.experiment.stack import together
from aepretrain_nb.experiment.store import Store
from aepretrain_nb.papers.dong import recipe
import test_found_nets
from test_chosen import SHORT, default, shape
from test_crossed import grids, names
from test_dong import THREE
from test_found import FIXED, tiny
from test_kept import BRIEF
from test_numbers import encoder, plain
from test_results import made
from test_tasks import splits
from test_verdict import as_table, learnt

digits = dataset('digits')

def test_two_of_a_kind_with_a_gap_tell_little():
    x,(s,e) = grids(1, 2, 5, 1, 1)[0].ravel(),names(2, 5)
    m = crossed(x[1:], s[1:], e[1:])
    assert (m.how, m.df)==('two-way with gaps', 1.)

def test_a_rival_chosen_from_several_counts_for_errors_as_for_accuracies():
    df = learnt().assign(value=lambda d: d.value-4*(d.arm=='pretrained'))  # behind both random starts
    a = verdict(differences(df)).best
    b = verdict(differences(df.assign(metric='error', better='lower', value=100-df.value, valid=100-df.valid)),
        lower=True).best
    assert set(a.rivals)=={2} and a.control.tolist()==b.control.tolist()
    np.testing.assert_allclose(b.p, a.p)
    np.testing.assert_allclose(b.p_holm, a.p_holm)

def test_a_permutation_test_takes_no_evidence_from_a_control_that_did_not_train():
    v = verdict(differences(learnt(8, dead=[('default', 200, 8)])), p='p_perm', unit='points')
    row = v.table.set_index(['labels', 'control']).loc[(200, 'default')]
    assert row.words=='no verdict: default did not train (8 of 8 runs at chance)' and np.isnan(row.p_holm)

def test_seeds_for_the_headline_are_corrected_over_all_its_sizes():
    df = learnt()
    one,two = (verdict(differences(df.assign(valid=np.where((df.labels==50) & (df.arm=='default') & mixed, 99.,
        df.valid)))).best for mixed in (False, True))
    assert one.control.nunique()==1 and two.control.nunique()==2  # the best control differs by size
    a,b = (power(o, 1.).set_index('labels').for_power for o in (one, two))
    assert b[200]==a[200]

def test_a_frozen_batchnorm_stays_as_it_was():
    step = Plan(digits, merged(default, SHORT), ['frozen_random'], [40]).steps()[0]  # crops: trained batch by batch
    net,_ = carry_out(step, digits)
    start = build_classifier(step, digits).state_dict()
    assert any(k.endswith('running_var') for k in start)
    assert not torch.equal(net.state_dict()['head.out.weight'], start['head.out.weight'])
    for k,v in net.encoder.state_dict().items(): assert torch.equal(v, start[f'encoder.{k}']), k

def test_a_segmenters_frozen_encoder_stays_as_it_was():
    s = splits('segment')
    step = Plan(s, segment_recipe('smoke', finetune=dict(freeze=['encoder.'])), ['neither'], [8], [0]).steps()[0]
    net,start = carry_out(step, s)[0],build_segmenter(step, s)
    for k,v in net.encoder.state_dict().items(): assert torch.equal(v, start.encoder.state_dict()[k]), k
    assert not torch.equal(net.head.weight, start.head.weight)

def test_the_encoder_seed_moves_nothing_but_the_encoder():
    "Filled with the same weights it learns the same, from the same batches under the same dropout"
    t = plan(digits, plain, ['pretrained'], [50], [0])[0]
    start = build_autoencoder(t.parents[0], digits).state_dict()
    a,b = (carry_out(replace(t, seeds=t.seeds | dict(encoder=s)), digits, [(start, None)])[0].state_dict()
        for s in (0, 1))
    assert all(torch.equal(v, b[k]) for k,v in a.items())

def test_the_scale_of_the_input_is_that_of_the_training_images():
    dark,r = Splits('dark', digits.train, ImageSet(digits.test.x//2, digits.test.y)),dict(images=dict(norm='train'))
    assert measured(r, dark)==measured(r, digits)

def test_test_images_set_no_temperature(tmp_path):
    other = Splits('other', digits.train, ImageSet(digits.test.x, digits.test.y.flip(0)))
    kw = dict(arms=['random'], labels=[50], seeds=1, recipe=BRIEF, progress=False)
    a,b = (fitted(compare(o, store=tmp_path/o.name, **kw).folder) for o in (digits, other))
    assert a.said['value']!=b.said['value'] and a.said['temperature']==b.said['temperature']!=1

def test_the_error_that_is_told_of_an_autoencoder_is_that_on_clean_images(monkeypatch):
    seen,real = [],pretrain.recon_error
    monkeypatch.setattr(pretrain, 'recon_error', lambda ae, dl, *a: (seen.append(dl), real(ae, dl, *a))[1])
    pretrain.reconstruct(encoder(corrupt=dict(kind='masking', p=.5), choose='noisy'), digits)
    x,target = seen[-1].one_batch()
    assert torch.equal(x, target)

def test_heads_that_go_by_another_score_are_trained_apart():
    how = dict(opt='adam', fused=False, weight_decay=None, schedule='constant', keep='best')
    def alike(**kw):
        r = tiny(head=dict(make='linear', average=False), images=dict(augment=None), finetune=FIXED | how | kw)
        return together(Plan(digits, r, ['frozen_random'], [50], [0]).steps()[0], digits) is not None
    assert alike() and not alike(score='balanced')

def test_rows_that_validated_on_test_images_say_so():
    rows = made(dict(pretrained=70., random=60.))
    assert not any('a leak' in w for w in Results(rows.assign(valid_policy='within')).warnings)
    for policy in ('test', ['within', 'test']*(len(rows)//2)):
        assert any('validation looked at the test images' in w
            for w in Results(rows.assign(valid_policy=policy)).verdict().warnings)

def test_equivalence_is_corrected_over_the_sizes():
    z = stats.zscore(np.random.default_rng(0).normal(size=10), ddof=1)*10**.5/stats.t.isf(.02, 9)
    def words(sizes):
        return set(verdict(as_table(np.tile(z, (1, sizes, 1)), np.zeros((1, sizes, 10))), margin=1.).table.verdict)
    assert words(1)=={'equivalent'} and words(3)=={'no difference shown'}  # p is .02, and .06 after Holm

def test_bounds_do_not_undo_the_pairing():
    luck,rng = np.arange(8.)*2,np.random.default_rng(0)
    a,b = 51+luck+rng.normal(0, .3, 8),50+luck+rng.normal(0, .3, 8)
    free,kept = paired(a, b),paired(a, b, bounds=(0, 100))
    assert kept.high-kept.low<1.1*(free.high-free.low)

def test_weights_of_a_look_are_those_of_that_look():
    "Not those that training went on to"
    own = dict(opt='adam', lr=.01, evals=2, n_valid=97)
    whole,half = (reconstruct(encoder(**own, steps=n, checkpoints=[1]), digits) for n in (20, 10))
    seen,end = whole[1]['checkpoints'][1],whole[0].state_dict()
    assert not any(torch.equal(v, end[k]) for k,v in seen.items() if v.dim()>1)

def test_clipping_reaches_heads_that_are_trained_as_one():
    how = dict(opt='adam', fused=False, weight_decay=None, schedule='constant', keep='last')
    def head(clip):
        r = tiny(head=dict(make='linear', average=False), images=dict(augment=None),
            finetune=FIXED | how | dict(clip=clip, opt='sgd', lr=.1))
        step = Plan(digits, r, ['frozen_random'], [50], [0]).steps()[0]
        assert together(step, digits)
        return carry_out(step, digits)[0].head[-1].weight
    assert not torch.equal(head(None), head(1e-3))

def test_clipping_holds_a_net_back():
    def moved(clip):
        r = tiny(finetune=FIXED | dict(opt='sgd', fused=False, lr=.1, weight_decay=None, schedule='constant',
            clip=clip))
        step = Plan(digits, r, ['random'], [50], [0]).steps()[0]
        net,start = carry_out(step, digits)[0],build_classifier(step, digits)
        return sum((a-b).norm() for a,b in zip(net.parameters(), start.parameters()))
    assert 0<moved(1e-6)<.01*moved(None)

def test_confidence_is_what_validation_left_of_it(tmp_path):
    fit = fitted(compare(digits, arms=['random'], labels=[50], seeds=1, recipe=BRIEF, store=tmp_path/'s',
        progress=False).folder)
    t = fit.said['temperature']
    assert t!=1
    torch.testing.assert_close(fit.probabilities(digits.test), (fit.logits(digits.test)/t).softmax(1))

def test_the_validation_score_is_that_of_the_weights_that_are_kept():
    r = tiny(finetune=FIXED | dict(opt='adam', fused=False, weight_decay=None, lr=.01, steps=40, evals=40,
        schedule='constant', keep='last'))
    found = carry_out(Plan(digits, r, ['random'], [50], [1]).steps()[0], digits)[1]
    assert found['curve'][-1]<max(found['curve']) and found['valid']==found['curve'][-1]
    assert found['valid_loss']==found['losses'][-1][1]

def test_a_probe_learns_from_its_training_images_alone(monkeypatch):
    seen,real = [],probes.softmax_regression
    monkeypatch.setattr(probes, 'softmax_regression', lambda x, y, lam: (seen.append(len(x)), real(x, y, lam))[1])
    step, = Plan(digits, recipe(study='linear', encoder=THREE), ['random_conv2'], seeds=1).steps()
    row = read_layer(step, digits)[1]
    assert seen==[row['n_train']] and row['n_valid']>0

def test_joint_noise_is_on_the_images_without_labels_and_not_on_their_targets():
    noisy = test_found_nets.tiny(images=dict(norm=None, augment=None),
        finetune=dict(corrupt=dict(kind='masking', p=.5)))
    r = chosen(noisy, digits.train.shape, method='joint')
    step = Plan(digits, r, ['joint'], [50], [0]).steps()[0]
    (x,free),(y,clean) = two_streams(step, digits,
        *(digits.train.take(o) for o in labelled(step, digits)[:2])).train.one_batch()
    hidden = free!=clean
    assert hidden.any() and not free[hidden].any()

def test_other_images_in_the_place_of_those_that_were_planned_are_refused(tmp_path):
    mine,other = (Splits('mine', digits.train.take(o), digits.test.take(range(50)))
        for o in (range(100), range(100, 200)))
    ref = work.data_ref(mine, Store(tmp_path/'s'))
    work.keep_splits(other, ref['file'])
    work._loaded.clear()
    with pytest.raises(ExperimentError, match='not the data this experiment was planned with'): work.load_ref(ref)

def test_a_method_does_what_its_name_says():
    fits = {m: Plan(digits, chosen(default, shape, method=m), ['pretrained']).steps()[0].parents[0].fit
        for m in ('plain', 'denoising', 'masked', 'sparse')}
    assert not any(fits['plain'].get(k) for k in ('corrupt', 'sparsity')) and fits['sparse']['sparsity']>0
    assert [fits[m]['corrupt']['kind'] for m in ('denoising', 'masked')]==['gaussian', 'patches']

def test_what_is_odd_about_the_images_is_said_before_any_work(tmp_path, capsys):
    dark = Splits('dark', *(ImageSet(o.x//200, o.y, o.classes) for o in (digits.train, digits.test)))
    compare(dark, ['random'], [50], 1, recipe=BRIEF, store=tmp_path/'s')
    said = capsys.readouterr().err
    assert 'nearly black' in said and said.index('nearly black')<said.index('[1/')

def test_images_changed_in_memory_are_other_images(tmp_path):
    own = [ImageSet(o.x.clone(), o.y, o.classes) for o in (digits.train.take(range(100)), digits.test.take(range(50)))]
    splits,store = Splits('mine', *own),Store(tmp_path)
    before = work.data_ref(splits, store)
    splits.train.x.numpy()[0] = 7  # torch does not see it
    after = work.data_ref(splits, store)
    assert before['digest']!=after['digest'] and before['file']!=after['file']

def test_what_a_step_draws_is_its_own_whatever_was_drawn_before():
    def drawn(*seed):
        with alone(*seed): return torch.rand(3).tolist()
    torch.manual_seed(1)
    first,state = drawn('fit', 0),torch.get_rng_state()
    torch.rand(5)
    assert drawn('fit', 0)==first!=drawn('fit', 1)
    torch.set_rng_state(state)
    outside = torch.rand(3)
    torch.manual_seed(1)
    assert outside.equal(torch.rand(3))
