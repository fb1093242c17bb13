"""Plain text out of the formats that documentation comes in: HTML, roff, plain."""

import collections
import re

import lxml.etree
import lxml.html

# Of a page these are furniture, not text.
_FURNITURE = {"script", "style", "nav", "header", "footer", "form", "noscript", "head", "svg"}
_FURNITURE_CLASSES = re.compile(
    r"\b(sphinxsidebar|related|navbar|navheader|navfooter|breadcrumbs?|toc|headerlink|topNav|"
    r"bottomNav|subNav|navigation|sidebar|footer|skip)\b"
)
_BLOCKS = {
    "p", "div", "li", "tr", "h1", "h2", "h3", "h4", "h5", "h6", "pre", "dt", "dd", "br", "section",
    "table", "blockquote", "ul", "ol", "dl", "td", "th",
}  # fmt: skip


def _walk(element, out):
    """Appends the text of an element to out, with line ends where blocks begin and end."""
    tag = element.tag
    if not isinstance(tag, str):
        return  # a comment
    if tag in _FURNITURE or _FURNITURE_CLASSES.search(element.get("class") or ""):
        return
    block = tag in _BLOCKS
    if block:
        out.append("\n")
    if element.text:
        out.append(element.text)
    for child in element:
        _walk(child, out)
        if child.tail:
            out.append(child.tail)
    if block:
        out.append("\n")


def from_html(data):
    """(title, text) of an HTML page; ("", "") if it has none."""
    try:
        page = lxml.html.document_fromstring(data, parser=lxml.html.HTMLParser(encoding="utf-8"))
    except (lxml.etree.LxmlError, ValueError, AssertionError):
        return "", ""
    title = page.findtext(".//title") or ""
    out = []
    try:
        for body in page.iter("body"):
            _walk(body, out)
            break
    except RecursionError:  # nested deeper than any page that people read
        return "", ""
    return tidy(title), tidy("".join(out))


_ROFF_ESCAPES = [
    (re.compile(r'\\".*'), ""),
    (re.compile(r"\\f(\[[^\]]*\]|\(..|.)"), ""),
    (re.compile(r"\\\*(\[[^\]]*\]|\(..|.)"), ""),
    (re.compile(r"\\\((?:em|en|hy|mi)"), "-"),
    (re.compile(r"\\\((?:aq|cq|oq)"), "'"),
    (re.compile(r"\\\((?:dq|lq|rq)"), '"'),
    (re.compile(r"\\\(co|\\\[co\]"), "(c)"),
    (re.compile(r"\\(\[[^\]]*\]|\(..)"), ""),
    (re.compile(r"\\s[-+]?\d+"), ""),
    (re.compile(r"\\[&|^/,%:]"), ""),
    (re.compile(r"\\-"), "-"),
    (re.compile(r"\\e|\\\\"), r"\\"),
    (re.compile(r"\\ "), " "),
]
_ROFF_TEXT_MACROS = {
    "SH", "SS", "B", "I", "BR", "RB", "BI", "IB", "IR", "RI", "SM", "TP", "IP", "Sh", "Ss", "Nm",
    "Nd", "Fl", "Ar", "Op", "Pa", "Xr", "Em", "Sy", "Dv", "Ev", "Li", "Cm", "Ic", "It", "Dq", "Sq",
    "Ql", "Fn", "Fa", "Vt", "Va", "Er", "Tn", "Dl", "D1", "Cd", "In",
}  # fmt: skip


def from_roff(text):
    """(title, text) of a manual page in the man or mdoc macros, without running a formatter: good
    enough to learn from, not to print."""
    title, lines = "", []
    for line in text.split("\n"):
        if line.startswith((".", "'")):
            macro, _, rest = line[1:].strip().partition(" ")
            if macro in ("TH", "Dt"):
                title = title or rest.split(" ")[0].strip('"')
            if macro not in _ROFF_TEXT_MACROS:
                if macro in ("PP", "P", "LP", "Pp", "br"):
                    lines.append("")
                continue
            line = ("\n" if macro in ("SH", "SS", "Sh", "Ss") else "") + rest.replace('"', "")
        for pattern, replacement in _ROFF_ESCAPES:
            line = pattern.sub(replacement, line)
        lines.append(line)
    return title, tidy("\n".join(lines))


def tidy(text):
    """Spaces of a line as one, at most one empty line in a row, no other control characters."""
    text = text.replace("\r", "\n").replace("\t", " ").replace("\u00a0", " ").replace("\u00b6", "")
    lines = [re.sub(r"  +", " ", line).strip() for line in text.split("\n")]
    text = re.sub(r"\n{3,}", "\n\n", "\n".join(lines))
    return re.sub(r"[\x00-\x09\x0b-\x1f\x7f]", "", text).strip()


def is_prose(text, least=600):
    """Whether this is text to be read: long enough, mostly letters and spaces, with lines that are
    sentences rather than lists of names."""
    if len(text) < least:
        return False
    sample = text[:20_000]
    letters = sum(c.isalpha() or c == " " for c in sample)
    words = sample.split()
    return letters > 0.75 * len(sample) and len(words) > 0.11 * len(sample)


def drop_repeated_lines(texts, share=0.2, least=8):
    """The texts of one package without lines that stand in more than `share` of them (menus,
    notices); packages of fewer than `least` pages are left as they are."""
    if len(texts) < least:
        return texts
    seen = collections.Counter(line for text in texts for line in set(text.split("\n")) if line)
    often = {line for line, count in seen.items() if count > max(3, share * len(texts))}
    kept = ("\n".join(li for li in text.split("\n") if li not in often) for text in texts)
    return [tidy(text) for text in kept]
