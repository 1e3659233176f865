"""`python -m moreton`: the same as `moreton`."""

from moreton.cli.main import main

if __name__ == "__main__":
    main()
