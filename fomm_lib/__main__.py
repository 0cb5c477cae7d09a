"""`python -m fomm_lib VERB` is `fomm VERB`; launchers of many processes need a module to run."""

from fomm_lib.cli import main

if __name__ == "__main__":
    main()
