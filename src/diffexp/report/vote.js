'use strict';
const page = JSON.parse(document.getElementById('questions').textContent);
const byId = id => document.getElementById(id), pairs = page.kind === 'pairs', sides = ['left', 'right'];
let all = page.questions;
const place = 'diffexp vote 2 ' + page.page, words = ['bad', 'poor', 'fair', 'good', 'excellent'];
const token = () => [...crypto.getRandomValues(new Uint8Array(16))].map(b => b.toString(16).padStart(2, '0')).join('');
const fresh = () => ({ session: token(), begun: new Date().toISOString(), voter: '', answers: {}, at: 0 });
const counted = (n, word) => n + ' ' + word + (n === 1 ? '' : 's');

function valid(answer) {
  return pairs ? ['left', 'right', 'tie'].includes(answer) : [1, 2, 3, 4, 5].includes(answer);
}

function arrange(session) {  // order and sides are each voter's own, so that what either does to answers cancels
  let state = 2166136261;
  for (const c of session) state = Math.imul(state ^ c.charCodeAt(0), 16777619);
  const random = () => {  // mulberry32
    state = (state + 0x6d2b79f5) | 0;
    let x = Math.imul(state ^ (state >>> 15), 1 | state);
    x = (x + Math.imul(x ^ (x >>> 7), 61 | x)) ^ x;
    return ((x ^ (x >>> 14)) >>> 0) / 4294967296;
  };
  const dealt = list => {
    for (let i = list.length - 1; i > 0; i--) {
      const j = Math.floor(random() * (i + 1));
      [list[i], list[j]] = [list[j], list[i]];
    }
    return list;
  };
  const turned = dealt(page.questions.map((_, i) => pairs && i % 2 === 1));  // half of them
  all = dealt(page.questions.map((q, i) => ({ ...q, turned: turned[i], images: turned[i] ? [...q.images].reverse() : q.images })));
}

function load() {  // what was kept may be of anyone: only what can be an answer of this page is taken
  const state = fresh();
  arrange(state.session);
  try {
    const kept = JSON.parse(localStorage.getItem(place));
    if (!kept) return state;
    for (const q of all) if (Object.hasOwn(kept.answers, q.id) && valid(kept.answers[q.id])) state.answers[q.id] = kept.answers[q.id];
    for (const key of ['session', 'begun', 'voter']) if (typeof kept[key] === 'string') state[key] = kept[key];
    arrange(state.session);
    const open = all.findIndex(q => !(q.id in state.answers));
    state.at = open < 0 ? all.length : open;
  } catch { /* nothing was kept, or this browser keeps nothing */ }
  return state;
}

let state = load();

function keep() {
  try {
    localStorage.setItem(place, JSON.stringify(state));
  } catch {
    byId('kept').firstChild.textContent = 'This browser keeps nothing: save the answers before you close the page. ';
  }
}

function figure(q, i) {
  const image = document.createElement('img');
  image.alt = pairs ? ['left image', 'right image'][i] : 'image';
  image.onload = () => image.classList.toggle('small', 2 * image.naturalWidth <= image.clientWidth * devicePixelRatio);
  image.src = q.images[i];
  const box = document.createElement(pairs ? 'button' : 'figure');
  box.append(image);
  if (!pairs) return box;
  const side = sides[i], text = document.createElement('span'), key = document.createElement('kbd');
  key.textContent = i ? ' →' : '← ';
  text.append(...(i ? [side, key] : [key, side]));
  box.append(text);
  box.className = 'side';
  box.id = side;
  box.setAttribute('aria-pressed', state.answers[q.id] === side);
  box.onclick = () => answer(side);
  return box;
}

