// Differences to a cell that is chosen: in the table, in the curves, and, for every two cells, in the matrix.
// What Python has measured is in `.pairs` of each section: upper[i][j - i - 1] is that of i against j.
const flipped = { better: 'worse', worse: 'better', higher: 'lower', lower: 'higher' };
const digits = (x, n) => String(Number(Math.abs(x).toPrecision(n)));
const signed = (x, n = 3) => (x < 0 ? '-' : '+') + digits(x, n);

function reader({ names, upper }) {
  return (i, j) => {
    if (i === j) return { names: [names[i], names[j]], value: 0, error: 0, half: 0, paired: 1, words: '' };
    const [value, error, half, p, paired, words] = upper[Math.min(i, j)][Math.abs(i - j) - 1];
    const own = i < j;
    return {
      names: [names[i], names[j]], value: value === null || own ? value : -value, error, half, p, paired,
      words: own ? words : flipped[words] ?? words,
    };
  };
}

function shortly(d) {
  if (d.value === null) return '?';
  return d.words === '' ? '0' : `${signed(d.value)} ± ${digits(d.error, 2)}${d.words in flipped ? '*' : ''}`;
}

function wholly(d) {
  const begin = `${d.names[0]} against ${d.names[1]}: ${d.words}`;
  if (d.value === null) return begin;
  const interval = `95 % interval ${signed(d.value - d.half)} to ${signed(d.value + d.half)}`;
  return `${begin}, ${signed(d.value)} ± ${digits(d.error, 2)}, ${interval}, p ${d.p < 1e-4 ? 'below 0.0001' : digits(d.p, 2)}, ${d.paired ? 'paired' : 'not paired'}`;
}

function* ticks(low, high) {
  const power = 10 ** Math.floor(Math.log10((high - low) / 4));
  const step = [power, 2 * power, 5 * power, 10 * power].find(s => (high - low) / s < 10);
  for (let k = Math.ceil(low / step); k * step <= high; k++) yield Number((k * step).toPrecision(12));
}

// Move what stands for each cell to its difference, on a linear scale that has 0.
function redraw(svg, of) {
  const up = svg.dataset.along === 'y', [start, end, from, to] = svg.dataset.box.split(' ').map(Number);
  const dots = [...svg.querySelectorAll('circle[data-cell]')], seen = dots.map(dot => of(+dot.dataset.cell)).filter(d => d.value !== null);
  const least = Math.min(0, ...seen.map(d => d.value - d.half)), most = Math.max(0, ...seen.map(d => d.value + d.half));
  const pad = 0.05 * (most - least) || 0.5, low = least - pad, high = most + pad;
  const place = v => (start + (v - low) / (high - low) * (end - start)).toFixed(1);
  for (const dot of dots) {
    const d = of(+dot.dataset.cell);
    dot.style.display = d.value === null ? 'none' : '';
    if (d.value === null) continue;
    dot.setAttribute(up ? 'cy' : 'cx', place(d.value));
    dot.querySelector('title').textContent = d.words === '' ? d.names[0] : wholly(d);
  }
  for (const bar of svg.querySelectorAll('.bar[data-cell]')) {
    const d = of(+bar.dataset.cell), at = bar.dataset.at, ends = d.value === null ? null : [d.value - d.half, d.value + d.half].map(place);
    bar.setAttribute('d', ends === null ? '' : up ? `M${at} ${ends[0]}V${ends[1]}` : `M${ends[0]} ${at}H${ends[1]}`);
  }
  for (const line of svg.querySelectorAll('.line[data-cells]')) {
    const at = line.dataset.ats.split(' '), points = line.dataset.cells.split(' ').map((cell, i) => [at[i], of(+cell).value]);
    const kept = points.filter(([, v]) => v !== null).map(([x, v]) => `${x} ${place(v)}`);
    line.setAttribute('d', kept.length ? `M${kept.join('L')}` : '');
  }
  svg.querySelector('.scale').innerHTML = [...ticks(low, high)].map(v => {
    const at = place(v), kind = v === 0 ? 'grid zero' : 'grid';
    return up
      ? `<path class='${kind}' d='M${from} ${at}H${to}'/><text x='${from - 6}' y='${+at + 4}' text-anchor='end'>${v}</text>`
      : `<path class='${kind}' d='M${at} ${from}V${to}'/><text x='${at}' y='${to + 16}' text-anchor='middle'>${v}</text>`;
  }).join('');
}

for (const section of document.querySelectorAll('.metric')) {
  const known = section.querySelector('.pairs');
  if (known === null) continue;
  const pair = reader(JSON.parse(known.textContent)), select = section.querySelector('.baseline');
  const cells = [...section.querySelectorAll('.shown[data-cell]')], shown = cells.map(cell => cell.innerHTML);
  const plots = [...section.querySelectorAll('svg[data-along]')], drawn = plots.map(plot => plot.innerHTML);
  const notes = [...section.querySelectorAll('.bars')], said = notes.map(note => note.textContent);
  const choose = () => {
    const chosen = select.value !== '', base = Number(select.value), of = i => pair(i, base);
    cells.forEach((cell, i) => {
      const own = +cell.dataset.cell;
      if (chosen) cell.textContent = shortly(of(own)); else cell.innerHTML = shown[i];
      cell.closest('td').classList.toggle('base', chosen && own === base);
    });
    plots.forEach((plot, i) => { plot.innerHTML = drawn[i]; if (chosen) redraw(plot, of); });
    const all = cells.map(cell => of(+cell.dataset.cell)).filter(d => d.value !== null), paired = all.every(d => d.paired);
    const how = paired ? 'paired' : all.every(d => d.words === '' || !d.paired) ? 'not paired' : 'partly paired';
    notes.forEach((note, i) => { note.textContent = chosen ? `difference to ${select.selectedOptions[0].text}, and its 95 % interval, ${how}; * separated by Holm for all pairs` : said[i]; });
  };
  select.addEventListener('change', choose);
  if (select.value !== '') choose();
  const matrix = section.querySelector('.matrix');
  for (const kind of ['mouseover', 'focusin', 'click']) matrix.addEventListener(kind, event => {
    const cell = event.target.closest('[data-pair]');
    if (cell === null) return;
    const [i, j] = cell.dataset.pair.split(' ').map(Number);
    cell.title = matrix.querySelector('.pair').textContent = wholly(pair(i, j));
  });
}
