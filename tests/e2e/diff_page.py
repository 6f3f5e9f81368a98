#!/usr/bin/env python3
"""Look at the page of `bld diff --html` in a browser: diff_page.py CHECK PAGE [JSON [A B]].

JSON is what `bld diff --format json` says of the same images, A and B are the folders they were made from.
"""
import json, os, sys

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from browser import Browser

check, page = sys.argv[1:3]
doc = json.load(open(sys.argv[3])) if len(sys.argv) > 3 else None
folders = sys.argv[4:6]
KIND = {"added": "A", "deleted": "D", "modified": "M", "type": "T", "metadata": "m"}


def same(want, have, what):
    assert want == have, f"{what}: {have!r}, not {want!r}"


def size(n):
    """As bld's format_size()."""
    units, u, v = ["B", "kB", "MB", "GB"], 0, float(n)
    while v >= 999.95 and u + 1 < len(units):
        v, u = v / 1000, u + 1
    return f"{v:.1f} {units[u]}" if u else f"{n} B"


def told():
    """Changes of files the page tells: not folders whose time changed because of what did in them."""
    files, out = doc["files"], []
    for i, f in enumerate(files):
        below = i + 1 < len(files) and files[i + 1]["path"].startswith(f["path"] + "/")
        if not (f.get("what") == ["mtime"] and f["after"]["type"] == "dir" and below):
            out.append(f)
    return out


def bytes_of(f, side):
    n = f.get(side, {})
    return n.get("size", 0) if "hardLinkOf" not in n else 0


def number(b, css):
    return int(b.js("return document.querySelector(arguments[0]).value", css))


def rows(b):
    return b.js("return [...document.querySelectorAll('.row')].map(r => r.getAttribute('aria-label'))")


def all_rows(b):
    """What scrolling through the tree shows: [path, kind, label] of each row."""
    out, y = {}, 0
    while y is not None:
        b.frames("document.getElementById('tree').scrollTop = arguments[0]", y)
        for r in b.js("return [...document.querySelectorAll('.row')].map(r => [r.querySelector('.nm').title, "
                      "(r.querySelector('.k') || {}).textContent, r.getAttribute('aria-label')])"):
            out[r[0]] = r
        y = b.js("const t = document.getElementById('tree'), n = t.scrollTop + t.clientHeight; "
                 "return n + 1 < t.scrollHeight ? n : null")
    return list(out.values())


def active(b):
    return b.js("const r = document.getElementById(document.getElementById('tree').getAttribute("
                "'aria-activedescendant')); return [r.querySelector('.nm').title, r.getAttribute('aria-expanded'),"
                "r.innerText.split('\\n').map(s => s.trim()).filter(s => s)]")


def head(b):
    same(f"{doc['a']['name']} → {doc['b']['name']} – bld diff", b.js("return document.title"), "title")
    files = told()
    for status, letter in KIND.items():
        same(sum(f["status"] == status for f in files), number(b, f"#n-{status}"), status)
    same(len(doc["files"]) - len(files), number(b, "#quiet") if len(files) < len(doc["files"]) else 0, "not told")
    verdict = b.js("const v = document.getElementById('verdict'); return [v.dataset.differ, v.textContent]")
    same(str(doc["differ"]).lower(), verdict[0], "differ")
    assert verdict[1].startswith(f"{len(files)} paths and {len(doc['config'])} settings differ. "), verdict[1]
    assert f"transfers {size(doc['pull']['bytes'])} for B" in verdict[1], verdict[1]
    same(doc["pull"]["bytes"], number(b, "#pull"), "pull")
    same(doc["pull"]["totalBytes"], number(b, "#pull-total"), "of")
    same(doc["pull"]["sharedLayers"], number(b, "#layers-shared"), "shared layers")
    same(doc["pull"]["changedLayers"], number(b, "#layers-changed"), "changed layers")
    for side, folder in zip("ab", folders):
        total, n = sums(folder)
        same(total, number(b, f"#bytes-{side}"), "bytes of " + side)
        same(n, number(b, f"#files-{side}"), "files of " + side)
    same([settings(c) for c in doc["config"]],
         [[None if x == "–" else x for x in r] for r in b.js(
             "return [...document.querySelectorAll('#config tbody tr')].map(r => "
             "[r.cells[2].innerText, r.cells[3].innerText])")], "settings")
    same(doc["a"]["digest"], b.js("return document.querySelector('.images code').textContent"), "digest of A")


