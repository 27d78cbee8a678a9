"""A command line read from signatures and comments says what the functions say, and passes on what was typed and
nothing else."""
import argparse
from inspect import signature
import pytest
from fastcore.docments import docments
from aepretrain_nb.cli import compare, data_get, data_list, data_verify, ledger, parser, power, report, settings
from aepretrain_nb.commands import add_verb, arguments, call, hands_to
from aepretrain_nb.data.ground import UserError, load_object

VERBS = compare, settings, report, power, ledger, data_list, data_verify, data_get

@pytest.mark.parametrize('path', ['aepretrain_nb.data.named:dataset', 'aepretrain_nb.answers.report:report',
    'aepretrain_nb.answers.ledger:ledger'])
def test_comments_are_read_as_fastcore_reads_them(path):
    "Without importing the function, and with it"
    fn = load_object(path)
    needed = [k for k,p in signature(fn).parameters.items() if p.default is p.empty]
    for args in (arguments(path), arguments(fn)):
        assert {a.name: a.help for a in args}==docments(fn, returns=False)
        assert [a.name for a in args if a.default is None]==needed

@pytest.mark.parametrize('fn', VERBS, ids=lambda f: f.__name__)
def test_each_argument_of_a_verb_is_explained_once(fn):
    args = arguments(fn)
    assert all(a.help for a in args) and len({a.word for a in args})==len(args)

def test_what_the_core_takes_is_an_argument():
    "All of it, but for what has another word or no text"
    core = {a.name for a in arguments(compare.hands['fns'][0])}
    assert core-{a.name for a in arguments(compare)}==set('store progress pretrain_sets'.split())

def verb(fn):
    p = argparse.ArgumentParser(exit_on_error=False)
    add_verb(p.add_subparsers(), fn)
    return lambda *argv: call(p.parse_args([fn.__name__, *argv]))

def test_only_what_was_typed_is_passed_on():
    def f(a, n:int=7, **kw): return a,n,kw
    def g(x=1., flag=False): pass
    run = verb(hands_to(g)(f))
    assert run('one')==('one', 7, {})
    assert run('one', '--n', '2', '--x', '.5', '--flag')==('one', 2, dict(x=.5, flag=True))

def test_a_default_is_shown_unless_the_comment_speaks_of_it(capsys):
    def f(
        n=7,    # how many
        m=8,    # how many; eight by default
        o=None  # 50 % of `n`
    ): "Count."
    with pytest.raises(SystemExit): verb(f)('--help')
    said = ' '.join(capsys.readouterr().out.split())
    assert 'how many (default: 7)' in said and 'eight by default --o' in said and said.endswith('50 % of n')

def test_a_path_without_a_function_is_one_line():
    with pytest.raises(UserError, match="aepretrain_nb.cli defines no function 'nothing'"):
        arguments('aepretrain_nb.cli:nothing')

def test_words_of_the_shell_reach_the_call(monkeypatch, tmp_path):
    "compare as it is called: text has become values, defaults stay the function's"
    import aepretrain_nb.compare as core
    class Stop(Exception): pass
    def fake(*args, **kw): raise Stop(args, kw)
    monkeypatch.setattr(core, 'compare', fake)
    line = ('compare digits --recipe kohlbrenner --setting smoke --lr .1,.3 --labels 50,200 --seeds auto --margin 2 '
        '--crossed --n-valid 10 --out o --set reading=fair')
    with pytest.raises(Stop) as e: call(parser().parse_args(line.split()))
    args,kw = e.value.args
    assert args==('digits',) and kw.pop('recipe')['reading']=='fair'
    assert kw==dict(setting='smoke', store='o', executor=1, lr=[.1, .3], labels=[50, 200], seeds='auto', margin=2.,
        crossed=True, n_valid=10)
