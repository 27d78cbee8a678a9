"What pages tell people to type is understood by the command line, and guides stay short."
import contextlib, io, re, shlex
from pathlib import Path
import pytest
from fastcore.nbio import read_nb
from aepretrain_nb.cli import parser

NBS = Path(__file__).resolve().parents[1]/'nbs'
PAGES = sorted(p for p in NBS.rglob('*.ipynb') if not any(o[0]=='.' for o in p.relative_to(NBS).parts))
FENCE = re.compile(r'^```sh\n(.*?)^```', re.S | re.M)

def typed(text):
    "Calls of aepretrain in the fences for a shell"
    lines = '\n'.join(FENCE.findall(text)).replace('\\\n', ' ').splitlines()
    return [l for l in map(str.strip, lines) if l.startswith('aepretrain ')]

def refused(line):
    "What the parser says of a command; '' where it takes it"
    with contextlib.redirect_stderr(io.StringIO()) as err, contextlib.redirect_stdout(io.StringIO()):
        try: parser().parse_args(shlex.split(line, comments=True)[1:])
        except SystemExit as e: return err.getvalue() if e.code else ''
    return ''

@pytest.mark.parametrize('page', PAGES, ids=lambda p: p.relative_to(NBS).with_suffix('').as_posix())
def test_commands_in_pages_are_understood(page):
    said = [l for c in read_nb(page).cells if c.cell_type=='markdown' for l in typed(c.source)]
    assert not [why for why in map(refused, said) if why]

def test_a_wrong_command_is_seen():
    text = '```sh\nmake demo\naepretrain compare digits \\\n    --lables 50  # few\n```'
    line, = typed(text)
    assert 'unrecognized arguments: --lables' in refused(line) and not refused(line.replace('lables', 'labels'))

def test_guides_and_the_command_line_show_commands():
    for k in ('04_cli', 'own_images', 'few_masks', 'how_many', 'when_to_stop', 'scaling_out', 'reading_a_report'):
        assert any(typed(c.source) for c in read_nb(NBS/f'{k}.ipynb').cells if c.cell_type=='markdown'), k
