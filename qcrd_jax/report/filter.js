'use strict';
// Filters the rows of a table, all of which are there without it. Rows are only hidden and shown:
// no text of theirs is ever read as markup.
for (const box of document.querySelectorAll('.filters')) {
  const rows = [...document.getElementById(box.dataset.rows).tBodies[0].rows];
  const search = box.querySelector('input');
  const selects = [...box.querySelectorAll('select')];
  const count = box.querySelector('output');
  const texts = new Map();
  const textOf = (row) => {
    if (!texts.has(row)) {
      const parts = [...row.querySelectorAll('.text, .id')].map((part) => part.textContent);
      texts.set(row, parts.join(' ').toLowerCase());
    }
    return texts.get(row);
  };
  const apply = () => {
    const words = search.value.toLowerCase().split(/\s+/).filter(Boolean);
    const asked = selects.filter((select) => select.value);
    let shown = 0;
    for (const row of rows) {
      row.hidden = !(
        asked.every((select) => row.dataset[select.name] === select.value) &&
        words.every((word) => textOf(row).includes(word))
      );
      shown += !row.hidden;
    }
    count.textContent = `${shown.toLocaleString('en')} of ${rows.length.toLocaleString('en')}`;
  };
  box.addEventListener('input', apply);
  box.querySelector('button').addEventListener('click', () => {
    search.value = '';
    for (const select of selects) select.value = '';
    apply();
  });
  box.hidden = false;
  apply();
}
