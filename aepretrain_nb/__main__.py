"`python -m aepretrain_nb` is `aepretrain`."
import sys
from aepretrain_nb.cli import main

if __name__=='__main__': sys.exit(main())
