"""`python -m host`: the same as the console script `prefork`."""

from host.cli import main

if __name__ == "__main__":
    main()
