"""What three hostile readings of the package found: answers that were wrong, options that changed nothing, images that
were misread. Each was mended with all of its kind."""
import tempfile
import numpy as np, pandas as pd, pytest, tifffile, torch
from PIL import Image, ImageOps
from aepretrain_nb.again import again
from aepretrain_nb.answers.asks import Difference
from aepretrain_nb.answers.design import seeds_needed
from aepretrain_nb.answers.results import Results
from aepretrain_nb.answers.scores import bounds_of, stuck
from aepretrain_nb.answers.stats import paired
from aepretrain_nb.cli import main, seeds
from aepretrain_nb.compare import _asked, compare, read_results
from aepretrain_nb.data.arrays import DataError
from aepretrain_nb.data.decode import decode, header
from aepretrain_nb.data.named import dataset
from aepretrain_nb.data.own import read_own
from aepretrain_nb.data.parts import draw_test
from aepretrain_nb.data.sets import ImageSet
from aepretrain_nb.data.splits import Splits
from aepretrain_nb.experiment.carry import carry_out
from aepretrain_nb.experiment.chosen import chosen
from aepretrain_nb.experiment.grid import run_grid
from aepretrain_nb.experiment.kinds import ExperimentError
from aepretrain_nb.experiment.plan import Plan
from aepretrain_nb.experiment.probes import layer_arms
from aepretrain_nb.experiment.recipe import check_recipe, find_recipe, merged
from aepretrain_nb.experiment.stack import together
from aepretrain_nb.experiment.store import Store
from aepretrain_nb.experiment.subgroups import rescored
from aepretrain_nb.gather import learnt
from aepretrain_nb.train.scores import balanced_size
from aepretrain_nb.train.search import Search, seek
from aepretrain_nb.train.task import task_of

pytestmark = pytest.mark.usefixtures('no_pictures')
digits = dataset('digits')
FIXED = dict(lr=.01, seek='all', first_lr=None, steps=5, evals=1)

def tiny(**kw):
    "The default recipe of the digits, cut to a few steps"
    own = dict(encoder=dict(width=4), pretrain=dict(steps=8, evals=2), finetune=dict(steps=6, evals=2))
    return find_recipe('default', 'digits', 'digits',
        **own | {part: own.get(part, {}) | section for part,section in kw.items()})

def ask(splits, recipe=None, arms=None, labels=50, n=1, **kw):
    return compare(splits, arms, labels, n, recipe or tiny(), progress=False, **kw)

# Answers

def test_a_constant_answer_is_at_chance_in_whatever_score():
    y = torch.tensor([0]*60 + [1]*40)
    always = torch.zeros(100, 2) + torch.tensor([1., 0.])
    for score in ('accuracy', 'error', 'balanced', 'f1'):
        task = task_of('classify', score)
        tally = task.tally()
        tally.add(always, y)
        row = dict(metric=score, better=task.score.better, value=tally.scores()[score], chance=task.to_beat(y),
            n_test=100)
        assert stuck(pd.DataFrame([row]), classes=2).tolist()==[1.], score

def test_a_score_of_errors_calls_the_same_runs_untrained():
    r = tiny(finetune=FIXED | dict(steps=30))
    told = {s: ask(digits, r, ['random'], n=2, score=s).rows for s in ('accuracy', 'error')}
    assert np.allclose(told['error'].value, 100-told['accuracy'].value)
    assert told['error'].at_chance.tolist()==told['accuracy'].at_chance.tolist()

def test_chance_is_that_of_the_images_that_are_scored():
    "Among ten labels of seven classes, one of each at least, the largest class is smaller than it is"
    y = torch.tensor([0]*67 + [1]*6 + [2]*6 + [3]*6 + [4]*5 + [5]*5 + [6]*5)
    s = Splits('unequal', *(ImageSet(torch.zeros(100, 1, 8, 8).byte(), y) for _ in range(2)))
    assert ask(s, tiny(finetune=FIXED), ['random'], labels=20).rows.chance.tolist()==[67.]

