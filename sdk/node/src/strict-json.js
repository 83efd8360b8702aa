/**
 * Strict JSON: UTF-8, one value, no duplicate names, no lone surrogates, bounded depth (RFC 8259, RFC 7493).
 *
 * Numbers that a double cannot hold exactly as integers are refused: a claim must not change on its way through.
 */

import { BadReply } from './fault.js';

export const MAX_DEPTH = 64;

const TOKEN = /"(?:[^"\\]|\\.)*"|[{}[\],:]|[^\s{}[\],:"]+/g;

/**
 * The one JSON value in `body`. Throws BadReply, which quotes nothing of it.
 *
 * @param {Uint8Array} body
 * @returns {unknown}
 */
export function loads(body) {
  let text;
  let value;
  try {
    // The mark is kept, so that JSON.parse refuses it.
    text = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(body);
  } catch {
    throw new BadReply('the reply is not UTF-8');
  }
  try {
    value = JSON.parse(text);
  } catch {
    throw new BadReply('the reply is not one JSON value of reasonable size');
  }
  scan(text);
  return value;
}

/**
 * One text for each JSON value, by type as well: 1, true and "1" all differ.
 *
 * @param {unknown} value
 * @returns {string}
 */
export function typed(value) {
  if (Array.isArray(value)) return `[${value.map(typed).join(',')}]`;
  if (!isObject(value)) return JSON.stringify(value) ?? 'undefined';
  const members = Object.keys(value).sort();
  return `{${members.map((name) => `${JSON.stringify(name)}:${typed(value[name])}`).join(',')}}`;
}

/**
 * Whether `value` is a JSON object.
 *
 * @param {unknown} value
 * @returns {value is Record<string, unknown>}
 */
export function isObject(value) {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

/**
 * Looks for what JSON.parse lets pass. `text` is JSON already.
 *
 * @param {string} text
 */
function scan(text) {
  /** @type {(Set<string> | null)[]} The names so far of each open object; null for an array. */
  const open = [];
  let before = '';
  for (const [token] of text.matchAll(TOKEN)) {
    if (token === '{' || token === '[') {
      if (open.push(token === '{' ? new Set() : null) > MAX_DEPTH) {
        throw new BadReply(`the reply is nested deeper than ${MAX_DEPTH} levels`);
      }
    } else if (token === '}' || token === ']') {
      open.pop();
    } else if (token.startsWith('"')) {
      string(JSON.parse(token), before === '{' || before === ',' ? open.at(-1) : null);
    } else if (/^[-\d]/.test(token)) {
      number(Number(token));
    }
    before = token;
  }
}

/**
 * @param {string} value
 * @param {Set<string> | null | undefined} names where it is a member's name: those before it
 */
function string(value, names) {
  if (!value.isWellFormed()) throw new BadReply('the reply holds a lone surrogate');
  if (!names) return;
  if (names.has(value)) throw new BadReply('a member name stands twice');
  // Copied by assignment it would become a prototype.
  if (value === '__proto__') throw new BadReply('a member name is __proto__');
  names.add(value);
}

/** @param {number} value */
function number(value) {
  if (!Number.isFinite(value) || (Number.isInteger(value) && !Number.isSafeInteger(value))) {
    throw new BadReply('a number is too large');
  }
}
