"""`python -m ecbehave` is `ecbehave`."""

from ecbehave.cli import main

if __name__ == "__main__":
    main()