def settings(c):
    """What the page has of a setting: of the history, steps."""
    a, z = c.get("before"), c.get("after")
    if c["field"] == "history":
        a, z = (x and json.loads(x)["created_by"] for x in (a, z))
        z = "the same step, other details" if a == z else z
    return [a, z]


def sums(folder):
    total, n, seen = 0, 0, set()
    for where, dirs, names in os.walk(folder):
        links = [d for d in dirs if os.path.islink(os.path.join(where, d))]
        for name in names + links:
            st = os.lstat(os.path.join(where, name))
            n += 1
            if not os.path.islink(os.path.join(where, name)) and st.st_ino not in seen:
                total += st.st_size
                seen.add(st.st_ino)
    return total, n


def expect_row(f, cells):
    """A row of the tree says of a file what the document does."""
    a, z = bytes_of(f, "before"), bytes_of(f, "after")
    same(KIND[f["status"]], cells[0], "kind")
    want = [size(a)] if "before" in f else []
    want += [size(z)] if "after" in f else []
    have = cells[2:] if len(want) == len(cells) - 3 else cells[3:]
    same(want, have[:-1], "sizes of " + f["path"])


def tree_keys(b):
    """Every file of some kinds, found with the arrow keys alone."""
    b.click("#fold-all")
    b.js("document.getElementById('tree').focus()")
    assert not any("index" in r for r in rows(b)), "folded, and yet there"
    for want in ("/usr/bin/tool-3", "/etc/app.conf", "/usr/share/doc/app/copyright"):
        f = next(f for f in doc["files"] if f["path"] == want)
        b.press("Home")
        for _ in range(400):
            at, opened, cells = active(b)
            if at == want:
                break
            if want.startswith(at + "/") and opened == "false":
                b.press("Right")
                same("true", active(b)[1], "opened " + at)
            b.press("Down")
        same(want, at, "found")
        expect_row(f, cells)
    b.press("Home")
    at, opened, _ = active(b)
    if opened == "false":
        b.press("Right")
    b.press("Right")
    assert active(b)[0].startswith(at + "/"), "Right goes in"
    b.press("Left", "Left")
    same([at, "false"], active(b)[:2], "Left goes out, and folds")
    b.click("#open-all")
    label = next(label for path, _, label in all_rows(b) if path == "/usr/bin/tool-3")
    same("/usr/bin/tool-3, attributes only, A 5.0 kB, B 5.0 kB, mode 0644 → 4755", label, "what changed")


def tree_clicks(b):
    b.click("#fold-all")
    want = "/usr/share/doc/app/copyright"
    f = next(f for f in doc["files"] if f["path"] == want)
    for _ in range(10):
        found = b.js("""const want = arguments[0];
            for (const r of document.querySelectorAll('.row')) {
                const at = r.querySelector('.nm').title;
                if (at === want || (want.startsWith(at + '/') && r.getAttribute('aria-expanded') === 'false'))
                    return r.id;
            }""", want)
        b.click("#" + found)
        at, _, cells = active(b)
        if at == want:
            expect_row(f, cells)
            return
    raise AssertionError("not found by clicks")