@pytest.mark.parametrize('sizes', [(950, 50), (990, 10), (500, 500)])
def test_a_guess_seldom_passes_for_more_in_unequal_classes(sizes):
    "No more than 2.5 % of guesses, and some room for the normal bound of ten images"
    y = torch.arange(2).repeat_interleave(torch.tensor(sizes))
    told = torch.rand(2000, 1000, generator=torch.Generator().manual_seed(1))<.5
    value = 50*sum((told[:,y==c]==bool(c)).double().mean(1) for c in (0, 1))
    rows = pd.DataFrame(dict(metric='balanced', better='higher', value=value, chance=50., n_test=1000))
    assert (stuck(rows.assign(n_chance=balanced_size(y)))==0).mean()<.035
    if sizes!=(500, 500): assert (stuck(rows)==0).mean()>.15

def test_rows_of_a_balanced_score_tell_what_luck_may_do():
    few = (digits.test.y>4) | (torch.arange(len(digits.test))%10==0)
    s = Splits('unequal', digits.train, digits.test.take(few.nonzero()[:,0]))
    found = ask(s, tiny(finetune=FIXED), ['random'], score='balanced').rows.n_chance
    assert found.tolist()==[round(balanced_size(s.test.y), 1)] and found[0]<len(s.test)/2

def test_power_asks_for_the_best_control_of_an_error():
    rng = np.random.default_rng(0)
    noise = {'pretrained': (20, 1.), 'good': (21, .2), 'bad': (40, 5.)}
    rows = pd.DataFrame([dict(arm=a, labels=100, subset_seed=s, encoder_seed=s, head_seed=s, subset=f'{s}',
        value=m+rng.normal(0, sd))
        for a,(m,sd) in noise.items() for s in range(6)]).assign(metric='error', unit='%', better='lower')
    told = rows.assign(value=100-rows.value, metric='accuracy', better='higher')
    assert seeds_needed(rows, 1., best=True).control.tolist()==seeds_needed(told, 1.,
        best=True).control.tolist()==['good']

def test_shared_images_are_seen_where_another_size_has_gaps():
    rng,rows = np.random.default_rng(0),[]
    for s in range(3):
        of_images = rng.normal(0, 3)
        for e in range(3):
            own = dict(subset_seed=s, encoder_seed=e, head_seed=s, unit='%')
            for arm,gain in dict(a=of_images, b=0.).items():
                rows.append(own | dict(arm=arm, labels=100, subset=f'100-{s}', value=gain+rng.normal(0, .1)))
            if e==s: rows.append(own | dict(arm='a', labels=1000, subset=f'1000-{s}', value=80.))
    d,ask_ = pd.DataFrame(rows),Difference('a', 'b', over='labels')
    whole,part = ask_(d),ask_(d[d.labels==100])
    assert (whole.low, whole.high)==(part.low, part.high) and part.high-part.low>2

def test_differences_that_are_noise_of_float32_are_no_spread():
    a,b = ([float(np.float32(v))*100 for v in o] for o in ((.43, .58, .72), (.42, .57, .71)))
    found = paired(a, b)
    assert found.diff==pytest.approx(1, abs=1e-4) and np.isnan(found.p) and np.isnan(found.low)

def test_bounds_are_those_of_the_column():
    rows = pd.DataFrame(dict(metric='accuracy', unit='%', value=[50., 60.], seconds=[1., 2.], mse=[.1, .2]))
    assert [bounds_of(rows, c) for c in ('value', 'seconds', 'mse')]==[(0, 100), None, None]

def test_numbers_and_nothing_as_names_of_subgroups(tmp_path):
    file = tmp_path/'rows.csv'
    seeds_ = dict(subset_seed=0, encoder_seed=0, head_seed=0, labels=10)
    pd.DataFrame([dict(arm=a, subgroup=g, value=50., subset='x', **seeds_) for a in ('1', '02')
        for g in ('1', 'NA', '03')]).to_csv(file, index=False)
    for g in ('1', 'NA', '03'): assert Results.read(file, subgroup=g).rows.arm.tolist()==['1', '02']

