import sys
from fastcore.nbio import read_nb
for c in read_nb(sys.argv[1]).cells:
    for o in c.get('outputs',[]):
        t=o.get('text') or o.get('data',{}).get('text/plain',''); print('--',c.id); print(''.join(t)[:1500])
