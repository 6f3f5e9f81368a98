// The tree of changes and the two maps of `bld diff --html`. The data's form is in cli/diff_html_tree.c.
// Whatever comes from an image reaches the page as text only.
(() => {
'use strict';

const $ = id => document.getElementById(id);
const block = $('data');
if (!block)
	return;
const data = JSON.parse(block.textContent);
const WORDS = { A: 'added', D: 'deleted', M: 'modified', T: 'of another type', m: 'attributes only' };
const TYPES = { f: 'file', d: 'folder', l: 'symlink', c: 'character device', b: 'block device', p: 'fifo' };
const CELLS = 1200; // of one map
const LEAST = 9;    // square pixels of a cell

function make(tag, cls, text) {
	const e = document.createElement(tag);
	if (cls)
		e.className = cls;
	if (text !== undefined)
		e.textContent = text;
	return e;
}

// As bld prints them: one decimal, halves to even.
function size(n) {
	const units = ['B', 'kB', 'MB', 'GB', 'TB', 'PB', 'EB'];
	let u = 0;
	while (n >= 999.95 && u + 1 < units.length) {
		n /= 1000;
		u++;
	}
	if (!u)
		return n + ' B';
	return (n % 1 === 0.25 ? Math.floor(n) + '.2' : n.toFixed(1)) + ' ' + units[u];
}
const signed = n => (n > 0 ? '+' : n < 0 ? '−' : '±') + size(Math.abs(n));
const count = n => String(n).replace(/\B(?=(\d{3})+$)/g, ',');

// ---- the tree ----

const root = { name: '', up: null, kids: [], kind: '', a: 0, b: 0, sum: [0, 0], was: 0, is: 0, n: 0, hidden: 0, mix: [0, 0], top: ['', ''], most: [0, 0] };
const nodes = [root];
const lines = [root]; // by depth, the last
for (const r of data.rows) {
	const rest = r[1] === null, a = r[4], b = r[5];
	const up = lines[r[0] - 1];
	const node = {
		name: r[1], up, kids: [], kind: rest ? '' : r[2].slice(0, 1), unsure: !rest && r[2].length > 1,
		types: rest ? '' : r[3], a, b, sum: [a, b], was: 0, is: 0, n: 0,
		files: rest ? r[2] : 0, hidden: rest ? r[3] : 0, mix: [0, 0], top: ['', ''], most: [0, 0],
		mode: r[6], layer: r[7], details: r[8] || [], rest, open: false, shut: false, hits: 0, key: null,
	};
	if (node.kind) {
		node.n = 1;
		node.was = a;
		node.is = b;
		node.mix = [a, b];
		node.most = [a, b];
		node.top = [node.kind, node.kind];
	}
	up.kids.push(node);
	lines.length = r[0];
	lines.push(node);
	nodes.push(node);
}
// Of what is on a side: the bytes that changed, and the kind of the largest change.
function blend(up, n, side) {
	up.mix[side] += n.mix[side];
	if (n.most[side] > up.most[side]) {
		up.top[side] = n.top[side];
		up.most[side] = n.most[side];
	}
}
for (let i = nodes.length - 1; i > 0; i--) {
	const n = nodes[i], up = n.up;
	up.sum[0] += n.sum[0];
	up.sum[1] += n.sum[1];
	up.was += n.was;
	up.is += n.is;
	up.n += n.n;
	up.hidden += n.hidden;
	for (const side of [0, 1])
		blend(up, n, side);
}

function path(n) {
	const parts = [];
	for (let x = n; x.up; x = x.up)
		parts.unshift(x.rest ? '' : x.name);
	return '/' + parts.join('/');
}
const isFolder = n => n.kids.length > 0 || (n.types || '').includes('d') || !n.up;

function detail(n) {
	if (n.rest)
		return '';
	const t = [], [was, is] = n.types;
	if (n.kind === 'T')
		t.push(TYPES[was] + ' → ' + TYPES[is]);
	for (const [what, x, y] of n.details) {
		if (what === 'link')
			t.push(x && y ? 'to ' + x + ' → ' + y : 'to ' + (x || y));
		else if (what === 'device')
			t.push(x && y ? x + ' → ' + y : x || y);
		else if (what === 'was' || what === 'now')
			t.push(what + ' /' + y);
		else if (what === 'hard link of')
			t.push('hard link of /' + y);
		else
			t.push(x ? what + ' ' + x + ' → ' + y : what);
	}
	if (n.unsure)
		t.push('unsure');
	return t.join(', ');
}

// ---- the list of changes ----

const tree = $('tree'), pad = $('pad'), shown = $('shown');
const narrow = matchMedia('(max-width: 760px)');
const on = new Set('ADMTm');
let query = '', order = 'name', rows = [], active = 0, hits = 0;
const rowHeight = () => narrow.matches ? 44 : 28;
const filtering = () => query !== '';
const isOpen = n => filtering() ? !n.shut : n.open;

function match() {
	const q = query.toLowerCase(), all = on.size === 5 && !q;
	hits = 0;
	for (const n of nodes) {
		if (q && n.key === null)
			n.key = n.up ? (n.up.key === '/' ? '' : n.up.key) + '/' + (n.name || '').toLowerCase() : '/';
		n.hits = n.kind && on.has(n.kind) && (!q || n.key.includes(q)) ? 1 : 0;
		hits += n.hits;
		if (n.rest && n.hidden && all)
			n.hits = 1;
		n.list = null;
	}
	for (let i = nodes.length - 1; i > 0; i--)
		nodes[i].up.hits += nodes[i].hits;
	const text = hits === data.changes ? count(hits) : count(hits) + ' of ' + count(data.changes);
	const hidden = root.hidden ? '; the smallest ' + count(root.hidden) + ' are not in this page' : '';
	shown.textContent = text + hidden;
}

function kids(n) {
	if (!n.list) {
		n.list = n.kids.filter(k => k.hits > 0);
		if (order === 'delta')
			n.list.sort((x, y) => Math.abs(y.is - y.was) - Math.abs(x.is - x.was));
		else if (order === 'size')
			n.list.sort((x, y) => Math.max(y.is, y.was) - Math.max(x.is, x.was));
	}
	return n.list;
}

// Folders with nothing but one thing in them are one row with it.
function row(n, depth, at, of) {
	let label = n.rest ? count(n.hidden) + ' smaller changes' : n.name;
	for (let k = kids(n); !n.kind && k.length === 1 && !k[0].rest; k = kids(n)) {
		n = k[0];
		label += '/' + n.name;
	}
	return { n, label, depth, at, of };
}

function flatten() {
	const keep = rows[active] && rows[active].n;
	const todo = [];
	const push = (n, depth) => {
		const k = kids(n);
		for (let i = k.length - 1; i >= 0; i--)
			todo.push([k[i], depth, i + 1, k.length]);
	};
	rows = [];
	push(root, 1);
	while (todo.length) {
		const r = row(...todo.pop());
		rows.push(r);
		if (kids(r.n).length && isOpen(r.n))
			push(r.n, r.depth + 1);
	}
	active = Math.max(0, keep ? rows.findIndex(r => r.n === keep) : 0);
	drawn = null;
	draw();
}

function describe(r) {
	const n = r.n, parts = [path(n)];
	if (n.kind)
		parts.push(WORDS[n.kind]);
	if (kids(n).length)
		parts.push(count(n.n) + (n.n === 1 ? ' change' : ' changes'));
	parts.push('A ' + size(n.was), 'B ' + size(n.is));
	const d = detail(n);
	if (d)
		parts.push(d);
	return parts.join(', ');
}

function rowElement(r, i) {
	const n = r.n, folder = kids(n).length > 0, e = make('div', 'row');
	e.id = 'row-' + i;
	e.setAttribute('role', 'treeitem');
	e.setAttribute('aria-level', r.depth);
	e.setAttribute('aria-posinset', r.at);
	e.setAttribute('aria-setsize', r.of);
	e.setAttribute('aria-selected', i === active);
	e.setAttribute('aria-label', describe(r));
	if (folder)
		e.setAttribute('aria-expanded', isOpen(n));
	e.style.top = i * rowHeight() + 'px';
	const what = make('span', 'what');
	what.style.paddingLeft = Math.min(r.depth - 1, narrow.matches ? 8 : 24) * (narrow.matches ? 10 : 18) + 'px';
	what.append(make('span', 'tw', folder ? '▶' : ''));
	if (n.kind)
		what.append(make('b', 'k k' + n.kind, n.kind));
	const name = make('span', n.kind === 'D' ? 'nm gone' : 'nm');
	name.append(make('bdi', '', r.label + (isFolder(n) && !n.rest ? '/' : '')));
	name.title = path(n);
	what.append(name);
	let text = detail(n);
	if (folder)
		text = (text ? text + ', ' : '') + count(n.n - (n.kind ? 1 : 0)) + (n.n - (n.kind ? 1 : 0) === 1 ? ' change' : ' changes');
	const sized = folder || (n.types || '').includes('f');
	if (narrow.matches && sized && !folder)
		text = (n.was === n.is ? size(n.is) : (n.was ? size(n.was) : '') + ' → ' + (n.is ? size(n.is) : '')) + (text ? ', ' : '') + text;
	what.append(make('span', 'dt', text));
	e.append(what);
	e.append(make('span', 'n a', sized && (n.was || n.types[0] === 'f') ? size(n.was) : ''));
	e.append(make('span', 'n b', sized && (n.is || n.types[1] === 'f') ? size(n.is) : ''));
	const delta = n.is - n.was;
	e.append(make('span', delta ? 'n d' : 'n d zero', sized ? delta ? signed(delta) : '0 B' : ''));
	return e;
}

let drawn = null;
function draw() {
	const h = rowHeight(), top = tree.scrollTop, view = tree.clientHeight || 600;
	pad.style.height = rows.length * h + 'px';
	const first = Math.max(0, Math.floor(top / h) - 8);
	const last = Math.min(rows.length, Math.ceil((top + Math.max(view, 200)) / h) + 8);
	if (drawn && drawn[0] === first && drawn[1] === last)
		return;
	drawn = [first, last];
	const f = document.createDocumentFragment();
	for (let i = first; i < last; i++)
		f.append(rowElement(rows[i], i));
	if (!rows.length)
		f.append(make('div', 'empty', data.changes ? 'Nothing matches.' : 'No file differs.'));
	pad.replaceChildren(f);
	if (!rows.length)
		pad.style.height = 'auto';
	if (rows.length)
		tree.setAttribute('aria-activedescendant', 'row-' + active);
	else
		tree.removeAttribute('aria-activedescendant');
}

function activate(i, quiet) {
	if (!rows.length)
		return;
	active = Math.max(0, Math.min(rows.length - 1, i));
	const h = rowHeight(), y = active * h;
	if (y < tree.scrollTop)
		tree.scrollTop = y;
	else if (y + h > tree.scrollTop + tree.clientHeight)
		tree.scrollTop = y + h - tree.clientHeight;
	drawn = null;
	draw();
	if (!quiet)
		mark(rows[active].n);
}

function fold(n, open) {
	if (filtering())
		n.shut = !open;
	else
		n.open = open;
	flatten();
}

function foldAll(open) {
	for (const n of nodes)
		if (filtering())
			n.shut = !open;
		else
			n.open = open;
	flatten();
	activate(0, true);
}

// Open, level by level, what fits into some screens.
function openSome() {
	let level = [root], budget = 60;
	while (level.length && budget > 0) {
		const next = [];
		for (const n of level)
			for (const k of kids(n)) {
				const r = row(k, 0, 0, 0);
				if (!kids(r.n).length)
					continue;
				budget -= kids(r.n).length;
				if (budget < 0)
					return;
				r.n.open = true;
				next.push(r.n);
			}
		level = next;
	}
}

function reveal(n) {
	if (filtering() || !on.has(n.kind)) {
		$('filter').value = query = '';
		'ADMTm'.split('').forEach(k => on.add(k));
		showKinds();
		match();
	}
	for (let x = n.up; x; x = x.up)
		x.open = true;
	flatten();
	const i = rows.findIndex(r => r.n === n);
	if (i >= 0)
		activate(i, true);
}

tree.addEventListener('keydown', e => {
	const r = rows[active];
	if (!r || e.ctrlKey || e.metaKey || e.altKey)
		return;
	const page = Math.max(1, Math.floor(tree.clientHeight / rowHeight()) - 1);
	const folder = kids(r.n).length > 0;
	switch (e.key) {
	case 'ArrowDown': activate(active + 1); break;
	case 'ArrowUp': activate(active - 1); break;
	case 'PageDown': activate(active + page); break;
	case 'PageUp': activate(active - page); break;
	case 'Home': activate(0); break;
	case 'End': activate(rows.length - 1); break;
	case 'ArrowRight':
		if (folder && !isOpen(r.n))
			fold(r.n, true);
		else if (folder)
			activate(active + 1);
		break;
	case 'ArrowLeft':
		if (folder && isOpen(r.n))
			fold(r.n, false);
		else
			for (let i = active - 1; i >= 0; i--)
				if (rows[i].depth < r.depth) {
					activate(i);
					break;
				}
		break;
	case 'Enter':
	case ' ':
		if (folder)
			fold(r.n, !isOpen(r.n));
		break;
	default: return;
	}
	e.preventDefault();
});
pad.addEventListener('click', e => {
	const el = e.target.closest('.row');
	if (!el)
		return;
	const i = Number(el.id.slice(4)), n = rows[i].n;
	activate(i);
	if (kids(n).length)
		fold(n, !isOpen(n));
});
tree.addEventListener('scroll', () => requestAnimationFrame(draw), { passive: true });
narrow.addEventListener('change', flatten);

function showKinds() {
	for (const b of $('kinds').children)
		b.setAttribute('aria-pressed', on.has(b.dataset.kind));
}

function setUpTools() {
	const n = { A: 0, D: 0, M: 0, T: 0, m: 0 };
	for (const x of nodes)
		if (x.kind)
			n[x.kind]++;
	for (const k of 'ADMTm') {
		if (!n[k])
			continue;
		const b = make('button');
		b.type = 'button';
		b.dataset.kind = k;
		b.title = WORDS[k];
		b.setAttribute('aria-label', WORDS[k] + ', ' + n[k]);
		b.append(make('b', 'k k' + k, k), count(n[k]));
		b.addEventListener('click', () => {
			if (!on.delete(k))
				on.add(k);
			showKinds();
			match();
			flatten();
		});
		$('kinds').append(b);
	}
	showKinds();
	let timer = 0;
	$('filter').addEventListener('input', e => {
		clearTimeout(timer);
		timer = setTimeout(() => {
			query = e.target.value.trim();
			for (const x of nodes)
				x.shut = false;
			match();
			tree.scrollTop = 0;
			flatten();
		}, data.rows.length > 5000 ? 120 : 0);
	});
	$('sort').addEventListener('change', e => {
		order = e.target.value;
		match();
		flatten();
	});
	$('open-all').addEventListener('click', () => foldAll(true));
	$('fold-all').addEventListener('click', () => foldAll(false));
}

// ---- the maps ----

const maps = [$('map-a'), $('map-b')];
const totals = [$('total-a'), $('total-b')];
const crumbs = $('crumbs');
const tip = $('tip');
let here = root;                       // the folder both maps show
let places = [new Map(), new Map()];   // node -> cell
let groups = [[], []];                 // what is directly in it
let chosen = -1;

// Squarified (Bruls, Huizing, van Wijk): rows along the shorter side, each as long as that makes its
// rectangles squarer. Areas are exact.
function squarify(items, x, y, w, h, place) {
	let total = 0;
	for (const i of items)
		total += i.v;
	for (let from = 0; from < items.length && total > 0;) {
		const side = Math.min(w, h), scale = w * h / total;
		let sum = 0, least = Infinity, most = 0, worst = Infinity, to = from;
		while (to < items.length) {
			const v = items[to].v, s = sum + v, lo = Math.min(least, v), hi = Math.max(most, v);
			const thick = s * scale / side;
			const bad = Math.max(hi * scale / (thick * thick), thick * thick / (lo * scale));
			if (bad > worst)
				break;
			sum = s; least = lo; most = hi; worst = bad;
			to++;
		}
		const thick = sum * scale / side;
		for (let at = 0; from < to; from++) {
			const len = items[from].v * scale / thick;
			if (w >= h)
				place(items[from], x, y + at, thick, len);
			else
				place(items[from], x + at, y, len, thick);
			at += len;
		}
		if (w >= h) { x += thick; w -= thick; } else { y += thick; h -= thick; }
		total -= sum;
	}
}

// What of a folder gets a rectangle of its own; the rest is one.
function items(n, side, area) {
	const total = n.sum[side], all = [];
	let rest = null;
	const sorted = n.kids.filter(k => k.sum[side] > 0);
	sorted.sort((x, y) => Math.max(y.sum[0], y.sum[1]) - Math.max(x.sum[0], x.sum[1]));
	for (const k of sorted)
		if (k.sum[side] / total * area >= LEAST && all.length < CELLS / 2) {
			all.push({ v: k.sum[side], node: k });
		} else {
			rest = rest || { v: 0, node: { name: null, rest: true, up: n, kids: [], kind: '', types: '', details: [], sum: [0, 0], files: 0, hidden: 0, few: 0, mix: [0, 0], top: ['', ''], most: [0, 0] } };
			rest.v += k.sum[side];
			rest.node.sum[side] += k.sum[side];
			rest.node.few++;
			blend(rest.node, k, side);
		}
	if (rest)
		all.push(rest);
	return all;
}

function layout(side, w, h) {
	const done = [], open = [{ node: here, x: 0, y: 0, w, h, depth: 0 }], direct = [], named = [];
	while (open.length) {
		// The largest first, so that the number of cells goes where it can be seen.
		let best = 0;
		for (let i = 1; i < open.length; i++)
			if (open[i].w * open[i].h > open[best].w * open[best].h)
				best = i;
		const c = open[best];
		open[best] = open[open.length - 1];
		open.pop();
		const parts = items(c.node, side, c.w * c.h);
		if (!parts.length || done.length + open.length + parts.length > CELLS) {
			done.push(c);
			continue;
		}
		if (c.depth > 1 && c.depth < 5 && c.w > 90 && c.h > 60)
			named.push(c);
		squarify(parts, c.x, c.y, c.w, c.h, (i, x, y, pw, ph) => {
			const part = { node: i.node, x, y, w: pw, h: ph, depth: c.depth + 1, v: i.v };
			if (part.depth === 1)
				direct.push(part);
			if (i.node.kids.some(k => k.sum[side] > 0) && pw * ph > 260 && pw > 8 && ph > 8)
				open.push(part);
			else
				done.push(part);
		});
	}
	return [done, direct, named];
}

function colour(n, side) {
	if (!n.mix[side])
		return 'cu';
	return n.mix[side] * 2 >= n.sum[side] ? 'c' + n.top[side] : 'cs';
}

function put(e, c) {
	e.style.left = c.x + 'px';
	e.style.top = c.y + 'px';
	e.style.width = c.w + 'px';
	e.style.height = c.h + 'px';
}

// A folder's name, with those of the folders that begin in the same corner.
function label(e, c, named) {
	let text = c.node.rest ? title(c.node) : c.node.name + (isFolder(c.node) ? '/' : '');
	for (let at = c, i = 0; i >= 0; at = named[i]) {
		i = named.findIndex(o => o.node.up === at.node && o.x === at.x && o.y === at.y);
		if (i < 0)
			break;
		text += named[i].node.name + '/';
		named[i].told = true;
	}
	if (!c.told)
		e.append(make('span', '', text));
}

function drawMap(side, width, most) {
	const map = maps[side], total = here.sum[side];
	const f = document.createDocumentFragment();
	const height = Math.max(170, Math.min(460, Math.round(width * .74)));
	const k = most ? Math.sqrt(total / most) : 0, w = width * k, h = height * k;
	places[side] = new Map();
	groups[side] = [];
	totals[side].textContent = total ? size(total) : '';
	map.classList.toggle('none', !total);
	map.style.width = (total ? w : width) + 'px';
	map.style.height = (total ? h : Math.min(height, 120)) + 'px';
	map.parentNode.style.minHeight = total ? height + 'px' : '';
	map.removeAttribute('aria-activedescendant');
	if (!total) {
		map.replaceChildren(here === root ? 'Nothing' : 'Nothing here in ' + 'AB'[side]);
		return;
	}
	const [cells, direct, named] = layout(side, w, h);
	for (const c of cells) {
		const e = make('div', 'cell ' + colour(c.node, side));
		put(e, c);
		e.node = c.node;
		e.dataset.bytes = c.v;
		e.setAttribute('role', 'presentation');
		if (c.depth > 1 && c.w > 74 && c.h > 44 && !c.node.rest)
			e.append(make('span', '', c.node.name));
		places[side].set(c.node, e);
		f.append(e);
	}
	for (const c of direct) {
		const e = make('div', 'group');
		put(e, c);
		e.id = 'group-' + side + '-' + groups[side].length;
		e.setAttribute('role', 'option');
		e.setAttribute('aria-selected', 'false');
		e.setAttribute('aria-label', title(c.node) + ', ' + size(c.v));
		e.node = c.node;
		if (c.w > 46 && c.h > 24)
			label(e, c, named);
		groups[side].push(e);
		f.append(e);
	}
	for (const c of named) {
		const e = make('div', 'group sub');
		put(e, c);
		label(e, c, named);
		f.append(e);
	}
	map.replaceChildren(f);
}

const title = n => n.rest ? (n.few ? count(n.few) + ' smaller' : count(n.files) + (n.files === 1 ? ' file' : ' files')) : path(n);

function drawMaps() {
	const most = Math.max(here.sum[0], here.sum[1]);
	chosen = -1;
	hide();
	for (const side of [0, 1])
		drawMap(side, maps[side].parentNode.clientWidth, most);
	const parts = [];
	for (let x = here; x; x = x.up)
		parts.unshift(x);
	crumbs.replaceChildren();
	for (const x of parts) {
		const b = make('button', '', x.up ? x.name : '/');
		b.type = 'button';
		if (x === here)
			b.setAttribute('aria-current', 'location');
		else
			b.addEventListener('click', () => zoom(x));
		if (x.up && x.up.up)
			crumbs.append(make('span', '', '/'));
		crumbs.append(b);
	}
}

function zoom(n) {
	if (n !== here) {
		here = n;
		drawMaps();
	}
}

// The folder directly in the one that is shown on the way to n.
function toward(n) {
	while (n.up && n.up !== here)
		n = n.up;
	return n;
}

// The cell that shows n, or what it is in.
function cellOf(side, n) {
	for (let x = n; x && x !== here; x = x.up)
		if (places[side].has(x))
			return places[side].get(x);
	return null;
}

let hot = [];
function unmark() {
	for (const e of hot)
		e.classList.remove('hot', 'on');
	hot = [];
}
function mark(n) {
	unmark();
	for (const side of [0, 1]) {
		const e = cellOf(side, n) || groups[side].find(g => g.node === n);
		if (e) {
			e.classList.add(e.classList.contains('cell') ? 'hot' : 'on');
			hot.push(e);
		}
	}
}

function tell(n, x, y) {
	const lines = [make('div', 'p', n.rest ? path(n.up) : path(n))];
	if (n.rest)
		lines.push(make('div', '', n.few ? count(n.few) + ' things too small to be drawn' : title(n) + (n.hidden ? ', ' + count(n.hidden) + ' of them changed' : ' unchanged')));
	const [a, b] = n.sum;
	const d = detail(n);
	if (n.kind)
		lines.push(make('div', '', WORDS[n.kind] + (d ? ': ' + d : '')));
	else if (!n.rest)
		lines.push(make('div', '', n.n ? count(n.n) + (n.n === 1 ? ' change inside' : ' changes inside') : 'unchanged'));
	if (!n.few)
		lines.push(make('div', '', a === b ? size(a) : (a ? size(a) : 'not in A') + ' → ' + (b ? size(b) : 'not in B')));
	else
		lines.push(make('div', '', size(a || b)));
	if (n.layer !== undefined) {
		const by = (n.kind === 'D' ? data.a : data.b).layers[n.layer];
		lines.push(make('div', 'by', 'layer ' + n.layer + (by ? ': ' + by : '')));
	}
	tip.replaceChildren(...lines);
	tip.hidden = false;
	tip.style.left = tip.style.top = '0';
	const r = tip.getBoundingClientRect();
	tip.style.left = Math.max(8, Math.min(x + 14, innerWidth - r.width - 8)) + 'px';
	tip.style.top = (y + 18 + r.height > innerHeight ? Math.max(8, y - r.height - 12) : y + 18) + 'px';
}
function hide() {
	tip.hidden = true;
	unmark();
}

function choose(side, i) {
	const list = groups[side];
	if (!list.length)
		return;
	chosen = (i + list.length) % list.length;
	const e = list[chosen], r = e.getBoundingClientRect();
	unmark();
	for (const l of groups) {
		const g = l.find(x => x.node === e.node);
		if (g) {
			g.classList.add('on');
			hot.push(g);
		}
	}
	for (const g of list)
		g.setAttribute('aria-selected', g === e);
	maps[side].setAttribute('aria-activedescendant', e.id);
	tell(e.node, r.left, r.top + Math.min(r.height, 24));
}

function enter(n) {
	const to = toward(n);
	if (!to.rest && to.kids.length)
		zoom(to);
	else if (to.kind)
		reveal(to);
}

maps.forEach((map, side) => {
	map.addEventListener('pointermove', e => {
		const c = e.target.closest('.cell');
		if (!c || e.pointerType === 'touch')
			return;
		mark(c.node);
		tell(c.node, e.clientX, e.clientY);
	});
	map.addEventListener('pointerleave', hide);
	map.addEventListener('click', e => {
		const c = e.target.closest('.cell');
		if (c)
			enter(c.node);
	});
	map.addEventListener('keydown', e => {
		switch (e.key) {
		case 'ArrowRight':
		case 'ArrowDown': choose(side, chosen + 1); break;
		case 'ArrowLeft':
		case 'ArrowUp': choose(side, chosen < 0 ? -1 : chosen - 1); break;
		case 'Home': choose(side, 0); break;
		case 'End': choose(side, -1); break;
		case 'Enter':
		case ' ':
			if (chosen >= 0)
				enter(groups[side][chosen].node);
			break;
		case 'Backspace':
		case 'Escape':
			if (here.up)
				zoom(here.up);
			break;
		default: return;
		}
		e.preventDefault();
	});
	map.addEventListener('blur', hide);
});

document.documentElement.classList.add('js');
match();
openSome();
setUpTools();
flatten();
let width = 0;
new ResizeObserver(() => {
	const w = document.documentElement.clientWidth;
	if (w === width)
		return;
	width = w;
	drawMaps();
	drawn = null;
	draw();
}).observe(document.documentElement);
})();
