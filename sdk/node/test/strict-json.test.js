import assert from 'node:assert/strict';
import { test } from 'node:test';

import { BadReply } from '../src/fault.js';
import { loads, typed } from '../src/strict-json.js';
import { dice } from './pdp.js';

/** @param {string | Buffer} text */
const parse = (text) => loads(Buffer.isBuffer(text) ? text : Buffer.from(text));

/** @param {(below: number) => number} roll @param {number} depth @returns {unknown} */
function anything(roll, depth = 4) {
  const strings = ['', 'a', 'ä€\u{1F600}', '"', '\\', '\\"{', ',:[]{}', 'constructor', '\u0000', '__proto__x'];
  switch (roll(depth > 0 ? 8 : 6)) {
    case 0: return null;
    case 1: return roll(2) === 0;
    case 2: return roll(2000) - 1000;
    case 3: return (roll(2000) - 1000) / 8;
    case 4:
    case 5: return strings[roll(strings.length)];
    case 6: return Array.from({ length: roll(4) }, () => anything(roll, depth - 1));
    default: return Object.fromEntries(Array.from({ length: roll(4) }, () =>
      [strings[roll(strings.length)], anything(roll, depth - 1)]));
  }
}

test('whatever JSON.stringify writes is read back', () => {
  const roll = dice(1);
  for (let n = 0; n < 2000; n += 1) {
    const value = anything(roll);
    assert.deepEqual(parse(JSON.stringify(value, null, roll(3))), value);
  }
});

test('a disturbed text is refused, or is what JSON.parse makes of it', () => {
  const roll = dice(2);
  let accepted = 0;
  for (let n = 0; n < 4000; n += 1) {
    const text = JSON.stringify(anything(roll));
    const at = roll(text.length + 1);
    const disturbed = (text.slice(0, at) + ['"', '{', '}', '[', ']', ',', ':', '\\', '1', 'e', '-', ' ', ''][roll(13)] + text.slice(at + roll(2))).toWellFormed();
    try {
      const value = parse(disturbed);
      // With escapes JSON.parse is no measure: see strict-json.js.
      if (!disturbed.includes('\\')) assert.deepEqual(value, JSON.parse(disturbed));
      accepted += 1;
    } catch (error) {
      assert.ok(error instanceof BadReply, disturbed);
    }
  }
  assert.ok(accepted > 400 && accepted < 3600, `${accepted}`);
});

test('an escaped name is read right, whatever was read before', () => {
  for (const [primed, name] of [['\\', '\\u0000'], ['\\u0069ss', '\\u0069ssuance'], ['"', '\\u0061']]) {
    const text = `{"x":1,"${name}":2}`;
    for (let n = 0; n < 5; n += 1) {
      parse(JSON.stringify({ x: 1, [String(primed)]: 2 }));
      assert.deepEqual(parse(text), { x: 1, [JSON.parse(`"${name}"`)]: 2 });
    }
  }
});

test('a member name that stands twice is found wherever it is', () => {
  for (const text of ['{"a":1,"a":1}', '[{"x":{"b":[{"a":1}],"b":2}}]', '{"a":1,"\\u0061":2}', '{"a":{"a":1},"a":2}', '{ "a" : 1 , "b":[], "a":1}']) {
    assert.throws(() => parse(text), BadReply, text);
  }
  for (const text of ['{"a":{"a":1},"b":{"a":["a","a"]}}', '[{"a":1},{"a":1}]', '{"a":"a","b":"a"}']) {
    assert.deepEqual(parse(text), JSON.parse(text));
  }
});

test('what is no strict JSON', () => {
  const texts = [
    '', '{', '{} {}', '{},', "{'a':1}", '{"a":NaN}', '{"a":Infinity}', '{"a":1e999}', '{"a":-1e999}', '"\\ud800"', '{"\\udc00":1}',
    `{"a":${'9'.repeat(5000)}}`, '9007199254740993', '-9007199254740993', '[1e20]', '{"__proto__":{"x":1}}', '{"a":1}\u0000', '\ufeff{}',
    `${'['.repeat(65)}${']'.repeat(65)}`, `${'['.repeat(200_000)}${']'.repeat(200_000)}`, '{"a":"\n"}', '01', '+1', '// x\n1',
  ];
  for (const text of texts) assert.throws(() => parse(text), BadReply, text.slice(0, 40));
  for (const bytes of [Buffer.from([0x22, 0xff, 0x22]), Buffer.from('{}', 'utf16le'), Buffer.from([0x22, 0xed, 0xa0, 0x80, 0x22])]) {
    assert.throws(() => parse(bytes), BadReply);
  }
  assert.ok(parse(`${'['.repeat(64)}${']'.repeat(64)}`));
});

test('values differ by type as well', () => {
  const texts = [1, '1', true, null, [1], { a: 1 }, 'true', [], {}].map(typed);
  assert.equal(new Set(texts).size, texts.length);
  assert.equal(typed({ b: [1, { d: 1, c: 2 }], a: null }), typed({ a: null, b: [1, { c: 2, d: 1 }] }));
});
