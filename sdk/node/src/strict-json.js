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
  try {
    // The mark is kept, so that JSON.parse refuses it.
    text = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(body);
  } catch {
    throw new BadReply('the reply is not UTF-8');
  }
  try {
    JSON.parse(text);
  } catch {
    throw new BadReply('the reply is not one JSON value of reasonable size');
  }
  return built(text);
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
 * The value of `text`, which is JSON already. JSON.parse only says that it is: it lets duplicates pass, and in Node 24 it
 * reads an escaped name wrongly where it has seen an object of like shape (`"\u0000"` as a backslash).
 *
 * @param {string} text
 * @returns {unknown}
 */
function built(text) {
  /** @type {{ value: Record<string, unknown> | unknown[], name: string }[]} */
  const open = [];
  /** @type {unknown} */
  let whole;
  let before = '';
  /** @param {unknown} value */
  const add = (value) => {
    const top = open.at(-1);
    if (!top) whole = value;
    else if (Array.isArray(top.value)) top.value.push(value);
    else top.value[top.name] = value;
  };
  for (const [token] of text.matchAll(TOKEN)) {
    const top = open.at(-1);
    if (token === '{' || token === '[') {
      const value = token === '{' ? {} : [];
      add(value);
      if (open.push({ value, name: '' }) > MAX_DEPTH) {
        throw new BadReply(`the reply is nested deeper than ${MAX_DEPTH} levels`);
      }
    } else if (token === '}' || token === ']') {
      open.pop();
    } else if (token.startsWith('"')) {
      const said = string(token);
      if (top && !Array.isArray(top.value) && before !== ':') top.name = fresh(said, top.value);
      else add(said);
    } else if (token !== ',' && token !== ':') {
      add(scalar(JSON.parse(token)));
    }
    before = token;
  }
  return whole;
}

/** @param {string} token */
function string(token) {
  /** @type {string} */
  const value = JSON.parse(token);
  if (!value.isWellFormed()) throw new BadReply('the reply holds a lone surrogate');
  return value;
}

/**
 * The name of a member that `value` does not have yet.
 *
 * @param {string} name
 * @param {Record<string, unknown>} value
 */
function fresh(name, value) {
  if (Object.hasOwn(value, name)) throw new BadReply('a member name stands twice');
  // Set or copied by assignment it would become a prototype.
  if (name === '__proto__') throw new BadReply('a member name is __proto__');
  return name;
}

/** @param {unknown} value a number, true, false or null */
function scalar(value) {
  if (typeof value === 'number' && (!Number.isFinite(value) || (Number.isInteger(value) && !Number.isSafeInteger(value)))) {
    throw new BadReply('a number is too large');
  }
  return value;
}
