"""`python -m fomm_lib VERB` is `fomm VERB`, for launchers of many processes, which need a module to run."""

from fomm_lib.cli.main import main

if __name__ == "__main__":
    main()
