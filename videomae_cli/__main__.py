"""Makes `python -m videomae_cli` run the `videomae` command."""

from videomae_cli.cli import main

if __name__ == "__main__":
    main()
