"""The page on a gateway's port that shows what happens there, for whoever works at this machine.

`LivePage` is told of invocations and of the lines that functions write, and answers two paths: a
page that needs nothing from elsewhere, and the figures that it asks for once a second. While nobody
looks it only counts.
"""

from streamproof.live_page.page import FIGURES_PATH, PAGE_PATH, LivePage, LogLines

__all__ = ["FIGURES_PATH", "PAGE_PATH", "LivePage", "LogLines"]
