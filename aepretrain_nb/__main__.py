"`python -m aepretrain_nb` is `aepretrain`, which does not look for modules in the folder that it is called from."
import os, sys

if __name__=='__main__':
    if not sys.flags.safe_path and sys.path[0]==os.getcwd(): del sys.path[0]
    from aepretrain_nb.cli import main
    sys.exit(main())
