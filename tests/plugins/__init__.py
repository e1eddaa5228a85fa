"""Parts of somebody else's, made by docs/extend.md alone: its code is these files."""