function show(focus = true) {
  const n = Object.keys(state.answers).length, over = state.at >= all.length;
  byId('bar').max = all.length;
  byId('bar').value = n;
  byId('count').textContent = over ? n + ' of ' + all.length : state.at + 1 + ' of ' + all.length;
  byId('vote').hidden = over;
  byId('done').hidden = !over;
  byId('part').hidden = over;
  byId('keys').hidden = over;
  byId('saved').textContent = '';
  if (!over) {
    const q = all[state.at];
    byId('prompt').textContent = q.prompt;
    byId('prompt').hidden = !q.prompt;
    byId('images').replaceChildren(...q.images.map((_, i) => figure(q, i)));
    byId('tie').setAttribute('aria-pressed', state.answers[q.id] === 'tie');
    for (const button of byId('marks').children) button.setAttribute('aria-pressed', String(state.answers[q.id]) === button.value);
    byId('back').disabled = state.at === 0;
    byId('next').hidden = !(q.id in state.answers);
  } else {
    byId('name').value = state.voter;
  }
  if (focus) byId(over ? 'thanks' : 'title').focus({ preventScroll: true });  // so that space is a tie, and the text is read
}

function answer(value) {
  if (state.at >= all.length) return;
  state.answers[all[state.at].id] = value;
  state.at += 1;
  keep();
  show();
}

function go(step) {
  if (state.at + step < 0) return;
  state.at += step;
  keep();
  show();
}

function save() {
  state.voter = byId('name').value.trim();
  keep();
  const { session, begun, voter, answers } = state, saved = new Date().toISOString();
  const order = all.map(q => q.id), turned = all.filter(q => q.turned).map(q => q.id);  // of these left and right are the other way
  const told = { format: 2, page: page.page, kind: page.kind, voter, session, begun, saved, order, turned, answers };
  const text = JSON.stringify(told, null, 1);
  const link = document.createElement('a');
  link.href = URL.createObjectURL(new Blob([text], { type: 'application/json' }));
  link.download = 'answers_' + (voter.replace(/[^\p{L}\p{N}]+/gu, '_').slice(0, 40) || session.slice(0, 8)) + '.json';
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 60000);
  byId('saved').textContent = counted(Object.keys(answers).length, 'answer') + ' saved as ' + link.download;
}

function another() {
  if (!confirm('Begin again for another voter? Save the answers first: they are removed from this browser.')) return;
  state = fresh();
  arrange(state.session);
  keep();
  show();
}

function key(event) {
  const tag = event.target.tagName;
  if (event.repeat || event.ctrlKey || event.metaKey || event.altKey || tag === 'INPUT' || byId('vote').hidden) return;
  const space = event.key === ' ' && tag !== 'BUTTON';  // on a button it presses that
  let done = true;
  if (event.key === 'ArrowUp' || event.key === 'Backspace') go(-1);
  else if (pairs && event.key === 'ArrowLeft') answer('left');
  else if (pairs && event.key === 'ArrowRight') answer('right');
  else if (pairs && (event.key === 'ArrowDown' || space)) answer('tie');
  else if (!pairs && /^[1-5]$/.test(event.key)) answer(Number(event.key));
  else done = false;
  if (done) event.preventDefault();
}

if (pairs) {
  byId('marks').hidden = true;
  byId('keys').textContent = 'Keys: ← and → for the better image, ↓ or space for no difference, ↑ to go back.';
} else {
  byId('tie').hidden = true;
  byId('images').className = 'images one';
  for (const [i, word] of words.entries()) {
    const button = document.createElement('button'), name = document.createElement('b');
    button.value = i + 1;
    name.textContent = i + 1;
    button.append(name, ' ' + word);
    button.onclick = () => answer(i + 1);
    byId('marks').append(button);
  }
  byId('keys').textContent = 'Keys: 1 to 5 for the mark, ↑ to go back.';
}
byId('tie').onclick = () => answer('tie');
for (const [id, step] of [['back', -1], ['again', -1], ['next', 1]]) byId(id).onclick = () => go(step);
byId('save').onclick = save;
byId('part').onclick = save;
byId('new').onclick = another;
byId('name').oninput = () => { state.voter = byId('name').value.trim(); keep(); };
document.addEventListener('keydown', key);
show(false);