def filters(b):
    total = len(told())
    b.type("#filter", "app")
    hits = [f["path"] for f in told() if "app" in f["path"]]
    assert 0 < len(hits) < total
    b.wait("document.getElementById('shown').textContent === arguments[0]", f"{len(hits)} of {total}")
    shown = {r.split(",")[0] for r in rows(b)}
    for p in hits:
        assert p in shown, f"{p} does not show"
    assert not any("tool-3" in r for r in shown), "what does not match shows"
    b.type("#filter", "no such path anywhere")
    b.wait("document.querySelector('#tree .empty') !== null")
    b.js("const f = document.getElementById('filter'); f.value = ''; f.dispatchEvent(new Event('input'))")
    b.wait("document.getElementById('shown').textContent === arguments[0]", str(total))
    b.click("#kinds button[data-kind=A]")
    left = sum(f["status"] != "added" for f in told())
    b.wait("document.getElementById('shown').textContent === arguments[0]", f"{left} of {total}")
    b.click("#open-all")
    same(sorted([f["path"], KIND[f["status"]]] for f in told() if f["status"] != "added"),
         sorted(r[:2] for r in all_rows(b) if r[1]), "what is left")
    b.click("#kinds button[data-kind=A]")
    b.js("const s = document.getElementById('sort'); s.value = 'delta'; s.dispatchEvent(new Event('change'))")
    b.click("#fold-all")
    tops = {}
    for f in told():
        top = f["path"].split("/")[1]
        tops[top] = tops.get(top, 0) + bytes_of(f, "after") - bytes_of(f, "before")
    have = b.js("return [...document.querySelectorAll('.row .nm')].map(n => n.title.split('/')[1])")
    same([abs(tops[t]) for t in sorted(tops, key=lambda t: -abs(tops[t]))], [abs(tops[t]) for t in have], "order")


def cells(b, side):
    return b.js("""const m = document.getElementById('map-' + arguments[0]).getBoundingClientRect();
        return [m.width, m.height, [...document.querySelectorAll('#map-' + arguments[0] + ' .cell')].map(c => {
            const r = c.getBoundingClientRect();
            return [r.left - m.left, r.top - m.top, r.width, r.height, Number(c.dataset.bytes)];
        })]""", side)


def look_at_maps(b, totals):
    """Areas are as the bytes are, on one scale, without gaps and overlaps. Returns square pixels of a byte."""
    scales = []
    for side, total in zip("ab", totals):
        w, h, all_cells = cells(b, side)
        if not total:
            same([], all_cells, "cells of nothing")
            continue
        assert 0 < len(all_cells) <= 1200, len(all_cells)
        same(total, sum(c[4] for c in all_cells), f"bytes in map {side}")
        scale = w * h / total
        scales.append(scale)
        for x, y, cw, ch, n in all_cells:
            # The browser rounds to 1/64 of a pixel.
            slack = (cw + ch + 1) / 32
            assert abs(cw * ch - n * scale) <= slack, f"{side}: {cw}x{ch} for {n} bytes, scale {scale}"
            assert x >= -0.1 and y >= -0.1 and x + cw <= w + 0.1 and y + ch <= h + 0.1, "outside the map"
        for i, p in enumerate(all_cells):
            for q in all_cells[:i]:
                assert (p[0] + p[2] <= q[0] + 0.1 or q[0] + q[2] <= p[0] + 0.1 or
                        p[1] + p[3] <= q[1] + 0.1 or q[1] + q[3] <= p[1] + 0.1), f"overlap: {p} {q}"
    if len(scales) == 2:
        assert abs(scales[0] / scales[1] - 1) < 0.01, f"scales differ: {scales}"
    return scales[0]


def maps(b):
    a, z = folders
    outer = look_at_maps(b, [sums(a)[0], sums(z)[0]])
    # Into usr/ by a click in A, out by a key in B, in again by keys.
    at = b.js("""for (const g of document.querySelectorAll('#map-a .group[role=option]'))
            if (g.getAttribute('aria-label').startsWith('/usr,')) {
                g.scrollIntoView();
                const r = g.getBoundingClientRect();
                return [r.left + r.width / 2, r.top + r.height / 2];
            }""")
    b.move_to(*at)
    tip = b.wait("!document.getElementById('tip').hidden && document.getElementById('tip').innerText")
    assert tip.startswith("/usr/"), tip
    b.click_at(*at)
    crumbs = "document.getElementById('crumbs').textContent"
    b.wait(crumbs + " === '/usr'")
    inner = look_at_maps(b, [sums(a + "/usr")[0], sums(z + "/usr")[0]])
    assert inner > outer, "the maps did not come nearer"
    b.js("document.getElementById('map-b').focus()")
    b.press("Escape")
    b.wait(crumbs + " === '/'")
    for _ in range(10):
        b.press("Right")
        chosen = b.js("const m = document.getElementById('map-b'); "
                      "return document.getElementById(m.getAttribute('aria-activedescendant')).ariaLabel")
        if chosen.startswith("/onlyb,"):
            break
    tip = b.wait("!document.getElementById('tip').hidden && document.getElementById('tip').innerText")
    assert tip.startswith("/onlyb\n") and "300.0 kB" in tip, tip
    b.press("Enter")
    b.wait(crumbs + " === '/onlyb'")
    look_at_maps(b, [0, 300000])
    same("Nothing here in A", b.js("return document.getElementById('map-a').textContent"), "what A has")
    b.click("#crumbs button")
    b.wait(crumbs + " === '/'")
    look_at_maps(b, [sums(a)[0], sums(z)[0]])


