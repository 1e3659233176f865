"""Reads HTML and XML; nothing that a document names is fetched or expanded."""

from __future__ import annotations

import re

from lxml import etree

from moreton.strangler.compare.core.content import Element, Markup

# libxml2 makes one up where there is none.
_DOCTYPE = re.compile(rb"[^<]{0,100}(?:<!--.{0,1000}?-->\s*)*<!doctype", re.IGNORECASE | re.DOTALL)
_SPACE = re.compile(r"[ \t\n\r\f]+")
# Their white space is shown, or is a program's.
_EXACT = frozenset({"pre", "textarea", "script", "style"})


def read_html(data: bytes, charset: str) -> Markup | None:
    """The document as a browser takes it: faults are mended.

    `None` where there is nothing, or more in one another than libxml2 reads (256): it stops there
    without a word, and what is not read would seem to be the same.
    """
    parser = etree.HTMLParser(
        encoding=charset or None, remove_comments=True, remove_pis=True, no_network=True
    )
    root = _parsed(data, parser)
    if root is None:
        return None
    doctype = root.getroottree().docinfo.doctype if _DOCTYPE.match(data) else ""
    return Markup(_tree(root, html=True, exact=False), html=True, doctype=doctype)


def read_xml(data: bytes) -> Markup | str:
    """The document, or why it is none."""
    parser = etree.XMLParser(
        resolve_entities=False,
        load_dtd=False,
        no_network=True,
        huge_tree=False,
        remove_comments=True,
        remove_pis=True,
    )
    try:
        root = etree.fromstring(data, parser)
    except (etree.XMLSyntaxError, ValueError) as error:
        return str(error)
    return Markup(_tree(root, html=False, exact=False), html=False)


def _parsed(data: bytes, parser: etree.HTMLParser[etree._Element]) -> etree._Element | None:
    try:
        root = etree.fromstring(data, parser)
    except (etree.XMLSyntaxError, LookupError):
        return None
    stopped = etree.ErrorTypes.ERR_RESOURCE_LIMIT
    return None if any(error.type == stopped for error in parser.error_log) else root


def _tree(node: etree._Element, *, html: bool, exact: bool) -> Element:
    tag = node.tag if isinstance(node.tag, str) else "&"  # an entity that is not expanded
    exact = exact or (tag in _EXACT if html else len(node) == 0)
    children: list[Element | str] = []
    _text(node.text, children, html=html, exact=exact)
    for child in node:
        children.append(_tree(child, html=html, exact=exact and html))
        _text(child.tail, children, html=html, exact=exact)
    return Element(tag, dict(node.attrib.items()), children)


def _text(text: str | None, children: list[Element | str], *, html: bool, exact: bool) -> None:
    if not text:
        return
    if exact:
        children.append(text)
        return
    folded = _SPACE.sub(" ", text).strip() if html else text
    if folded and not folded.isspace():
        children.append(folded)