def test_top5_of_a_subgroup_is_its_own(tmp_path):
    res = ask(digits, tiny(finetune=FIXED | dict(steps=20)), ['random'], store=tmp_path/'s', keep='all', score='top5')
    half = ['odd' if i%2 else 'even' for i in range(len(digits.test))]
    by = rescored(res.rows, tmp_path/'s', digits, half).set_index('subgroup')
    assert by.top5.nunique()==2 and by.value.equals(by.top5)
    assert np.average(by.top5, weights=by.n_test)==pytest.approx(res.rows.top5[0], abs=1e-3)

# Rates

def test_a_search_begins_and_ends_within_its_list():
    def error(asked): return [((np.log10(r)+2.5)**2, 0.) for _,r in asked]
    for rates in ((.0005, .001), (.1, .3), (.001, .003, .01)):
        s = Search(rates, .0031)
        tries = seek(dict(a=s), error)['a']
        assert set(tries)<=set(rates) and s.best(tries)==min(rates, key=lambda r: abs(np.log10(r)+2.5))

def test_a_shared_rate_of_an_autoencoder_is_judged_by_its_error():
    r = tiny(pretrain=dict(steps=30, lr=[.00001, .0001, .001, .003, .01], seek='outward', first_lr=.003))
    res = ask(digits, r, ['pretrained', 'random'])
    tried = res.tuning[res.tuning.section=='pretrain']
    assert tried.valid.notna().all() and tried.lr[tried.chosen].item()==tried.lr[tried.valid.idxmin()]>.00001
    fits = res.rows.set_index('arm')
    assert fits.lrs['pretrained']==fits.lrs['random']=='0.0003 0.001 0.003 0.01 0.03 0.1'

def test_a_row_does_not_tell_the_rates_of_its_autoencoder():
    res = ask(digits, tiny(finetune=FIXED | dict(lr=.02),
        pretrain=dict(lr=[.001, .003], seek='outward', first_lr=.001)), ['pretrained'])
    assert (res.rows.lr[0], res.rows.lrs[0])==(.02, '0.02') and 'edge' not in res.rows

def test_one_rate_is_that_of_all_arms():
    r = find_recipe('default', 'digits', 'digits', controls='all')
    steps = Plan(digits, _asked(r, None, None, dict(lr=.01)), None, [50], [0]).steps()
    assert {s.arm: s.fit['lr'] for s in steps}==dict.fromkeys(r['arms'], .01)
    assert next(s for s in steps if s.arm=='frozen_random').fit['freeze']==['encoder.']

def test_scores_that_no_validation_image_shows_leave_the_rate_to_the_loss():
    rng = np.random.default_rng(0)
    def part(n):
        return ImageSet((rng.random((n, 8, 8))*255).astype('uint8'), (rng.random((n, 2))<.03).astype('float32'),
            classes=['a', 'b'])
    s = Splits('rare', part(200), part(60))
    r = tiny(labels=dict(policy='uniform'), images=dict(augment=None))
    for keep in ('best', 'none'):
        res = ask(s, r, ['random'], labels=20, n=3, keep=keep)
        assert len(res.rows)==3 and not len(res.missing)
        unknown = set(res.rows.head_seed[res.rows.valid.isna()])
        assert unknown
        tried = res.tuning[res.tuning.seed.isin(unknown)]
        assert res.tuning.valid.isna().equals(res.tuning.seed.isin(unknown))
        assert all(t.lr[t.chosen].item()==t.lr[t.valid_loss.idxmin()] for _,t in tried.groupby('seed'))

def test_no_weight_decay_is_none():
    def loss(v):
        r = tiny(finetune=FIXED | dict(lr=.1, steps=20, weight_decay=v))
        return carry_out(Plan(digits, r, ['random'], [50], [0]).steps()[0], digits)[1]['valid_loss']
    assert loss(0.)!=loss(.01)==loss(None) # as AdamW has it