def hostile(b):
    b.click("#open-all")
    seen = [r[0] for r in all_rows(b)]
    for name in ("<img src=x onerror=window.broken=1>", "<script>window.broken=2<", '"a\\nb"', '"txt\\342\\200\\256gpj.exe"',
                 '"\\377\\376"', '"esc\\033[31m"', "&lt;amp;", "${window.broken=3}"):
        assert any(name in p for p in seen), f"{name} is not in the tree"
    same([None, 0, 2, 0], b.js("return [window.broken ?? null, document.images.length, document.scripts.length, "
                               "document.querySelectorAll('iframe, object, embed, base, form, svg, link').length]"),
         "what names made")
    text = b.js("return document.documentElement.outerHTML")
    for c in "\u202e\u2066\x1b\x00":
        assert c not in text, f"{c!r} is in the page"
    assert "'<b>bold</b>'" in b.js("return document.getElementById('config').innerText"), "a value is not as it is"


def large(b):
    n = len(told())
    assert n == 50000, n
    assert os.path.getsize(page) < 8 << 20, os.path.getsize(page)
    most = 6000
    same("50,000", b.js("return document.getElementById('shown').textContent"), "changes")

    def bounded(when):
        have = b.js("return document.getElementsByTagName('*').length")
        assert have < most, f"{have} elements {when}"

    bounded("at first")
    b.click("#open-all")
    bounded("all open")
    b.js("document.getElementById('tree').focus()")
    b.press("End")
    same("/d499/f98", active(b)[0], "the last")
    bounded("at the end")
    b.type("#filter", "d250/f7")
    b.wait("document.getElementById('shown').textContent === '10 of 50,000'")
    bounded("filtered")


def limit(b):
    shown = b.js("return document.getElementById('shown').textContent")
    same("100,000 of 100,500; the smallest 500 are not in this page", shown, "what is told")
    same(100500, number(b, "#n-added"), "added")
    b.type("#filter", "/f00001")
    b.wait("document.querySelector('#tree .empty') !== null")


def narrow(b):
    same([400, 400], b.js("return [innerWidth, document.documentElement.scrollWidth]"), "width")
    a, z = folders
    look_at_maps(b, [sums(a)[0], sums(z)[0]])


def plain(b):
    """Without scripts."""
    text = b.ask_text("body")
    assert "paths and" in text and "Configuration" in text, text[:300]
    assert "/usr/bin/tool-3" in text and "/etc/app.conf" in text, text[:300]
    assert "Filter by path" not in text and "Where the bytes are" not in text, "parts that do nothing show"


def nothing(b):
    same(["false", "Nothing differs."], b.js(
        "const v = document.getElementById('verdict'); return [v.dataset.differ, v.textContent.slice(0, 16)]"), "verdict")
    same("No file differs.", b.js("return document.querySelector('#tree').innerText.trim()"), "tree")


def control(b):
    """Would it be seen if a page did what it must not?"""
    assert any("x" in m for m in b.console()), "errors are not seen"
    assert any(u.endswith("there-is-none.png") for u in b.requests()), "requests are not seen"


with Browser(width=400 if check == "narrow" else 1300, phone=check == "narrow", scripts=check != "plain") as b:
    b.open(page)
    globals()[check](b)
    if check != "control":
        b.quiet()
