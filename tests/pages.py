"""What a reader sees of an HTML page."""

import html
import re


def sections(text: str) -> list[str]:
    return re.findall(r'<section id="(\w+)"', text)


def visible(text: str) -> str:
    """The page's text as a reader sees it: tags and style out, entities and white space resolved."""
    body = re.sub(r"<[^>]+>", " ", text.split("</head>")[1])
    return re.sub(r"\s+", " ", html.unescape(body))


def in_frame(text: str, width: int) -> str:
    """A page that shows another one in a frame of this width, and tells in `data-width` how wide that one became."""
    style, content = f"border:0;width:{width}px;height:900px", html.escape(text)
    frame = f'<iframe style="{style}" srcdoc="{content}"></iframe>'
    measure = (
        "<script>onload = () => { document.body.dataset.width = "
        "document.querySelector('iframe').contentDocument.documentElement.scrollWidth; }</script>"
    )
    return f"<!DOCTYPE html><body>{frame}{measure}</body>"