# Options that would change nothing

@pytest.mark.parametrize('part,entry', [('finetune', dict(n_valid=9)),
    ('finetune', dict(corrupt=dict(kind='masking', p=.1))), ('finetune', dict(weight=[.1, 1.])),
    ('finetune', dict(every=5)), ('pretrain', dict(freeze=['encoder.'])), ('pretrain', dict(score_train=True))])
def test_what_no_step_reads_is_refused(part, entry):
    with pytest.raises(ExperimentError, match=f'{part}.{next(iter(entry))} would change nothing'):
        check_recipe(tiny(**{part: entry}))

def test_heads_that_are_trained_as_one_have_a_usual_loss_and_no_patience():
    how = dict(opt='adam', fused=False, weight_decay=None, schedule='constant', keep='best')
    def alike(**kw):
        r = tiny(head=dict(make='linear', average=False), images=dict(augment=None), finetune=FIXED | how | kw)
        return together(Plan(digits, r, ['frozen_random'], [50], [0]).steps()[0], digits) is not None
    assert alike() and alike(loss='cross_entropy') and alike(loss='double_softmax')
    assert not alike(loss='sigmoid') and not alike(patience=1) and not alike(loss='crossentropy')

def test_phases_are_not_said_to_be_in_bf16():
    r = chosen(find_recipe('default', 'digits', 'digits'), digits.train.shape, method='gradual')
    with pytest.raises(ExperimentError, match='phases train in fp32'): _asked(r, 'bf16', None, {})

def test_patience_may_end_before_a_look_that_an_arm_starts_from():
    arms = dict(late=dict(steps=['reconstruct', dict(do='classify', at=2)]))
    r = tiny(pretrain=dict(checkpoints=[2], patience=1)) | dict(arms=arms)
    with pytest.raises(ExperimentError, match='patience may end it'): Plan(digits, r, None, [50], [0]).steps()
    assert Plan(digits, merged(r, dict(pretrain=dict(patience=None))), None, [50], [0]).steps()

def test_a_method_undoes_nothing_that_is_asked_for(capsys, tmp_path):
    args = ['compare', 'digits', '--setting', 'smoke', '--method', 'sparse', '--set', 'pretrain.sparsity=0.5', '--out',
        str(tmp_path/'o')]
    assert main(args)==2
    assert 'pretrain.sparsity is what method sparse says' in capsys.readouterr().err and not (tmp_path/'o').exists()

def test_a_probe_tells_the_score_that_it_names():
    few = (digits.test.y>4) | (torch.arange(len(digits.test))%10==0)
    s = Splits('unequal', digits.train, digits.test.take(few.nonzero()[:,0]))
    r = tiny(probe=dict(score='balanced'))
    step = Plan(s, r, layer_arms(dict(random=[]), ['block1']), [50], [0]).steps()[0]
    found = carry_out(step, s)[1]
    assert found['value']==found['balanced']!=found['accuracy']

def test_neighbours_see_the_window_that_a_net_is_judged_on():
    def value(augment):
        r = tiny(images=dict(augment=augment)) | dict(arms=dict(k=dict(steps=['knn'])))
        return carry_out(Plan(digits, r, None, [200], [0]).steps()[0], digits)[1]['value']
    assert value(None)==value(dict(flip=True))>value(dict(size=4))

# Folders of results

def test_a_second_call_keeps_the_rates_that_the_first_tried(tmp_path):
    for arm in ('random', 'pretrained'): ask(digits, tiny(), [arm], store=tmp_path)
    tried = read_results(tmp_path).tuning
    assert set(tried.arm)=={'random', 'pretrained'}
    ask(digits, tiny(), ['random'], store=tmp_path)
    assert len(read_results(tmp_path).tuning)==len(tried)

