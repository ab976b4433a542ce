"""Pages in one start of a headless browser: layout at several widths, and axe-core's findings, light and dark."""

import base64
import hashlib
import json
import re
import subprocess
import tarfile
from html import escape, unescape
from pathlib import Path
from typing import Any

AXE = "axe-core@4.10.3"
AXE_SHA512 = "Xm7bpRXnDSX2YE2YFfBk2FnF0ep6tmG7xPh8iHee8MIcrgq762Nkce856dYtJYLkuIoYZvGfTs/PbZhideTcEg=="
WIDTHS = (390, 768, 1440)
FLAGS = ("--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking")
FLAGS += ("--disable-component-update", "--disable-sync", "--hide-scrollbars")

CHECKS = """
const look = frame => {
  const page = frame.contentDocument, width = frame.clientWidth, root = page.documentElement;
  const shown = element => frame.contentWindow.getComputedStyle(element).display !== "none";
  const texts = [...page.querySelectorAll("p, li, figcaption, h1, h2, h3, summary")];
  const hint = region => region.previousElementSibling?.querySelector(".hint");
  const wide = [...page.querySelectorAll(".scroll")].filter(r => r.scrollWidth > r.clientWidth + 1);
  return {
    width,
    scrolls: root.scrollWidth > width,
    drawn: [...page.images].filter(image => image.naturalWidth > 0).length,
    cut: texts.filter(t => t.getBoundingClientRect().right > width + 1).map(t => t.textContent.slice(0, 40)),
    unsaid: wide.filter(r => !hint(r) || !shown(hint(r))).map(r => r.getAttribute("aria-labelledby")),
    scrolling: wide.map(r => r.getAttribute("aria-labelledby")),
  };
};
const findings = async frame => {
  frame.contentWindow.eval(document.getElementById("axe").textContent);
  const found = await frame.contentWindow.axe.run(frame.contentDocument, { resultTypes: ["violations"] });
  return found.violations.map(v => ({ id: v.id, impact: v.impact, nodes: v.nodes.slice(0, 3).map(n => n.html) }));
};
addEventListener("load", async () => {
  const results = {};
  for (const frame of document.querySelectorAll("iframe")) {
    frame.contentDocument.querySelectorAll("details").forEach(details => { details.open = true; });
    const result = { looks: [], axe: [] };
    if (frame.dataset.widths)
      for (const width of JSON.parse(frame.dataset.widths)) {
        frame.style.width = `${width}px`;
        result.looks.push(look(frame));
      }
    result.axe = await findings(frame);
    results[frame.name] = result;
  }
  document.title = "done";
  document.body.innerHTML = "";
  document.body.dataset.results = JSON.stringify(results);
});
"""


def axe_source(npm: str, folder: Path) -> str:
    """axe-core's code, out of the package that npm fetches, whose hash is checked."""
    command = [npm, "pack", AXE, "--pack-destination", str(folder), "--silent"]
    name = subprocess.run(command, capture_output=True, text=True, check=True, timeout=120).stdout.split()[-1]
    packed = (folder / name).read_bytes()
    assert base64.b64encode(hashlib.sha512(packed).digest()).decode() == AXE_SHA512
    with tarfile.open(folder / name) as archive:
        member = archive.extractfile("package/axe.min.js")
        assert member is not None
        return member.read().decode()


def inspect(browser: str, axe: str, pages: dict[str, str], folder: Path) -> dict[str, Any]:
    """Name of each page -> what a browser sees: `looks` at each width, and `axe`, its violations; in dark, too.

    Dark pages are called `<name>, dark`, and have `axe` alone.
    """
    frames = []
    for name, text in pages.items():
        dark = text.replace("@media (prefers-color-scheme: dark)", "@media all")
        dark = dark.replace("color-scheme: light dark", "color-scheme: dark")  # the browser's own colours
        assert dark != text, "the page has dark colours"
        for label, shown, widths in ((name, text, json.dumps(WIDTHS)), (f"{name}, dark", dark, "")):
            frames.append(
                f'<iframe name="{label}" data-widths="{widths}" style="width: 1440px; height: 2000px" '
                f'srcdoc="{escape(shown)}"></iframe>'
            )
    code = axe.replace("</script", "<\\/script")
    harness = folder / "harness.html"
    harness.write_text(
        f'<meta charset="utf-8"><script type="text/plain" id="axe">{code}</script>'
        f"<body>{''.join(frames)}<script>{CHECKS}</script>",
        encoding="utf-8",
    )
    command = [browser, *FLAGS, f"--user-data-dir={folder / 'profile'}", "--virtual-time-budget=600000"]
    command += ["--window-size=1500,2000", "--dump-dom", harness.as_uri()]
    dumped = subprocess.run(command, capture_output=True, text=True, check=True, timeout=550).stdout
    stated = re.search(r'data-results="([^"]*)"', dumped)
    assert stated, dumped[-2000:]
    return json.loads(unescape(stated.group(1)))


def print_to_pdf(browser: str, page: Path, folder: Path) -> Path:
    """The page as the browser prints it."""
    path = folder / "page.pdf"
    command = [browser, *FLAGS, f"--user-data-dir={folder / 'print'}", "--no-pdf-header-footer"]
    subprocess.run([*command, f"--print-to-pdf={path}", page.as_uri()], capture_output=True, check=True, timeout=200)
    return path
