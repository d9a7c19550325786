// The dashboard. What comes from caches and their users reaches the document as text, by `textContent`, and by nothing else.
'use strict';
(() => {
  const $ = (id) => document.getElementById(id);
  const root = document.documentElement;
  const base = location.pathname.replace(/\/+$/, '');
  const TOKEN = 'cache-admin-token', THEME = 'cache-admin-theme';
  const KEPT = 300;          // seconds that the charts show
  const WINDOW = 60;         // seconds that ratios and quantiles are of
  const RATE = 5;            // seconds that rates are of
  const HEIGHT = 190;        // of a chart

  let token = sessionStorage.getItem(TOKEN) || '';
  let session = null;        // who, scopes, caches
  let current = '';          // the cache that is shown
  let history = [];          // of that cache: { at, series }, one a second
  let last = null;           // the last event, whole
  let reading = null;        // what ends the stream

  // ── numbers ────────────────────────────────────────────────────────────────────────────────────────────

  const grouped = new Intl.NumberFormat('en-US', { maximumFractionDigits: 0 });
  const count = (n) => grouped.format(n);
  const rate = (n) => (n >= 100 ? count(n) : n >= 10 ? n.toFixed(1) : n > 0 ? n.toFixed(2) : '0');
  const percent = (share) => `${(100 * share).toFixed(share > 0 && share < 0.9995 ? 1 : 0)} %`;
  const bytes = (n) => {
    const units = ['B', 'KiB', 'MiB', 'GiB', 'TiB'];
    let unit = 0;
    for (; n >= 1024 && unit < units.length - 1; unit += 1) n /= 1024;
    return `${unit && n < 100 ? n.toFixed(1) : count(n)} ${units[unit]}`;
  };
  const time = (seconds) => {
    if (seconds === null || seconds === undefined || !isFinite(seconds)) return '–';
    if (seconds < 1e-3) return `${(seconds * 1e6).toFixed(0)} µs`;
    if (seconds < 1) return `${(seconds * 1e3).toFixed(seconds < 0.1 ? 1 : 0)} ms`;
    return seconds < 120 ? `${seconds.toFixed(seconds < 10 ? 1 : 0)} s` : `${count(seconds / 60)} min`;
  };

  /** The value of a metric: of one series if labels are given, else of all its series together. */
  const value = (series, metric) => {
    if (metric.includes('{') || metric in series) return series[metric] ?? 0;
    return Object.entries(series).reduce((sum, [name, v]) => (name.startsWith(`${metric}{`) ? sum + v : sum), 0);
  };

  /** How much a metric grew per second within the last `seconds`; null if nothing is known. */
  const growth = (metric, seconds, end = history.length - 1) => {
    const start = Math.max(0, end - seconds);
    if (end <= start) return null;
    const [from, to] = [history[start], history[end]];
    return Math.max(0, value(to.series, metric) - value(from.series, metric)) / ((to.at - from.at) || 1);
  };

  const ratio = (seconds, end = history.length - 1) => {
    const hits = growth('cache_hits_total', seconds, end), misses = growth('cache_misses_total', seconds, end);
    return hits === null || hits + misses === 0 ? null : hits / (hits + misses);
  };

  /** A quantile of what happened within the last `seconds`, as Prometheus' histogram_quantile has it. */
  const quantile = (metric, share, seconds, end = history.length - 1) => {
    const to = history[end]?.series[metric], from = history[Math.max(0, end - seconds)]?.series[metric];
    if (!to || !from) return null;
    const all = to.count - from.count;
    if (all <= 0) return null;
    const rank = share * all;
    let below = 0, lower = 0;
    for (let i = 0; i < to.buckets.length; i += 1) {
      const [bound, upto] = to.buckets[i];
      const here = upto - from.buckets[i][1];
      if (here >= rank) return lower + (bound - lower) * ((rank - below) / ((here - below) || 1));
      [below, lower] = [here, bound];
    }
    return lower;
  };

  // ── the document ───────────────────────────────────────────────────────────────────────────────────────

  const element = (name, text, kind) => {
    const made = document.createElement(name);
    if (text !== undefined) made.textContent = text;
    if (kind) made.className = kind;
    return made;
  };
  /** Writes a figure, with the number behind it for whoever compares. */
  const number = (id, n, show) => {
    $(id).dataset.value = n ?? '';
    write($(id), n === null || n === undefined ? '–' : show(n));
  };
  const write = (target, text) => { if (target.textContent !== text) target.textContent = text; };
  const say = (target, text, kind = '') => {
    target.className = `message ${kind}`;
    target.textContent = text;
    target.hidden = false;
  };
  const may = (scope) => Boolean(session && session.scopes.includes(scope));

  // ── asking ─────────────────────────────────────────────────────────────────────────────────────────────

  const ask = async (path, body, signal) => {
    const headers = { authorization: `Bearer ${token}` };
    const options = { headers, signal, cache: 'no-store', credentials: 'omit', redirect: 'error', referrerPolicy: 'no-referrer' };
    if (body !== undefined) {
      headers['content-type'] = 'application/json';
      headers['x-cache-admin'] = '1';
      Object.assign(options, { method: 'POST', body: JSON.stringify(body) });
    }
    const response = await fetch(base + path, options);
    if (response.ok) return response;
    const problem = await response.json().catch(() => ({}));
    const wait = response.headers.get('retry-after');
    const detail = problem.detail || `the server answered ${response.status}`;
    throw Object.assign(new Error(wait ? `${detail}; wait ${wait} s` : detail), { status: response.status });
  };
  const ofCache = (path) => `/caches/${encodeURIComponent(current)}${path}`;

  // ── signing in and out ─────────────────────────────────────────────────────────────────────────────────

  const showSignIn = (why) => {
    stop();
    session = null;
    $('app').hidden = true;
    $('sign-in').hidden = false;
    $('sign-in-error').hidden = !why;
    if (why) say($('sign-in-error'), why, 'bad');
    $('token').value = '';
    $('token').focus();
  };

  const signIn = async () => {
    try {
      session = await (await ask('/session')).json();
    } catch (error) {
      if (error.status === 401) { token = ''; sessionStorage.removeItem(TOKEN); }
      showSignIn(error.status === 401 ? 'This token is not accepted.' : `Not signed in: ${error.message}.`);
      return;
    }
    sessionStorage.setItem(TOKEN, token);
    $('sign-in').hidden = true;
    $('app').hidden = false;
    write($('who'), `${session.who}: ${session.scopes.join(', ') || 'no scopes'}`);
    $('cache').replaceChildren(...session.caches.map((name) => element('option', name)));
    permit();
    choose(session.caches[0] || '');
    if (may('read')) follow(); else stop();
  };

  const permit = () => {
    $('readings').hidden = !may('read');
    $('no-read').hidden = may('read');
    $('stream').hidden = !may('read');
    $('all').hidden = !may('read');
    for (const [form, scope] of [['invalidate', 'write'], ['lookup', 'read'], ['clear', 'clear']]) {
      const fields = $(form).querySelectorAll('input, select, button');
      fields.forEach((field) => { field.disabled = !may(scope); });
      say($(form).querySelector('.message'), may(scope) ? '' : `This token has not the scope ${scope}.`);
    }
    $('with-value').disabled = !may('value');
    $('clear').querySelector('button').disabled = true;
  };

  const choose = (name) => {
    current = name;
    history = [];
    $('confirm-name').textContent = name;
    $('confirm').value = '';
    $('findings').replaceChildren();
    $('found').replaceChildren();
    if (last) take(last);
  };

  // ── the stream ─────────────────────────────────────────────────────────────────────────────────────────

  const stop = () => { if (reading) reading.abort(); reading = null; };

  const follow = async () => {
    stop();
    const own = reading = new AbortController();
    for (let pause = 1; reading === own; pause = Math.min(pause * 2, 10)) {
      try {
        const response = await ask('/events', undefined, own.signal);
        state('Live', 'good');
        pause = 1;
        await events(response.body, (event) => { last = event; take(event); });
      } catch (error) {
        if (reading !== own) return;
        if (error.status === 401) { token = ''; sessionStorage.removeItem(TOKEN); showSignIn('This token is no longer accepted.'); return; }
      }
      if (reading !== own) return;
      state('Reconnecting', 'bad');
      await new Promise((done) => setTimeout(done, pause * 1000));
    }
  };

  const events = async (body, each) => {
    const reader = body.pipeThrough(new TextDecoderStream()).getReader();
    let rest = '';
    for (;;) {
      const { value: chunk, done } = await reader.read();
      if (done) return;
      const parts = (rest + chunk).split('\n\n');
      rest = parts.pop();
      for (const part of parts) if (part.startsWith('data: ')) each(JSON.parse(part.slice(6)));
    }
  };

  const state = (text, kind) => {
    const pill = $('stream');
    pill.className = `pill ${kind}`;
    write(pill, text);
    $('readings').classList.toggle('old', kind !== 'good');
  };

  // ── a reading ──────────────────────────────────────────────────────────────────────────────────────────

  const take = (event) => {
    warmers(event.warmers);
    const cache = event.caches.find((cache) => cache.name === current);
    if (!cache) return;
    history.push({ at: performance.timeOrigin / 1000 + performance.now() / 1000, series: cache.series });
    if (history.length > KEPT + WINDOW) history.shift();
    figures(cache);
    health(cache);
    list('prefixes', cache.traffic.prefixes);
    list('tags', cache.traffic.tags);
    draw();
    if ($('all').open) table(cache.series);
    root.dataset.readings = String(Number(root.dataset.readings || 0) + 1);
  };

  const warmers = (all) => {
    $('warming').hidden = all.length === 0;
    const body = $('warmers');
    // Rows are kept, so that a button does not lose the focus every second.
    while (body.rows.length > all.length) body.deleteRow(-1);
    all.forEach((warmer, at) => {
      const row = body.rows[at] || newWarmer(body);
      const [name, cache, result, report, action] = row.cells;
      row.dataset.path = `/caches/${encodeURIComponent(warmer.cache)}/warmers/${encodeURIComponent(warmer.name)}/run`;
      row.dataset.name = warmer.name;
      write(name, warmer.name);
      write(cache, warmer.cache);
      const { last, running } = warmer;
      write(result, running ? `Running${part(running)}` : last ? `${label(last.result)} in ${time(last.duration_seconds)}` : 'Not yet');
      write(report, running ? summary(running) : last ? summary(last.report, last.error) : '–');
      const button = action.firstElementChild;
      button.setAttribute('aria-label', `Run ${warmer.name}`);
      button.disabled = running !== null || !may('write');
    });
  };
  const newWarmer = (body) => {
    const row = body.insertRow();
    for (let cells = 0; cells < 5; cells += 1) row.insertCell();
    const button = element('button', 'Run');
    button.type = 'button';
    button.addEventListener('click', async () => {
      const { name, path } = row.dataset;
      button.disabled = true;
      try {
        await ask(path, {});
        say($('warmer-message'), `Started ${name}.`, 'good');
      } catch (error) {
        say($('warmer-message'), `Not started: ${error.message}.`, 'bad');
      }
    });
    row.cells[4].append(button);
    return row;
  };
  const part = ({ loaded, skipped, failed, expected }) =>
    expected ? `, ${Math.floor((100 * (loaded + skipped + failed)) / expected)} %` : '';
  const summary = (report, error) => {
    const { loaded, skipped, failed, left, stopped } = report;
    const told = [`Loaded: ${count(loaded)}`, `Skipped: ${count(skipped)}`, `Failed: ${count(failed)}`];
    if (left > 0) told.push(`Left: ${count(left)}`);
    if (stopped) told.push(`Stopped: ${label(stopped)}`);
    if (error) told.push(error);
    return told.join(', ');
  };

  const figures = ({ series, weighed_in: unit }) => {
    const weight = unit === 'bytes' ? bytes : (n) => `${count(n)} entries`;
    for (const span of document.querySelectorAll('[data-metric]')) {
      const n = value(series, span.dataset.metric);
      span.dataset.value = String(n);
      write(span, 'weight' in span.dataset ? weight(n) : count(n));
    }
    const hitRatio = ratio(WINDOW);
    number('hit-ratio', hitRatio, percent);
    $('hit-ratio').title = hitRatio === null ? 'No calls in the last minute' : 'Of the last minute';
    const hits = growth('cache_hits_total', RATE), misses = growth('cache_misses_total', RATE);
    write($('calls'), hits === null ? '–' : rate(hits + misses));
    number('load-p99', quantile('cache_load_seconds', 0.99, WINDOW), time);
    number('load-p50', quantile('cache_load_seconds', 0.5, WINDOW), time);
    const failing = ['error', 'panic', 'timeout'].reduce((sum, result) => sum + (growth(`cache_loads_total{result=${result}}`, RATE) || 0), 0);
    write($('failing'), rate(failing));
    $('failing').parentElement.classList.toggle('bad', failing > 0);
    const full = value(series, 'cache_weight') / (value(series, 'cache_capacity') || 1);
    $('memory-meter').firstElementChild.style.width = `${Math.min(100, 100 * full)}%`;
    $('memory-meter').setAttribute('aria-label', `${percent(full)} of the bound`);
    shared(series);
  };

  const shared = (series) => {
    const states = ['closed', 'half_open', 'open', 'forced_open'];
    const is = states.find((name) => series[`cache_breaker_state{state=${name}}`] === 1);
    $('shared-none').hidden = Boolean(is);
    $('shared-some').hidden = !is;
    const words = { closed: 'Connected', half_open: 'Trying', open: 'Away', forced_open: 'Switched off' };
    const away = is && series['cache_servers{state=disconnected}'] > 0;
    write($('breaker'), is ? (is === 'closed' && away ? 'Away' : words[is]) : 'None');
    $('breaker').dataset.value = is || '';
    $('breaker').classList.toggle('warn', Boolean(is) && (is !== 'closed' || away));
    const lag = series.cache_log_lag_seconds;
    $('log').dataset.value = lag ?? '';
    write($('log'), series.cache_log_heard ? `Log heard${lag === undefined ? '' : ` ${time(lag)} ago`}` : 'Log not heard');
  };

  const health = ({ health: it }) => {
    const words = { healthy: 'Healthy', degraded: 'Degraded', down: 'Down' };
    $('health').className = `health ${it.status}`;
    write($('health-status'), words[it.status] || it.status);
    const troubles = it.dependencies.filter((dependency) => dependency.status !== 'healthy');
    const serving = it.status === 'degraded' ? 'It serves from memory and from loaders. ' : '';
    const names = troubles.map((dependency) => `${label(dependency.name)}: ${dependency.detail}`).join('; ');
    write($('health-detail'), troubles.length ? `${serving}${names}` : 'All that this cache depends on works.');
    const kinds = { healthy: 'good', degraded: '', down: 'bad' };
    $('dependencies').replaceChildren(...it.dependencies.map((dependency) => {
      const row = element('li');
      row.append(element('span', words[dependency.status] || dependency.status, `pill ${kinds[dependency.status] || ''}`));
      row.append(element('span', label(dependency.name)), element('span', dependency.detail, 'muted'));
      return row;
    }));
  };
  const sentence = (text) => text.charAt(0).toUpperCase() + text.slice(1);
  const label = (name) => sentence(name.replaceAll('_', ' '));

  const list = (id, entries) => {
    const most = Math.max(...entries.map((entry) => entry.share), 0.01);
    const rows = entries.slice(0, 8).map((entry) => {
      const row = element('li'), bar = element('i');
      bar.style.width = `${(100 * entry.share) / most}%`;
      const name = element('span', entry.namespace === current ? entry.name : `${entry.namespace} · ${entry.name}`);
      name.title = name.textContent;
      row.append(bar, name, element('b', percent(entry.share)));
      return row;
    });
    $(id).replaceChildren(...(rows.length ? rows : [element('li', 'Nothing was stored yet.', 'muted')]));
  };

  const table = (series) => {
    const rows = Object.entries(series).map(([name, v]) => {
      const row = element('tr');
      const shown = typeof v === 'object' ? `${count(v.count)} in ${time(v.sum)}` : Number.isInteger(v) ? count(v) : v.toFixed(3);
      const cell = element('td', shown);
      cell.dataset.series = name;
      cell.dataset.value = String(typeof v === 'object' ? v.count : v);
      row.append(element('td', name), cell);
      return row;
    });
    $('series').replaceChildren(...rows);
  };

  // ── charts ─────────────────────────────────────────────────────────────────────────────────────────────

  const colour = (name) => getComputedStyle(root).getPropertyValue(name).trim();
  // What is stacked, from below: name, colour, and the series that it is the sum of.
  const CALLS = [
    ['Memory', '--c1', 'cache_hits_total{tier=memory,kind=fresh}'],
    ['Shared', '--c2', 'cache_hits_total{tier=shared,kind=fresh}'],
    ['Stale', '--c3', 'cache_hits_total{tier=memory,kind=stale}', 'cache_hits_total{tier=shared,kind=stale}'],
    ['Negative', '--c4', 'cache_hits_total{tier=memory,kind=negative}', 'cache_hits_total{tier=shared,kind=negative}'],
    ['Miss', '--c5', 'cache_misses_total'],
  ];
  const REQUESTS = [
    ['Hit', '--c1', 'hit'], ['Revalidated', '--c2', 'revalidated'], ['Stale', '--c3', 'stale'], ['Collapsed', '--c4', 'collapsed'],
    ['Miss', '--c5', 'miss'], ['Bypass', '--edge', 'bypass'], ['Gateway timeout', '--bad', 'gateway_timeout'],
  ].map(([name, colours, outcome]) => [name, colours, `cache_http_requests_total{outcome=${outcome}}`]);
  let charts = null;

  const chart = (id, series, show, options = {}) => {
    const target = $(id);
    const axis = { stroke: colour('--muted'), grid: { stroke: colour('--grid'), width: 1 }, ticks: { show: false }, font: '11px system-ui, sans-serif' };
    const empty = element('div', '', 'empty');
    target.replaceChildren();
    target.parentElement.querySelector('.empty')?.remove();
    target.parentElement.append(empty);
    const rows = series.map((one) => {
      const row = element('li'), mark = element('i'), now = element('b', '–');
      mark.style.background = one.stroke;
      row.append(mark, element('span', one.label), now);
      return { row, now };
    });
    const listed = rows.map(({ row }) => row);
    target.nextElementSibling.replaceChildren(...(options.stacked ? listed.reverse() : listed));
    // What is under the pointer, or else the last second.
    const tell = (plot) => {
      const at = plot.cursor.idx ?? plot.data[0].length - 1;
      rows.forEach(({ now }, of) => write(now, series[of].tell(plot.data[of + 1]?.[at], at)));
    };
    const plot = new uPlot({
      width: target.clientWidth || 600, height: HEIGHT, legend: { show: false }, hooks: { setCursor: [tell] },
      cursor: { y: false, drag: { x: false, y: false } },
      scales: { x: { time: true }, y: { range: options.range || ((_, __, max) => [0, max > 0 ? max * 1.15 : 1]) } },
      series: [{}, ...series],
      axes: [
        { ...axis, values: (_, ticks) => ticks.map((at) => new Date(at * 1000).toLocaleTimeString('en-GB')), space: 90, size: 30 },
        { ...axis, size: 60, values: (_, ticks) => ticks.map((v) => (v === 0 ? '0' : show(v))) },
      ],
    }, [[]], target);
    return { plot, empty, target, tell };
  };
  const line = (name, colours, show) => ({
    label: name, stroke: colour(colours), width: 1.75, points: { show: false }, tell: (v) => (v === null || v === undefined ? '–' : show(v)),
  });

  /** Opaque, so that what lies behind an area does not shine through. */
  const mixed = (over, under, share) => {
    const part = (text, at) => parseInt(text.slice(1 + 2 * at, 3 + 2 * at), 16);
    const mix = (at) => Math.round(share * part(over, at) + (1 - share) * part(under, at));
    return `rgb(${mix(0)}, ${mix(1)}, ${mix(2)})`;
  };

  /** Areas one upon another: each is drawn to the sum of those below it, the tallest first. */
  const stacked = (id, parts) => {
    let rates = [];
    const areas = parts.map(([name, colours], at) => ({
      label: name, stroke: colour(colours), fill: mixed(colour(colours), colour('--card'), 0.35), width: 1.25, points: { show: false },
      tell: (_, index) => (rates[at]?.[index] === undefined ? '–' : rate(rates[at][index])),
    }));
    const data = (ends) => {
      rates = parts.map(([, , ...metrics]) => ends.map((at) => metrics.reduce((sum, metric) => sum + growth(metric, RATE, at), 0)));
      return rates.map((_, upto) => ends.map((__, at) => rates.slice(0, upto + 1).reduce((sum, values) => sum + values[at], 0))).reverse();
    };
    return { ...chart(id, areas.reverse(), rate, { stacked: true }), data };
  };
  const quantiles = (id, metric) => ({
    ...chart(id, [line('p50', '--c1', time), line('p99', '--c5', time)], time),
    data: (ends) => [0.5, 0.99].map((share) => ends.map((at) => quantile(metric, share, 10, at))),
  });

  const build = () => {
    charts?.forEach(({ plot }) => plot.destroy());
    const full = { range: () => [0, 1] };
    const quiet = (what) => () => `No ${what} in the last five minutes`;
    charts = [
      { ...stacked('chart-calls', CALLS), nothing: quiet('calls') },
      {
        ...chart('chart-ratio', [line('Hit ratio', '--c1', percent)], (share) => `${Math.round(100 * share)} %`, full),
        data: (ends) => [ends.map((at) => ratio(10, at))], nothing: quiet('calls'),
      },
      { ...quantiles('chart-load', 'cache_load_seconds'), nothing: quiet('loads') },
      {
        ...quantiles('chart-shared', 'cache_shared_seconds'),
        nothing: (series) => (series.cache_shared_seconds ? quiet('operations')() : 'This cache is in memory only'),
      },
    ];
    if (!$('http').hidden) charts.push({ ...stacked('chart-http', REQUESTS), nothing: quiet('requests') });
  };

  const draw = () => {
    const { series } = history[history.length - 1];
    // Only a cache with an HTTP layer has requests to tell of.
    const hasRequests = REQUESTS[0][2] in series;
    if (!charts || $('http').hidden === hasRequests) {
      $('http').hidden = !hasRequests;
      build();
    }
    const ends = history.map((_, at) => at).slice(1).slice(-KEPT);
    const times = ends.map((at) => history[at].at);
    charts.forEach(({ plot, empty, target, tell, data, nothing }) => {
      const lines = data(ends);
      plot.setData([times, ...lines]);
      tell(plot);
      const quiet = lines.every((values) => values.every((v) => !v));
      write(empty, quiet ? nothing(series) : '');
      const legend = [...target.nextElementSibling.children].map((row) => `${row.children[1].textContent} ${row.children[2].textContent}`);
      target.setAttribute('aria-label', quiet ? nothing(series) : `Now: ${legend.join(', ')}`);
    });
  };

  addEventListener('resize', () => charts?.forEach(({ plot, target }) => plot.setSize({ width: target.clientWidth, height: HEIGHT })));

  // ── light and dark ─────────────────────────────────────────────────────────────────────────────────────

  const system = matchMedia('(prefers-color-scheme: dark)');
  let theme = sessionStorage.getItem(THEME) || 'system';
  const dress = () => {
    root.dataset.theme = theme === 'system' ? (system.matches ? 'dark' : 'light') : theme;
    write($('theme'), `Theme: ${theme}`);
    if (charts) { build(); if (history.length) draw(); }
  };
  system.addEventListener('change', dress);
  $('theme').addEventListener('click', () => {
    theme = { system: 'light', light: 'dark', dark: 'system' }[theme] || 'system';
    sessionStorage.setItem(THEME, theme);
    dress();
  });

  // ── what can be done ───────────────────────────────────────────────────────────────────────────────────

  /** Sends what a form says; shows what came of it. */
  const onSubmit = (id, send) => $(id).addEventListener('submit', async (event) => {
    event.preventDefault();
    const message = $(id).querySelector('.message'), button = $(id).querySelector('button');
    button.disabled = true;
    say(message, 'Asking …');
    try {
      say(message, await send(), 'good');
    } catch (error) {
      say(message, `Not done: ${error.message}.`, 'bad');
    }
    button.disabled = id === 'clear';
  });
  const told = async (response, what) => {
    const { status } = await response.json();
    return status === 'done' ? `${what}.` : `${what} on this node; the others follow when the shared tier is back.`;
  };

  onSubmit('invalidate', async () => {
    const [by, what] = [$('by').value, $('what').value];
    return told(await ask(ofCache('/invalidate'), { [by]: what }), `Invalidated ${by.replace('_', ' ')} ${what}`);
  });
  onSubmit('clear', async () => {
    const name = current;
    const done = await told(await ask(ofCache('/clear'), { confirm: $('confirm').value }), `Cleared ${name}`);
    $('confirm').value = '';
    return done;
  });
  $('confirm').addEventListener('input', () => {
    $('clear').querySelector('button').disabled = !may('clear') || $('confirm').value !== current;
  });
  onSubmit('lookup', async () => {
    $('found').replaceChildren();
    const found = await (await ask(ofCache('/lookup'), { key: $('key').value, value: $('with-value').checked })).json();
    const rows = [];
    for (const [tier, name] of [['memory', 'In memory'], ['shared', 'Shared tier']]) {
      const entry = found[tier];
      rows.push(element('dt', name, 'tier'));
      if (!entry) {
        rows.push(element('dt', 'state'), element('dd', tier === 'shared' && found.shared_error ? `no answer: ${found.shared_error}` : 'nothing there'));
        continue;
      }
      const facts = {
        state: entry.negative ? `${entry.state}, “no such value”` : entry.state,
        age: time(entry.age_seconds), 'fresh for': time(entry.fresh_for_seconds), 'kept for': time(entry.kept_for_seconds),
        'load took': time(entry.load_seconds), weight: count(entry.weight), tags: entry.tags.join('\n') || 'none',
      };
      for (const [fact, text] of Object.entries(facts)) rows.push(element('dt', fact), element('dd', text));
    }
    if ('value' in found) rows.push(element('dt', 'Value', 'tier'), element('dt', ''), element('dd', JSON.stringify(found.value, null, 2)));
    $('found').replaceChildren(...rows);
    return `Looked up ${found.key}.`;
  });
  $('doctor').addEventListener('click', async () => {
    const button = $('doctor');
    button.disabled = true;
    try {
      const { findings, unchecked } = await (await ask(ofCache('/doctor'))).json();
      const rows = findings.map((finding) => {
        const row = element('li', undefined, finding.severity);
        row.append(element('strong', `${label(finding.severity)}: `), element('span', `${finding.what}. `), element('span', `${sentence(finding.remedy)}.`, 'muted'));
        return row;
      });
      if (!rows.length) rows.push(element('li', 'Nothing found.'));
      if (unchecked.length) rows.push(element('li', `Not checked: ${unchecked.map(label).join(', ')}.`, 'muted'));
      $('findings').replaceChildren(...rows);
    } catch (error) {
      $('findings').replaceChildren(element('li', `Not done: ${error.message}.`, 'severe'));
    }
    button.disabled = false;
  });

  $('cache').addEventListener('change', () => choose($('cache').value));
  $('sign-in-form').addEventListener('submit', (event) => {
    event.preventDefault();
    token = $('token').value.trim();
    signIn();
  });
  $('sign-out').addEventListener('click', () => {
    token = '';
    sessionStorage.removeItem(TOKEN);
    showSignIn('');
  });
  $('all').addEventListener('toggle', () => { if ($('all').open && history.length) table(history[history.length - 1].series); });

  dress();
  if (token) signIn(); else showSignIn('');
})();