def test_the_best_of_an_arm_and_size_is_one(tmp_path):
    res = ask(digits, tiny(), ['random'], n=4, store=tmp_path)
    assert res.rows.lr.nunique()>1 and len(list((tmp_path/'classifiers').glob('*.safetensors')))==1

def test_the_command_asks_the_same_again(tmp_path):
    ask(digits, 'default', ['pretrained', 'random'], n=[3, 4], store=tmp_path, setting='smoke', treatment='random',
        metric='balanced')
    words = read_results(tmp_path).told('command')
    assert '--seeds 3,4' in words and '--treatment random' in words and '--metric balanced' in words
    assert [seeds(o) for o in ('5', '3,4', '7,', 'auto')]==[5, [3, 4], [7], 'auto']
    stage = again(find_recipe('default', 'smoke', 'digits'), 'digits', [dict(seeds='auto', margin=30, max_seeds=6)])[0]
    assert stage.endswith('--seeds auto --margin 30 --max-seeds 6')

def test_fewer_images_than_a_picture_shows():
    ten = torch.cat([torch.nonzero(digits.train.y==c)[:4,0] for c in (0, 1)])
    few = Splits('few', digits.train.take(ten), digits.test.take(torch.nonzero(digits.test.y<2)[:,0]))
    step = Plan(few, tiny(finetune=FIXED, pretrain=dict(n_valid=2)), ['pretrained'], [6], [0]).steps()[0]
    store = Store(tempfile.mkdtemp())
    run_grid([step], store, few, progress=False)
    assert len(learnt([step], store, few)['images'])==len(few.unlabelled)==8

# Images of one's own

def drawn(folder, n=6, size=12):
    folder.mkdir(parents=True)
    rng = np.random.default_rng([*map(ord, str(folder.name))])
    for i in range(n): Image.fromarray(rng.integers(0, 255, (size, size, 3), dtype='uint8')).save(folder/f'{i}.png')

def table_of(path): return read_own(path, cache=False).account.table

@pytest.mark.parametrize('train,test', [('training_set', 'test_set'), ('seg_train/seg_train', 'seg_test/seg_test'),
    ('Train', 'Test-images')])
def test_folders_named_after_parts_in_other_words(tmp_path, train, test):
    for part in (train, test):
        for c in ('cats', 'dogs'): drawn(tmp_path/part/c)
    assert table_of(tmp_path).groupby(['part', 'label']).size().to_dict()=={(p, c): 6 for p in ('test', 'train')
        for c in ('cats', 'dogs')}

def test_a_part_beside_classes_is_refused_and_a_class_called_test_is_not(tmp_path):
    for c in ('cats', 'dogs', 'test/cats', 'test/dogs'): drawn(tmp_path/'mixed'/c)
    with pytest.raises(DataError, match='folder test is named as a part and holds folders'): table_of(tmp_path/'mixed')
    for c in ('control', 'test'): drawn(tmp_path/'plain'/c)
    assert set(table_of(tmp_path/'plain').label)=={'control', 'test'}
    for c in ('bus', 'car', 'train'): drawn(tmp_path/'vehicles'/c)
    assert set(table_of(tmp_path/'vehicles').label)=={'bus', 'car', 'train'}
    for c in ('train', 'test', 'more'): drawn(tmp_path/'flat'/c)
    with pytest.raises(DataError, match='no image to train on has a label'):
        read_own(tmp_path/'flat', cache=False).splits()

def test_the_same_folders_in_all_classes_are_remarked(tmp_path):
    for c in ('A/cats', 'A/dogs', 'B/cats', 'B/dogs'): drawn(tmp_path/c)
    note = 'all classes, A, B, have folders cats, dogs: if they are the classes, name one of these folders'
    assert note in read_own(tmp_path, cache=False).given.notes

