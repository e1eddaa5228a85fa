"""A person's own options beside the shipped ones, in our command line alone. Hydra finds plug-ins here."""

from hydra.core.config_search_path import ConfigSearchPath
from hydra.plugins.search_path_plugin import SearchPathPlugin

from diffexp.config.search import beside


class DiffexpSearchPath(SearchPathPlugin):
    """Look for options where diffexp.config.search says; nowhere else in other programs that use Hydra."""

    def manipulate_search_path(self, search_path: ConfigSearchPath) -> None:
        for folder in beside():
            search_path.append("diffexp", f"file://{folder}")