def test_columns_are_those_of_a_table(tmp_path):
    drawn(tmp_path/'a'/'x'), drawn(tmp_path/'a'/'y')
    np.savez(tmp_path/'b.npz', x=np.zeros((8, 8, 8), 'uint8'), y=np.arange(8)%2, patient=np.arange(8)//2)
    for data in (tmp_path/'a', tmp_path/'b.npz'):
        with pytest.raises(DataError, match='columns are those of a table'):
            read_own(data, columns=dict(group='patient'))

@pytest.mark.parametrize('text,why', [('file,label\na.png,x\n"b.png,y\n', 'a quote is opened and never closed'),
    ('file,class,label\na.png,x,y\n', "columns 'class' and 'label': say which is the label"),
    ('file,label,label\na.png,x,y\n', "columns 'label' and 'label'"),
    ('file,label\na,x\n', 'names no image that is there: a is not in')])
def test_tables_that_say_two_things_or_nothing(tmp_path, text, why):
    (tmp_path/'t.csv').write_text(text)
    with pytest.raises(DataError, match=why): read_own(tmp_path/'t.csv', cache=False)

@pytest.mark.parametrize('more,why', [(dict(y=[0, 1, 0, 1, 0, np.inf]), 'label inf is neither'),
    (dict(y=[{}, 1, 0, 1, 0, 1]), 'label {} is neither'),
    (dict(y=np.arange(6)%2, labels=np.arange(6)%2), 'y and labels are both labels'),
    (dict(y=np.arange(6)%2, groups=np.arange(5)), r'groups of shape \(5,\) for 6 images'),
    (dict(y=np.arange(6)%2, img=np.zeros((6, 8, 8))), 'x and img are both images')])
def test_arrays_that_cannot_be_what_they_are_called(more, why):
    with pytest.raises(DataError, match=why): read_own(dict(x=np.zeros((6, 8, 8)), **more))

def test_a_test_part_without_labels_is_told():
    found = read_own(dict(x_train=np.zeros((6, 8, 8)), y_train=np.arange(6)%2, x_test=np.zeros((4, 8, 8))))
    assert 'no label in the test part, so unlabelled: 4, such as test 0' in found.given.notes

def test_a_draw_that_is_kept_leaves_a_class_something_on_each_side():
    first = draw_test({f'{c}{i}': [c] for c in 'ab' for i in range(10)}, .2)
    named = {u: ['r' if i<2 else 'a'] for i,u in enumerate(first)} # other labels of the same images
    again_ = draw_test(named, .2, known=first)
    assert {again_[u] for u in list(first)[:2]}=={'train', 'test'}
    # what trained of a is gone, but for the test
    left = {u: [u[0]] for u,side in first.items() if side=='test' or u[0]=='b'}
    assert {side for u,side in draw_test(left, .2, known=first).items() if u[0]=='a'}=={'train', 'test'}

@pytest.mark.parametrize('turn', range(1, 9))
def test_a_turned_tiff_is_the_right_way_up(tmp_path, turn):
    a = np.random.default_rng(turn).integers(0, 255, (24, 40, 3), dtype='uint8')
    plain,deep = tmp_path/'a.tif',tmp_path/'b.tif'
    Image.fromarray(a).save(plain, tiffinfo={274: turn})
    tifffile.imwrite(deep, a.transpose(2, 0, 1).astype('uint16')*257, planarconfig='separate', photometric='rgb',
        extratags=[(274, 3, 1, turn, True)])
    want = np.asarray(ImageOps.exif_transpose(Image.open(plain))).transpose(2, 0, 1)
    for file,kind,unit in ((plain, 'uint8', 1), (deep, 'uint16', 257)):
        h = header(file)
        assert (h.height, h.width)==want.shape[1:]
        assert np.array_equal(decode(file, want.shape[1:], 3, kind), want.astype(kind)*unit)

def test_channels_in_pages_are_all_read(tmp_path):
    a = np.random.default_rng(0).integers(0, 255, (3, 24, 40), dtype='uint8')
    tifffile.imwrite(tmp_path/'a.tif', a, imagej=True, metadata={'axes': 'CYX'})
    assert header(tmp_path/'a.tif').channels==3 and np.array_equal(decode(tmp_path/'a.tif', (24, 40), 3), a)
